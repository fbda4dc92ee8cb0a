/**
 * Two videos at one place with a divider, in step to the frame.
 *
 * Knows nothing of ComfyUI. The <video> elements only decode: each frame that they present is copied to a canvas with
 * its number, and both canvases are changed at once as soon as both sides have the same frame. So the two sides of the
 * divider never show different frames, however unevenly the browser decodes.
 */

import { clamp, setIcon } from './compare_parts.js'
import { Side } from './compare_side.js'
import { loadStyle, make } from './elements.js'

/** @typedef {import('./compare_side.js').Source} Source */

const ENGLISH = {
  play: 'Play',
  pause: 'Pause',
  previousFrame: 'Previous frame',
  nextFrame: 'Next frame',
  loop: 'Loop',
  sound: 'Sound',
  fit: 'Fit',
  before: 'Before',
  after: 'After',
  divider: 'Divider',
  frame: 'Frame',
  waiting: 'Run the graph to compare',
  gone: 'The result is no longer there: run the graph again',
  unplayable: "This browser can't play the video"
}

const FAILURES = ['unplayable', 'gone']

/** Milliseconds without a common frame while playing, after which both sides are put onto one frame again. */
const OUT_OF_STEP = 300
const MAX_ZOOM = 32
/** Part of the picture's width by an arrow key; with Shift ten times as much. */
const DIVIDER_STEP = 0.01

/** The component: `element` goes into the page, `load` brings two videos, `dispose` ends it. */
export class ComparePlayer {
  #texts = ENGLISH
  #before = null
  #after = null
  /** Sides of an earlier `load` that are still seen. */
  #leaving = []
  #loading = 0
  #page = new AbortController()
  #observer
  /** Number of frames that can be compared. */
  #count = 0
  /** Frame that is seen; -1: none. */
  #frame = -1
  /** Frame that is to be seen. */
  #target = 0
  /** Frame that both sides are seeking; -1: they aren't. */
  #sought = -1
  #wantsPlay = false
  #playing = false
  #looping = true
  #muted = true
  #inStep = 0
  #resume = false
  /** Place of the divider in what is seen of the picture, 0 to 1. */
  #divider = 0.5
  /** Size of the picture over its fitting size, and what of it (0 to 1) lies in the middle of the stage. */
  #zoom = { scale: 1, x: 0.5, y: 0.5 }
  #message = 'waiting'
  #detail = ''

  constructor() {
    loadStyle('./compare.css')
    this.#build()
    this.#listen()
    this.#observer = new ResizeObserver(() => this.#layout())
    this.#observer.observe(this.stage)
    this.#translate()
    this.#report()
  }

  /** Number of the frame that is seen, from 0; -1 before the first. */
  get frame() {
    return this.#frame
  }

  /** @param {Record<string, string>} texts those of ENGLISH in another language; what is missing stays English */
  setTexts(texts) {
    this.#texts = { ...ENGLISH, ...texts }
    this.#translate()
    this.#report()
  }

