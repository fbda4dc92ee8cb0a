/** What the pack's widgets need of the page's graph. */

import { app } from '../../scripts/app.js'

/** Node of an output's key: `id`, or `subgraph:id` in a subgraph. */
function findNode(key) {
  const root = app.rootGraph ?? app.graph
  const cut = key.lastIndexOf(':')
  const graph = cut < 0 ? root : root.subgraphs?.get(key.slice(0, cut))
  const id = key.slice(cut + 1)
  return graph?.getNodeById(id) ?? graph?.getNodeById(Number(id))
}

/** Middle button: the graph is moved, as over the canvas. */
function passMiddleButton(element) {
  element.addEventListener('pointerdown', (event) => event.button === 1 && app.canvas.processMouseDown(event))
  element.addEventListener('pointermove', (event) => event.buttons & 4 && app.canvas.processMouseMove(event))
  element.addEventListener('pointerup', (event) => event.button === 1 && app.canvas.processMouseUp(event))
}

/**
 * Show an element in a node, as large as the node leaves room for. It is in neither the prompt nor the saved workflow.
 *
 * @param {object} options more for the page's DOM widget
 */
export function addElement(node, name, type, element, options) {
  passMiddleButton(element)
  const widget = node.addDOMWidget(name, type, element, { serialize: false, hideOnZoom: false, ...options })
  // The option keeps it out of the prompt, this out of the saved workflow.
  widget.serialize = false
  followNodeWidth(widget)
}

/**
 * Register a widget that shows what its nodes tell after a run.
 *
 * @param {string} name of the extension
 * @param {string[]} types of nodes
 * @param {string} key of the output
 * @param {(node: object) => void} add puts the widget into a new node
 * @param {(node: object, output: object) => void} show
 */
export function registerOutput(name, types, key, add, show) {
  app.registerExtension({
    name,

    nodeCreated(node) {
      if (!types.includes(node.comfyClass ?? node.constructor?.comfyClass)) return
      add(node)
      const { onExecuted } = node
      node.onExecuted = function (output) {
        onExecuted?.call(this, output)
        show(this, output)
      }
    },

    // Outputs come back without a run: another tab of the page was open, or a job is opened out of the history.
    onNodeOutputsUpdated(outputs) {
      for (const [place, output] of Object.entries(outputs ?? {})) {
        if (output?.[key]) show(findNode(place), output)
      }
    }
  })
}

/**
 * Let a DOM widget be as wide as its node. The page's side panel writes its own width into a widget that it lists, and
 * never takes it back: the element in the graph would stay that narrow.
 */
function followNodeWidth(widget) {
  Object.defineProperty(widget, 'width', { configurable: true, get: () => undefined, set: () => {} })
}
