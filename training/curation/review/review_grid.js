// Cards in lines of one height: only those in sight exist, so that thousands of clips scroll like ten.
const make = (tag, { kind, text, ...attributes } = {}, ...children) => {
  const element = document.createElement(tag)
  if (kind) element.className = kind
  if (text !== undefined) element.textContent = text // never markup: names and reasons are others' words
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value)
  element.append(...children.filter(child => child !== null))
  return element
}
const number = (value, digits = 1) => String(Number(value.toFixed(digits)))
const SIGNS = { keep: '✓', drop: '✕' }

class Grid {
  constructor(element, { card, chosen, opened }) {
    this.element = element
    this.room = make('div', { kind: 'room', role: 'presentation' })
    this.element.append(this.room)
    Object.assign(this, { card, chosen, opened, clips: [], place: -1, shown: new Map() })
    this.columns = 1
    new ResizeObserver(() => this.layout()).observe(element)
    addEventListener('scroll', () => this.soon(), { passive: true })
    addEventListener('resize', () => this.soon())
    this.room.addEventListener('click', event => {
      const found = event.target.closest('.card')
      if (found) this.choose(Number(found.dataset.place), { scroll: false, open: true })
    })
  }

  show(clips, key) {
    this.clips = clips
    this.clear()
    this.layout()
    const place = clips.findIndex(clip => clip.key === key)
    this.choose(place >= 0 ? place : clips.length ? 0 : -1, { scroll: place >= 0 })
  }

  layout() {
    const width = this.element.clientWidth, gap = 18
    if (!width) return
    this.columns = Math.max(2, Math.floor((width + gap) / (168 + gap)))
    this.side = Math.floor((width - gap * (this.columns - 1)) / this.columns)
    this.pitch = this.side + gap
    this.line = this.side + 92 + gap
    this.room.style.height = `${Math.ceil(this.clips.length / this.columns) * this.line}px`
    this.clear()
    this.draw()
  }

  clear() {
    for (const card of this.shown.values()) card.remove()
    this.shown.clear()
  }

  soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = undefined
      this.draw()
    })
  }

  draw() {
    if (!this.line) return
    const above = -this.room.getBoundingClientRect().top
    const first = Math.max(0, Math.floor(above / this.line) - 1) * this.columns
    const last = Math.min(this.clips.length, (Math.ceil((above + innerHeight) / this.line) + 1) * this.columns)
    for (const [place, card] of [...this.shown]) if (place < first || place >= last) this.drop(place, card)
    for (let place = first; place < last; place++) if (!this.shown.has(place)) this.add(place)
    this.element.setAttribute('aria-activedescendant', this.shown.has(this.place) ? `clip-${this.place}` : '')
  }

  drop(place, card) {
    card.remove()
    this.shown.delete(place)
  }

  add(place) {
    const card = this.card(this.clips[place])
    card.id = `clip-${place}`
    card.dataset.place = place
    card.setAttribute('role', 'option')
    card.setAttribute('aria-setsize', this.clips.length)
    card.setAttribute('aria-posinset', place + 1)
    card.setAttribute('aria-selected', place === this.place)
    card.style.width = `${this.side}px`
    card.style.transform = `translate(${(place % this.columns) * this.pitch}px, ${Math.floor(place / this.columns) * this.line}px)`
    this.shown.set(place, card)
    this.room.append(card)
  }

  // Draw a clip's card anew.
  refresh(key) {
    for (const [place, card] of [...this.shown]) { // a copy: what is added anew would come up again
      if (key !== undefined && this.clips[place].key !== key) continue
      this.drop(place, card)
      this.add(place)
    }
  }

  choose(place, { scroll = true, open = false } = {}) {
    this.shown.get(this.place)?.setAttribute('aria-selected', 'false')
    this.place = place
    if (place >= 0 && scroll) this.reveal(place)
    this.draw()
    this.shown.get(place)?.setAttribute('aria-selected', 'true')
    this.chosen(this.clips[place] ?? null)
    if (open) this.opened()
  }

  move(step) {
    if (this.clips.length) this.choose(Math.min(Math.max(this.place + step, 0), this.clips.length - 1))
  }

  reveal(place) {
    const bar = document.querySelector('.bar').offsetHeight
    const top = this.room.getBoundingClientRect().top + Math.floor(place / this.columns) * this.line
    if (top < bar + 8) scrollBy(0, top - bar - 8)
    else if (top + this.line > innerHeight) scrollBy(0, Math.min(top + this.line - innerHeight, top - bar - 8))
  }
}

const PARTS = { tiles: 8, tile: 128, stills: 3, still: 320 }

// A frame of a preview: of its upper row (to be flipped through) or one of its three larger frames.
function picture(clip, still, alt) {
  const frame = make('div', { kind: still === null ? 'frame' : 'frame still' })
  if (!clip.preview) {
    frame.append(make('span', { kind: 'nothing', text: 'no picture' }))
    return frame
  }
  const image = make('img', { src: clip.preview, alt, decoding: 'async', draggable: 'false' })
  if (still !== null) image.style.setProperty('--still', still)
  frame.append(image)
  return frame
}
