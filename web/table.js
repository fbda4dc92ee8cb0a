/** Shows the scores of MLLM Score and Score Folder as a table in their nodes. */

import { app } from '../../scripts/app.js'
import { loadStyle, make } from './elements.js'
import { findNode, followNodeWidth, passMiddleButton } from './graph.js'

const NODES = ['VividFaceMLLMScore', 'VividFaceScoreFolder']
const WIDGET = 'scores'
const OUTPUT = 'vividface_table'
/** Pixels of the graph at 100 %. */
const SIZE = [460, 520]
const MIN_HEIGHT = 120

/** Text only: names of files and a model's words are nobody's markup. */
const row = (tag, cells) => make('tr', '', {}, ...cells.map((text) => make(tag, '', {}, String(text))))

function show(node, output) {
  const told = output?.[OUTPUT]?.[0]
  const element = node?.vividfaceTable
  if (!element || !told) return
  element.replaceChildren(
    make('div', 'vf-table-title', {}, told.title),
    make('table', '', {},
      make('thead', '', {}, row('th', told.head)),
      make('tbody', '', {}, ...told.rows.map((cells) => row('td', cells)))),
    ...told.lines.map((text) => make('div', 'vf-table-line', {}, text))
  )
}

function addTable(node) {
  loadStyle('./table.css')
  const element = make('div', 'vf-table')
  node.vividfaceTable = element
  passMiddleButton(element)
  // Where there is something to scroll, the wheel scrolls; else it zooms the graph as elsewhere.
  element.addEventListener('wheel', (event) => {
    if (element.scrollHeight > element.clientHeight && !event.ctrlKey) event.stopPropagation()
    else app.canvas.processMouseWheel(event)
  }, { passive: true })

  const widget = node.addDOMWidget(WIDGET, 'vividface_table', element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => MIN_HEIGHT
  })
  // The option keeps it out of the prompt, this out of the saved workflow.
  widget.serialize = false
  followNodeWidth(widget)

  const [width, height] = node.size
  node.setSize([Math.max(width, SIZE[0]), Math.max(height, SIZE[1])])

  const { onExecuted } = node
  node.onExecuted = function (output) {
    onExecuted?.call(this, output)
    show(this, output)
  }
}

app.registerExtension({
  name: 'VividFace.Table',

  nodeCreated(node) {
    if (NODES.includes(node.comfyClass ?? node.constructor?.comfyClass)) addTable(node)
  },

  // Outputs come back without a run: another tab of the page was open, or a job is opened out of the history.
  onNodeOutputsUpdated(outputs) {
    for (const [key, output] of Object.entries(outputs ?? {})) {
      if (output?.[OUTPUT]) show(findNode(key), output)
    }
  }
})
