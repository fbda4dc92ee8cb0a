/** Registers the picture of the node Compare Video with ComfyUI's page. */

import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'
import { ComparePlayer } from './compare_player.js'
import { findNode, followNodeWidth, passMiddleButton } from './graph.js'
import { textsOf } from './texts.js'

const NODE = 'VividFaceCompareVideo'
const WIDGET = 'compare'
const OUTPUT = 'vividface_compare'
/** Pixels of the graph at 100 %. */
const SIZE = [480, 420]
const MIN_HEIGHT = 260

/** What the player wants of one video as the node tells it. */
function source(told) {
  const where = { filename: told.filename, subfolder: told.subfolder ?? '', type: told.type ?? 'output' }
  // A file of the same name may have other content after the next run.
  const query = new URLSearchParams({ ...where, rand: String(Math.random()) })
  const { fps, frames, width, height } = told
  return { url: api.apiURL(`/view?${query}`), name: told.filename, fps, frames, width, height }
}

function show(node, output) {
  const pair = output?.[OUTPUT]?.[0]
  const player = node?.vividfaceCompare
  if (!player || !pair?.before || !pair?.after) return
  player.load(source(pair.before), source(pair.after))
}

function addPlayer(node) {
  const player = new ComparePlayer()
  node.vividfaceCompare = player
  textsOf('vividface').then(({ local }) => player.setTexts(local))
  passMiddleButton(player.element)

  const widget = node.addDOMWidget(WIDGET, 'vividface_compare', player.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => MIN_HEIGHT,
    onHide: () => player.pause()
  })
  // The option keeps it out of the prompt, this out of the saved workflow.
  widget.serialize = false
  followNodeWidth(widget)

  const [width, height] = node.size
  node.setSize([Math.max(width, SIZE[0]), Math.max(height, SIZE[1])])

  const { onExecuted, onRemoved } = node
  node.onExecuted = function (output) {
    onExecuted?.call(this, output)
    show(this, output)
  }
  node.onRemoved = function (...given) {
    player.dispose()
    return onRemoved?.apply(this, given)
  }
}

app.registerExtension({
  name: 'VividFace.CompareVideo',

  nodeCreated(node) {
    if ((node.comfyClass ?? node.constructor?.comfyClass) === NODE) addPlayer(node)
  },

  // Outputs come back without a run: another tab of the page was open, or a job is opened out of the history.
  onNodeOutputsUpdated(outputs) {
    for (const [key, output] of Object.entries(outputs ?? {})) {
      if (output?.[OUTPUT]) show(findNode(key), output)
    }
  }
})
