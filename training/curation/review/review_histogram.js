// Scores in bins that the threshold divides, each a filter.
class Histogram {
  constructor(element, page) {
    Object.assign(this, { element, page, place: -1 })
    const scores = page.clips.map(clip => clip.final).filter(score => score !== null)
    element.hidden = !scores.length
    if (!scores.length) return
    const low = Math.min(...scores, page.threshold), high = Math.max(...scores, page.threshold)
    this.width = [0.5, 1, 2, 2.5, 5].find(width => (high - low) / width <= 44) ?? 5
    this.below = Math.floor((page.threshold - low) / this.width + 1e-9) + 1 // the lowest score lies inside a bin
    this.start = page.threshold - this.below * this.width
    this.bins = Array.from({ length: this.below + Math.max(1, Math.ceil((high - page.threshold) / this.width)) }, () => [])
    for (const clip of page.clips) if (clip.final !== null) this.bins[this.of(clip.final)].push(clip)
    this.bars = element.querySelector('.bins')
    this.output = element.querySelector('output')
    this.bars.addEventListener('pointermove', event => this.point(this.at(event.clientX)))
    this.bars.addEventListener('pointerleave', () => this.point(-1))
    this.bars.addEventListener('blur', () => this.point(-1))
    this.bars.addEventListener('click', event => this.take(this.at(event.clientX)))
    this.bars.addEventListener('keydown', event => this.key(event))
    this.axis()
    this.draw()
  }

  of(score) { // a score on an edge belongs below it, as the threshold itself does
    return Math.min(Math.max(Math.ceil((score - this.start) / this.width - 1e-9) - 1, 0), this.bins.length - 1)
  }

  at(x) {
    const box = this.bars.getBoundingClientRect()
    return Math.min(Math.max(Math.floor(((x - box.left) / box.width) * this.bins.length), 0), this.bins.length - 1)
  }

  draw() {
    if (!this.bars) return
    const most = Math.max(...this.bins.map(bin => bin.length))
    this.bars.replaceChildren(...this.bins.map((bin, place) => {
      const kept = bin.filter(clip => this.page.keeps(clip)).length
      const bar = make('span', { kind: place === this.place ? 'bin here' : 'bin' }, make('i', { kind: 'drop' }), make('i', { kind: 'keep' }))
      bar.children[0].style.height = `${(100 * (bin.length - kept)) / most}%`
      bar.children[1].style.height = `${(100 * kept) / most}%`
      return bar
    }))
    this.tell()
  }

  axis() {
    const line = this.element.querySelector('.threshold'), total = this.bins.length * this.width
    line.style.left = `${(100 * this.below) / this.bins.length}%`
    line.querySelector('span').textContent = `kept above ${number(this.page.threshold)}`
    line.classList.toggle('late', this.below / this.bins.length > 0.6)
    const step = [1, 2, 5, 10, 20, 50].find(size => total / size <= 8) ?? 50, marks = []
    for (let at = Math.ceil(this.start / step) * step; at <= this.start + total + 1e-9; at += step) {
      const mark = make('span', { text: number(at) })
      mark.style.left = `${(100 * (at - this.start)) / total}%`
      marks.push(mark)
    }
    this.element.querySelector('.axis').replaceChildren(...marks)
  }

  point(place) {
    if (place === this.place) return
    this.bars.children[this.place]?.classList.remove('here')
    this.place = place
    this.bars.children[place]?.classList.add('here')
    this.tell()
  }

  tell() {
    const { page, place } = this, edge = place < 0 ? page.threshold : this.start + place * this.width
    const above = page.clips.filter(clip => clip.final !== null && clip.final > edge).length
    const clips = count => `${count.toLocaleString('en')} clip${count === 1 ? '' : 's'}`
    this.output.textContent = place < 0 ? `${clips(above)} scored above ${number(edge)}`
      : `${number(edge)} to ${number(edge + this.width)}: ${clips(this.bins[place].length)}; above ${number(edge)}: ${above.toLocaleString('en')}`
  }

  take(place) {
    const low = this.start + place * this.width, same = this.page.wanted.low === low
    this.page.want(same ? { low: null, high: null } : { low, high: low + this.width })
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
    if (step) this.point(Math.min(Math.max((this.place < 0 ? this.below : this.place) + step, 0), this.bins.length - 1))
    else if ((event.key === 'Enter' || event.key === ' ') && this.place >= 0) this.take(this.place)
    else return
    event.preventDefault()
  }
}
