/** Shows the scores of MLLM Score and Score Folder as a table in their nodes. */

import { app } from '../../scripts/app.js'
import { loadStyle, make } from './elements.js'
import { addElement, registerOutput } from './graph.js'

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
  // Where there is something to scroll, the wheel scrolls; else it zooms the graph as elsewhere.
  element.addEventListener('wheel', (event) => {
    if (element.scrollHeight > element.clientHeight && !event.ctrlKey) event.stopPropagation()
    else app.canvas.processMouseWheel(event)
  }, { passive: true })

  addElement(node, WIDGET, 'vividface_table', element, { getMinHeight: () => MIN_HEIGHT })

  const [width, height] = node.size
  node.setSize([Math.max(width, SIZE[0]), Math.max(height, SIZE[1])])
}

registerOutput('VividFace.Table', NODES, OUTPUT, addTable, show)
