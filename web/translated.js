/** Values of lists, and the titles and notes of the shipped graphs, in the page's language. */

import { app } from '../../scripts/app.js'
import { textsOf } from './texts.js'

const PREFIX = 'VividFace'
/** The value stays readable behind its translation: reports, help and error messages name it. */
const label = (value, word) => (word && word !== value ? `${word} (${value})` : String(value))

let choices = {}

function nameChoices(node) {
  for (const widget of node.widgets ?? []) {
    if (widget.type !== 'combo' || !Array.isArray(widget.options?.values)) continue
    if (!widget.options.values.some((value) => choices[value])) continue
    widget.options.getOptionLabel = (value) => label(value, choices[value])
  }
}

/** English text → that of the page. */
let templates = new Map()

const translate = (text) => templates.get(text) ?? text

/** Only what stands there as it was shipped: what a person has written is left alone. */
function translateGraph(graph) {
  for (const group of graph?.groups ?? []) group.title = translate(group.title)
  for (const node of graph?.nodes ?? []) {
    if (node.title) node.title = translate(node.title)
    if (node.type === 'MarkdownNote' && Array.isArray(node.widgets_values)) {
      node.widgets_values = node.widgets_values.map(translate)
      delete node.widgets_values_named
    }
  }
}

app.registerExtension({
  name: 'VividFace.Translated',

  async setup() {
    const [{ local }, texts] = await Promise.all([textsOf('vividfaceChoices'), textsOf('vividfaceTemplates')])
    choices = local
    templates = new Map(Object.entries(texts.english).map(([key, text]) => [text, texts.local[key] ?? text]))
    for (const node of app.graph?._nodes ?? []) if (node.comfyClass?.startsWith(PREFIX)) nameChoices(node)
  },

  nodeCreated(node) {
    if ((node.comfyClass ?? node.constructor?.comfyClass)?.startsWith(PREFIX)) nameChoices(node)
  },

  beforeConfigureGraph(graph) {
    translateGraph(graph)
  }
})
