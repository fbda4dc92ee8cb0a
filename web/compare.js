/** Registers the picture of the node Compare Video with ComfyUI's page. */

import { api } from '../../scripts/api.js'
import { ComparePlayer } from './compare_player.js'
import { addElement, registerOutput } from './graph.js'
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

  addElement(node, WIDGET, 'vividface_compare', player.element, {
    getMinHeight: () => MIN_HEIGHT,
    onHide: () => player.pause()
  })

  const [width, height] = node.size
  node.setSize([Math.max(width, SIZE[0]), Math.max(height, SIZE[1])])

  const { onRemoved } = node
  node.onRemoved = function (...given) {
    player.dispose()
    return onRemoved?.apply(this, given)
  }
}

registerOutput('VividFace.CompareVideo', [NODE], OUTPUT, addPlayer, show)
