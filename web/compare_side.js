/** One video of a comparison. Knows nothing of ComfyUI. */

import { make } from './elements.js'

/**
 * @typedef {object} Source
 * @property {string} url
 * @property {string} name shown if it can't be played
 * @property {number} fps frames a second
 * @property {number} frames
 * @property {number} width pixels
 * @property {number} height pixels
 */

/** Canvases of a side: one is seen, the others hold frames whose counterpart isn't there yet. */
const SLOTS = 3
/** Milliseconds after a seek in which the frame must be presented; then what the video shows is taken. */
const PATIENCE = 150

/** One video: decodes, and keeps its latest frames by their numbers. */
export class Side {
  #captured = 0
  #timer = 0
  #closed = false
  #first

  /**
   * @param {Source} source
   * @param {() => void} onFrame a frame came
   * @param {() => void} onEnd the video is at its end
   */
  constructor(source, onFrame, onEnd) {
    Object.assign(this, { source, onFrame })
    /** Number of the frame that came last; -1: none yet. */
    this.newest = -1
    /** Seconds from the video's zero to its first frame. */
    this.shift = 0
    /** Frame that was sought last. */
    this.wanted = 0
    this.seen = null
    this.slots = Array.from({ length: SLOTS }, () => ({
      canvas: make('canvas', '', { hidden: '' }),
      frame: -1,
      order: 0
    }))
    this.video = make('video', '', { preload: 'auto', playsinline: '', tabindex: '-1', 'aria-hidden': 'true' })
    this.video.muted = true
    this.video.addEventListener('seeked', () => this.#seeked())
    this.video.addEventListener('ended', onEnd)
    /** Settles when the first frame is there; fails if the video can't be played. */
    this.ready = new Promise((resolve, reject) => {
      this.#first = resolve
      this.video.addEventListener('error', () => reject(this.video.error))
      // Some browsers present nothing before the first seek.
      this.video.addEventListener('loadeddata', () => setTimeout(() => this.#begin(0), PATIENCE), { once: true })
    })
    this.video.src = source.url
    if (this.video.requestVideoFrameCallback) this.#watch()
    else this.#poll()
  }

  #watch() {
    this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      if (this.#closed) return
      this.#begin(mediaTime)
      this.capture(Math.round((mediaTime - this.shift) * this.source.fps))
      this.#watch()
    })
  }

  /** The first frame is there, `shift` seconds after the video's zero. */
  #begin(shift) {
    if (!this.#first) return
    this.shift = shift
    this.#first()
    this.#first = null
  }

  #poll() {
    if (this.#closed) return
    if (!this.video.paused) this.capture(Math.floor(this.time * this.source.fps + 0.01))
    requestAnimationFrame(() => this.#poll())
  }

  #seeked() {
    clearTimeout(this.#timer)
    if (this.video.requestVideoFrameCallback) {
      this.#timer = setTimeout(() => this.capture(this.wanted), PATIENCE)
      this.onFrame() // the frame may have come before, or be the one that is seen already
    } else this.capture(this.wanted)
  }

  /** Seconds since the first frame. */
  get time() {
    return this.video.currentTime - this.shift
  }

  seek(frame) {
    clearTimeout(this.#timer)
    this.wanted = frame
    // The middle of the frame's time: rounding can't lead to a neighbour.
    this.video.currentTime = this.shift + (frame + 0.5) / this.source.fps
  }

  /** Keep what the video shows as frame number `frame`. */
  capture(frame) {
    if (this.#closed || this.video.readyState < 2) return
    this.newest = frame
    if (!this.slot(frame)) {
      const free = this.slots.filter((slot) => slot !== this.seen).sort((a, b) => a.order - b.order)[0]
      const { canvas } = free
      const { videoWidth: width, videoHeight: height } = this.video
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
      canvas.getContext('2d', { alpha: false }).drawImage(this.video, 0, 0, width, height)
      free.frame = frame
    }
    this.slot(frame).order = ++this.#captured
    this.onFrame()
  }

  slot(frame) {
    return this.slots.find((slot) => slot.frame === frame)
  }

  /** Let `frame`, which must be there, be seen. */
  show(frame) {
    const slot = this.slot(frame)
    if (slot === this.seen) return
    slot.canvas.hidden = false
    if (this.seen) this.seen.canvas.hidden = true
    this.seen = slot
  }

  /** Forget what was captured but isn't seen: after a jump it could be taken for the new. */
  forget() {
    for (const slot of this.slots) if (slot !== this.seen) slot.frame = -1
    this.newest = -1
  }

  dispose() {
    this.#closed = true
    clearTimeout(this.#timer)
    this.video.pause()
    this.video.removeAttribute('src')
    this.video.load()
    this.video.remove()
    for (const { canvas } of this.slots) {
      canvas.remove()
      canvas.width = canvas.height = 0
    }
  }
}
