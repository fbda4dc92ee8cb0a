/** Opens graphs that were saved before Video Load had `force_rate`. */

import { app } from '../../scripts/app.js'

const NODE = 'VividFaceVideoLoad'
/** The page puts the button for uploads behind the node's own widgets, so that a new widget comes before it. */
const BUTTON = 'image'
const PLACE = 4

app.registerExtension({
  name: 'VividFace.VideoLoad',

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return
    const { configure } = nodeType.prototype
    nodeType.prototype.configure = function (saved) {
      const values = saved?.widgets_values
      if (Array.isArray(values) && values[PLACE] === BUTTON) {
        saved = { ...saved, widgets_values: [...values.slice(0, PLACE), 0, ...values.slice(PLACE)] }
      }
      return configure.call(this, saved)
    }
  }
})
