/** What the pack's widgets need of the page's graph. */

import { app } from '../../scripts/app.js'

/** Node of an output's key: `id`, or `subgraph:id` in a subgraph. */
export function findNode(key) {
  const root = app.rootGraph ?? app.graph
  const cut = key.lastIndexOf(':')
  const graph = cut < 0 ? root : root.subgraphs?.get(key.slice(0, cut))
  const id = key.slice(cut + 1)
  return graph?.getNodeById(id) ?? graph?.getNodeById(Number(id))
}

/** Middle button: the graph is moved, as over the canvas. */
export function passMiddleButton(element) {
  element.addEventListener('pointerdown', (event) => event.button === 1 && app.canvas.processMouseDown(event))
  element.addEventListener('pointermove', (event) => event.buttons & 4 && app.canvas.processMouseMove(event))
  element.addEventListener('pointerup', (event) => event.button === 1 && app.canvas.processMouseUp(event))
}

/**
 * Let a DOM widget be as wide as its node. The page's side panel writes its own width into a widget that it lists, and
 * never takes it back: the element in the graph would stay that narrow.
 */
export function followNodeWidth(widget) {
  Object.defineProperty(widget, 'width', { configurable: true, get: () => undefined, set: () => {} })
}
