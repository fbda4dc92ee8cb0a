/** A button of One-Step Restore (Video) that restores a second of the video at once, whatever the node is set to. */

import { app } from '../../scripts/app.js'
import { textsOf } from './texts.js'

const NODE = 'VividFaceOneStepRestore'
const INPUT = 'preview'
/** Nodes that show what comes to them and write no file: a look at a second shall not be saved as a result. */
const SHOWING = ['VividFaceCompareVideo', 'PreviewAny', 'PreviewImage']
/** As the page numbers it: a node that is neither muted nor bypassed. */
const ACTIVE = 0

const ENGLISH = {
  button: 'Preview a second',
  tip: 'Restores a second of the video now and shows it in Compare Video; nothing is saved.',
  nothing: 'Connect the outputs video and source to Compare Video: the preview is shown there.'
}

/** Nodes behind a node that show something, by their numbers. */
function showingBehind(node) {
  const found = new Set()
  const seen = new Set([node.id])
  const waiting = [node]
  while (waiting.length) {
    const { graph, outputs } = waiting.pop()
    for (const number of (outputs ?? []).flatMap((output) => output.links ?? [])) {
      const next = graph.getNodeById(graph.links[number]?.target_id)
      if (!next || next.mode !== ACTIVE || seen.has(next.id)) continue
      seen.add(next.id)
      waiting.push(next)
      if (SHOWING.includes(next.comfyClass ?? next.type)) found.add(String(next.id))
    }
  }
  return [...found]
}

/** Queue with the input switched on; what it was set to comes back, as the prompt has been built by then. */
async function queuePreview(node, texts) {
  const widget = node.widgets.find(({ name }) => name === INPUT)
  const nested = node.graph !== (app.rootGraph ?? app.graph)
  // In a subgraph the numbers are others; there everything runs, as with the input itself.
  const targets = nested ? undefined : showingBehind(node)
  if (targets?.length === 0) {
    app.extensionManager.toast.add({ severity: 'warn', summary: node.title, detail: texts.nothing, life: 10000 })
    return
  }
  const before = widget.value
  widget.value = true
  try {
    await app.queuePrompt(0, 1, targets)
  } finally {
    widget.value = before
  }
}

function addButton(node) {
  const texts = { ...ENGLISH }
  const button = node.addWidget('button', 'preview_button', null, () => queuePreview(node, texts), { serialize: false })
  button.serialize = false // neither in the saved workflow
  const name = () => {
    button.label = texts.button
    button.tooltip = texts.tip
  }
  name()
  textsOf('vividfacePreview').then(({ local }) => {
    Object.assign(texts, local)
    name()
  })
}

app.registerExtension({
  name: 'VividFace.PreviewButton',

  nodeCreated(node) {
    if ((node.comfyClass ?? node.constructor?.comfyClass) === NODE) addButton(node)
  }
})