  /**
   * Show two videos from now on; divider, zoom and frame stay.
   *
   * @param {Source} before
   * @param {Source} after
   */
  async load(before, after) {
    const turn = ++this.#loading
    this.#stop()
    const onFrame = () => this.#present()
    const onEnd = () => this.#finish()
    const sides = [before, after].map((source) => new Side(source, onFrame, onEnd))
    // In the page, since browsers may decode less eagerly outside of it.
    this.decoders.append(...sides.map((side) => side.video))
    const [failed] = (await Promise.allSettled(sides.map((side) => side.ready)))
      .map((result, index) => (result.status === 'rejected' ? sides[index] : null))
      .filter(Boolean)
    if (turn !== this.#loading) {
      for (const side of sides) side.dispose()
      return
    }
    this.#stop()
    // The old picture stays until the new one is there.
    this.#leaving.push(...[this.#before, this.#after].filter(Boolean))
    this.#before = this.#after = null
    this.#frame = this.#sought = -1
    if (failed) {
      this.#leaving.push(...sides)
      this.#leave()
      this.#fail(failed)
      return
    }
    ;[this.#before, this.#after] = sides
    for (const [side, picture] of [[sides[0], this.beforePicture], [sides[1], this.afterPicture]]) {
      picture.append(...side.slots.map((slot) => slot.canvas))
      side.video.addEventListener('error', () => side.video.error && this.#fail(side))
    }
    this.#before.video.muted = this.#muted
    const seconds = Math.min(before.frames / before.fps, after.frames / after.fps)
    this.#count = Math.max(1, Math.floor(seconds * before.fps + 0.01))
    this.scrub.max = String(this.#count - 1)
    this.#message = ''
    this.#report()
    this.#layout()
    this.goTo(this.#target)
  }

  /** Play from the seen frame; from the start if it is the last. */
  play() {
    if (!this.#before || this.#wantsPlay) return
    this.#wantsPlay = true
    this.#report()
    if (this.#sought < 0 && this.#frame >= this.#count - 1) this.goTo(0)
    if (this.#sought < 0) this.#start()
  }

  /** Stop at the seen frame. */
  pause() {
    if (!this.#wantsPlay) return
    this.#stop()
    if (this.#sought < 0) this.goTo(Math.max(this.#frame, 0))
  }

  /** @param {number} count frames forward; negative: back */
  step(count) {
    this.#stop()
    this.goTo((this.#sought < 0 ? this.#frame : this.#target) + count)
  }

  /** @param {number} frame number from 0 */
  goTo(frame) {
    if (!this.#before) return
    this.#target = clamp(frame, 0, this.#count - 1)
    // A drag along the scrub bar asks faster than is decoded: the frame under way is shown, then the newest wish.
    if (this.#sought < 0) this.#seek()
  }

  /** Stop, let go of the videos and of the page. */
  dispose() {
    this.#loading++
    this.#stop()
    this.#page.abort()
    this.#observer.disconnect()
    this.#leaving.push(...[this.#before, this.#after].filter(Boolean))
    this.#before = this.#after = null
    this.#leave()
  }

  #leave() {
    for (const side of this.#leaving.splice(0)) side.dispose()
  }

  // Time

  /** Frame of "after" that belongs to `frame` of "before". */
  #counterpart(frame) {
    const { fps } = this.#before.source
    const own = this.#after.source.fps
    return fps === own ? frame : Math.floor(((frame + 0.5) / fps) * own)
  }

  #seek() {
    this.#sought = this.#target
    this.#before.forget()
    this.#after.forget()
    this.#before.seek(this.#sought)
    this.#after.seek(this.#counterpart(this.#sought))
    this.#present()
  }

  /** Show the newest frame that both sides have. */
  #present() {
    if (!this.#before) return
    if (this.#sought >= 0) {
      if (this.#before.video.seeking || this.#after.video.seeking) return
      if (!this.#show(this.#sought)) return
      const more = this.#sought !== this.#target
      this.#sought = -1
      if (more) this.#seek()
      else if (this.#wantsPlay) this.#start()
    } else if (this.#playing) {
      const frames = this.#before.slots.map((slot) => slot.frame).sort((a, b) => b - a)
      for (const frame of frames) {
        if (frame <= this.#frame || frame >= this.#count) continue
        if (this.#show(frame)) {
          this.#inStep = performance.now()
          break
        }
      }
      this.#keepStep()
    }
  }

  #show(frame) {
    const counterpart = this.#counterpart(frame)
    if (!this.#before.slot(frame) || !this.#after.slot(counterpart)) return false
    this.#before.show(frame)
    this.#after.show(counterpart)
    this.#leave()
    this.#frame = frame
    if (this.#playing) this.#target = frame
    // While a drag runs ahead of the picture, the thumb stays under the pointer.
    this.scrub.value = String(this.#target)
    this.#tell()
    return true
  }

  /** "after" follows "before", whose sound mustn't stumble. */
  #keepStep() {
    if (this.#before.newest >= this.#count) {
      this.#finish()
      return
    }
    const late = this.#before.time - this.#after.time
    const rate = this.#before.video.playbackRate
    const tolerable = 0.5 / Math.max(this.#before.source.fps, this.#after.source.fps)
    this.#after.video.playbackRate = Math.abs(late) > tolerable ? rate * clamp(1 + 4 * late, 0.5, 2) : rate
    if (performance.now() - this.#inStep > OUT_OF_STEP) {
      this.#halt()
      this.goTo(this.#before.newest)
    }
  }

  #start() {
    this.#playing = true
    this.#inStep = performance.now()
    Promise.all([this.#before.video.play(), this.#after.video.play()]).catch((error) => {
      // A pause before the start isn't a refusal.
      if (error.name !== 'AbortError') this.pause()
    })
  }

  /** Hold both videos; the wish to play stays. */
  #halt() {
    this.#playing = false
    this.#before?.video.pause()
    this.#after?.video.pause()
  }

  #stop() {
    this.#halt()
    this.#wantsPlay = false
    this.#report()
  }

  #finish() {
    if (!this.#playing) return
    this.#halt()
    if (this.#looping) this.goTo(0)
    else {
      this.#stop()
      this.goTo(this.#count - 1)
    }
  }

  #fail(side) {
    this.#stop()
    this.#sought = -1
    this.#message = 'unplayable'
    this.#detail = side.source.name
    this.#report()
    this.#askWhy(side)
  }

  /** Temporary results are deleted when nothing needs them any more; the page may still know of one. */
  async #askWhy(side) {
    const turn = this.#loading
    const answer = await fetch(side.source.url, { method: 'HEAD' }).catch(() => null)
    if (answer?.status !== 404 || turn !== this.#loading) return
    this.#message = 'gone'
    this.#report()
  }

  // Picture

  #build() {
    this.beforePicture = make('div', 'vf-compare-picture')
    this.afterPicture = make('div', 'vf-compare-picture')
    this.beforeLabel = make('span', 'vf-compare-label vf-compare-label-before')
    this.afterLabel = make('span', 'vf-compare-label vf-compare-label-after')
    this.beforeLayer = make('div', 'vf-compare-layer', {}, this.beforePicture, this.beforeLabel)
    this.afterLayer = make('div', 'vf-compare-layer', {}, this.afterPicture, this.afterLabel)
    this.decoders = make('div', 'vf-compare-decoders', { 'aria-hidden': 'true' })
    this.divider = make('div', 'vf-compare-divider', {
      role: 'slider', tabindex: '0', 'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-orientation': 'horizontal'
    })
    this.divider.innerHTML =
      '<span class="vf-compare-handle"><svg viewBox="0 0 16 16" aria-hidden="true">' +
      '<path d="M6 4.5 2.5 8 6 11.5M10 4.5 13.5 8 10 11.5"/></svg></span>'
    this.note = make('div', 'vf-compare-note', { role: 'status' })
    this.stage = make('div', 'vf-compare-stage', { tabindex: '0', role: 'group' },
      this.decoders, this.beforeLayer, this.afterLayer, this.divider, this.note)

    const button = (classes) => make('button', `vf-compare-button ${classes}`, { type: 'button' })
    this.playButton = button('vf-compare-play')
    this.previousButton = button('vf-compare-previous')
    this.nextButton = button('vf-compare-next')
    this.loopButton = button('vf-compare-loop')
    this.soundButton = button('vf-compare-sound')
    this.fitButton = button('vf-compare-fit')
    this.scrub = make('input', 'vf-compare-scrub', { type: 'range', min: '0', max: '0', step: '1', value: '0' })
    this.counterWord = make('span', 'vf-compare-word')
    this.counterNumbers = make('span')
    this.counter = make('span', 'vf-compare-counter', {}, this.counterWord, this.counterNumbers)
    this.sizes = make('span', 'vf-compare-sizes')
    this.bar = make('div', 'vf-compare-bar', {}, this.scrub, make('div', 'vf-compare-row', {},
      this.previousButton, this.playButton, this.nextButton, this.counter, this.sizes,
      this.loopButton, this.soundButton, this.fitButton))
    // ComfyUI's Nodes 2.0 leave the wheel to elements so marked once they have the focus.
    this.element = make('div', 'vf-compare', { 'data-capture-wheel': 'true' }, this.stage, this.bar)
    setIcon(this.previousButton, 'previousFrame')
    setIcon(this.nextButton, 'nextFrame')
    setIcon(this.loopButton, 'loop')
    setIcon(this.fitButton, 'fit')
  }

  #translate() {
    const texts = this.#texts
    const name = (element, text) => {
      element.title = text
      element.setAttribute('aria-label', text)
    }
    this.beforeLabel.textContent = texts.before
    this.afterLabel.textContent = texts.after
    this.divider.setAttribute('aria-label', texts.divider)
    this.stage.setAttribute('aria-label', `${texts.before} / ${texts.after}`)
    this.scrub.setAttribute('aria-label', texts.frame)
    name(this.previousButton, texts.previousFrame)
    name(this.nextButton, texts.nextFrame)
    name(this.loopButton, texts.loop)
    name(this.soundButton, `${texts.sound} (${texts.before})`)
    name(this.fitButton, texts.fit)
  }

  /** Bring what isn't the picture up to date. */
  #report() {
    const shown = Boolean(this.#before) && !this.#message
    this.element.classList.toggle('vf-compare-empty', !shown)
    this.element.classList.toggle('vf-compare-failed', FAILURES.includes(this.#message))
    for (const control of this.bar.querySelectorAll('button, input')) control.disabled = !shown
    this.divider.hidden = !shown
    this.note.textContent = this.#message ? this.#texts[this.#message] : ''
    if (FAILURES.includes(this.#message)) this.note.append(make('small', '', {}, this.#detail))
    setIcon(this.playButton, this.#wantsPlay ? 'pause' : 'play')
    const verb = this.#wantsPlay ? this.#texts.pause : this.#texts.play
    this.playButton.title = verb
    this.playButton.setAttribute('aria-label', verb)
    this.loopButton.setAttribute('aria-pressed', String(this.#looping))
    setIcon(this.soundButton, this.#muted ? 'silence' : 'sound')
    this.soundButton.setAttribute('aria-pressed', String(!this.#muted))
    this.#tell()
  }

  #tell() {
    const known = this.#before && this.#frame >= 0
    this.counterWord.textContent = known ? `${this.#texts.frame} ` : ''
    this.counterNumbers.textContent = known ? `${this.#frame + 1} / ${this.#count}` : ''
    this.scrub.setAttribute('aria-valuetext', this.counter.textContent)
    this.scrub.style.setProperty('--vf-part', String(this.#target / Math.max(this.#count - 1, 1)))
  }

  /** Place pictures, divider and labels; all lengths in CSS pixels of the stage. */
  #layout() {
    const stage = { width: this.stage.clientWidth, height: this.stage.clientHeight }
    if (!this.#before || !stage.width || !stage.height) return
    const { videoWidth: width, videoHeight: height } = this.#after.video
    const fit = Math.min(stage.width / width, stage.height / height) * this.#zoom.scale
    const size = { width: width * fit, height: height * fit }
    const zoom = this.#zoom
    // No empty margin at a side where there is picture to fill it.
    const hold = (middle, whole, seen) =>
      whole <= seen ? 0.5 : clamp(middle, seen / 2 / whole, 1 - seen / 2 / whole)
    zoom.x = hold(zoom.x, size.width, stage.width)
    zoom.y = hold(zoom.y, size.height, stage.height)
    const left = stage.width / 2 - zoom.x * size.width
    const top = stage.height / 2 - zoom.y * size.height
    for (const picture of [this.beforePicture, this.afterPicture]) {
      Object.assign(picture.style, {
        left: `${left}px`, top: `${top}px`, width: `${size.width}px`, height: `${size.height}px`
      })
    }
    this.area = { left, top, ...size }
    this.seen = {
      left: Math.max(left, 0),
      top: Math.max(top, 0),
      right: Math.min(left + size.width, stage.width),
      bottom: Math.min(top + size.height, stage.height)
    }
    for (const [name, value] of Object.entries({
      left: this.seen.left, top: this.seen.top, right: stage.width - this.seen.right
    })) {
      this.stage.style.setProperty(`--vf-${name}`, `${value}px`)
    }
    this.divider.style.top = `${this.seen.top}px`
    this.divider.style.height = `${this.seen.bottom - this.seen.top}px`
    this.element.classList.toggle('vf-compare-zoomed', zoom.scale > 1)
    const [a, b] = [this.#before.source, this.#after.source]
    const sizes = a.width === b.width && a.height === b.height ? '' : `${a.width}×${a.height} → ${b.width}×${b.height}`
    const scale = zoom.scale > 1 ? `×${zoom.scale.toFixed(1)}` : ''
    this.sizes.textContent = [sizes, scale].filter(Boolean).join(' · ')
    this.sizes.title = this.sizes.textContent
    this.#placeDivider()
  }

  #placeDivider() {
    if (!this.seen) return
    const x = this.seen.left + this.#divider * (this.seen.right - this.seen.left)
    this.divider.style.left = `${x}px`
    this.afterLayer.style.clipPath = `inset(0 0 0 ${x}px)`
    this.divider.setAttribute('aria-valuenow', String(Math.round(this.#divider * 100)))
  }

  #setDivider(part) {
    this.#divider = clamp(part, 0, 1)
    this.#placeDivider()
  }

  /** Place of a pointer in the stage, in its CSS pixels: ComfyUI scales the whole element with the graph. */
  #place(event) {
    const box = this.stage.getBoundingClientRect()
    return {
      x: ((event.clientX - box.left) * this.stage.offsetWidth) / box.width,
      y: ((event.clientY - box.top) * this.stage.offsetHeight) / box.height
    }
  }

  #zoomAt(place, factor) {
    if (!this.area) return
    const scale = clamp(this.#zoom.scale * factor, 1, MAX_ZOOM)
    const { left, top, width, height } = this.area
    const grown = scale / this.#zoom.scale
    const middle = (at, start, length, stage) => (at - start) / length - (at - stage / 2) / (length * grown)
    this.#zoom = {
      scale,
      x: middle(place.x, left, width, this.stage.clientWidth),
      y: middle(place.y, top, height, this.stage.clientHeight)
    }
    this.#layout()
  }

  #reset() {
    this.#zoom = { scale: 1, x: 0.5, y: 0.5 }
    this.#layout()
  }

  // Pointer and keys

  #listen() {
    // Nothing that happens in here is the graph's business. Keys with Ctrl are: they run, save and so on.
    for (const type of ['pointerdown', 'pointermove', 'pointerup', 'pointercancel', 'dblclick']) {
      this.element.addEventListener(type, (event) => event.stopPropagation())
    }
    this.element.addEventListener('wheel', (event) => {
      event.preventDefault()
      event.stopPropagation()
    }, { passive: false })
    for (const type of ['keydown', 'keyup', 'keypress']) {
      this.element.addEventListener(type, (event) => {
        if (type === 'keydown') this.#key(event)
        if (!event.ctrlKey && !event.metaKey) event.stopPropagation()
      })
    }

    this.stage.addEventListener('wheel', (event) => {
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 40 : 1
      this.#zoomAt(this.#place(event), Math.exp(clamp(-event.deltaY * lines, -200, 200) / 400))
    }, { passive: false })
    this.stage.addEventListener('dblclick', () => this.#reset())
    this.#dragged(this.stage, (from, event) => {
      const { x, y } = this.#place(event)
      this.#zoom.x -= (x - from.x) / this.area.width
      this.#zoom.y -= (y - from.y) / this.area.height
      Object.assign(from, { x, y })
      this.#layout()
    }, () => this.#zoom.scale > 1)
    this.#dragged(this.divider, (from, event) => {
      // Where it was taken hold of stays under the pointer.
      const x = this.#place(event).x - from.x + from.divider
      this.#setDivider((x - this.seen.left) / (this.seen.right - this.seen.left))
    })

    this.playButton.addEventListener('click', () => (this.#wantsPlay ? this.pause() : this.play()))
    this.previousButton.addEventListener('click', () => this.step(-1))
    this.nextButton.addEventListener('click', () => this.step(1))
    this.loopButton.addEventListener('click', () => {
      this.#looping = !this.#looping
      this.#report()
    })
    this.soundButton.addEventListener('click', () => {
      this.#muted = !this.#muted
      if (this.#before) this.#before.video.muted = this.#muted
      this.#report()
    })
    this.fitButton.addEventListener('click', () => this.#reset())
    this.scrub.addEventListener('input', () => {
      this.#resume ||= this.#wantsPlay
      this.#stop()
      this.goTo(this.scrub.valueAsNumber)
    })
    this.scrub.addEventListener('change', () => {
      if (this.#resume) this.play()
      this.#resume = false
    })
    // What isn't seen needn't be decoded.
    document.addEventListener('visibilitychange', () => document.hidden && this.pause(), { signal: this.#page.signal })
  }

  /** Call `move` while the primary button or a finger drags `element`. */
  #dragged(element, move, may = () => true) {
    let from = null
    element.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || !this.#before) return
      event.stopPropagation() // the divider lies on the stage
      if (!may()) return
      from = { ...this.#place(event), divider: parseFloat(this.divider.style.left) }
      element.setPointerCapture(event.pointerId)
      element.classList.add('vf-compare-held')
    })
    element.addEventListener('pointermove', (event) => from && move(from, event))
    for (const type of ['pointerup', 'pointercancel', 'lostpointercapture']) {
      element.addEventListener(type, () => {
        from = null
        element.classList.remove('vf-compare-held')
      })
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#before) return
    const { target, key } = event
    const forward = { ArrowLeft: -1, ArrowRight: 1 }[key]
    const isButton = target instanceof HTMLButtonElement
    if (key === ' ' && !isButton) {
      if (this.#wantsPlay) this.pause()
      else this.play()
    } else if (target === this.divider && forward) {
      this.#setDivider(this.#divider + forward * DIVIDER_STEP * (event.shiftKey ? 10 : 1))
    } else if (target === this.divider && (key === 'Home' || key === 'End')) {
      this.#setDivider(key === 'Home' ? 0 : 1)
    } else if (target !== this.scrub && forward) {
      this.step(forward)
    } else if (target !== this.scrub && (key === 'Home' || key === 'End')) {
      this.#stop()
      this.goTo(key === 'Home' ? 0 : this.#count - 1)
    } else return
    event.preventDefault()
  }
}
