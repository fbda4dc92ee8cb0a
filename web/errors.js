/**
 * The sentences of the pack's errors, where the page puts one of its own in their place.
 *
 * Pages of 2026 say of any node that it "threw an error", or that it "rejected" a value, and tell why in a panel; App
 * mode has no such panel at all.
 */

import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'

const PREFIX = 'VividFace'
/** Milliseconds in which the page shows what it shows. */
const PATIENCE = 600
/** Milliseconds that a sentence stays. */
const LIFE = 20000

const flat = (text) => text.replace(/\s+/g, ' ').trim()

/** Once is enough: nothing is added to a page that shows the sentence. */
function tell(type, sentence) {
  if (!sentence) return
  setTimeout(() => {
    if (flat(document.body.innerText).includes(flat(sentence))) return
    const summary = globalThis.LiteGraph?.registered_node_types?.[type]?.title ?? type
    app.extensionManager?.toast?.add({ severity: 'error', summary, detail: sentence, life: LIFE })
  }, PATIENCE)
}

/** What nodes said of a prompt before it ran; the server puts the input's name before the sentence. */
function tellRefused(nodeErrors) {
  for (const { class_type: type, errors } of Object.values(nodeErrors ?? {})) {
    if (!type?.startsWith(PREFIX)) continue
    for (const { type: kind, details, extra_info: extra } of errors ?? []) {
      if (kind !== 'custom_validation_failed') continue
      const before = `${extra?.input_name} - `
      tell(type, details.startsWith(before) ? details.slice(before.length) : details)
    }
  }
}

app.registerExtension({
  name: 'VividFace.Errors',

  setup() {
    api.addEventListener('execution_error', ({ detail }) => {
      if (detail?.node_type?.startsWith(PREFIX)) tell(detail.node_type, detail.exception_message?.trim())
    })
    // No event tells of a refused prompt.
    const { queuePrompt } = api
    api.queuePrompt = async function (...given) {
      try {
        const answer = await queuePrompt.apply(this, given)
        tellRefused(answer?.node_errors)
        return answer
      } catch (error) {
        tellRefused(error?.response?.node_errors)
        throw error
      }
    }
  }
})
