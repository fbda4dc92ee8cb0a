// Everything about one clip, and what a person may say of it.
class Side {
  constructor(element, page, { changed }) {
    Object.assign(this, { element, page, changed, clip: null, still: 1, unplayable: new Set() })
    this.form = element.querySelector('form')
    this.score = this.form.elements.score
    this.note = this.form.elements.note
    this.form.addEventListener('submit', event => event.preventDefault())
    for (const button of this.form.querySelectorAll('[data-verdict]')) {
      button.addEventListener('click', () => this.changed({ verdict: button.dataset.verdict || null }))
    }
    this.score.addEventListener('input', () => this.typedScore())
    this.note.addEventListener('input', () => this.changed({ note: this.note.value }, 'note'))
  }

  typedScore() {
    const text = this.score.value.trim().replace(',', '.'), value = Number(text)
    const fine = text === '' || (/^\d+(\.\d+)?$/.test(text) && value <= 100)
    this.score.setAttribute('aria-invalid', String(!fine))
    this.form.querySelector('.wrong').hidden = fine
    if (fine) this.changed({ score: text === '' ? null : value }, 'score')
  }

  show(clip) {
    const other = clip?.key !== this.clip?.key
    this.clip = clip
    this.element.classList.toggle('empty', clip === null)
    if (!clip) return
    if (other) {
      this.still = 1
      this.stage()
      this.element.querySelector('.about').replaceChildren(...this.about())
      this.element.scrollTop = 0
      this.score.setAttribute('aria-invalid', 'false')
      this.form.querySelector('.wrong').hidden = true
    }
    this.fill(other)
  }

  // The person's part; a field that is being typed into is left alone.
  fill(other = true) {
    const own = this.page.decisions.of(this.clip.key)
    for (const button of this.form.querySelectorAll('[data-verdict]')) {
      button.setAttribute('aria-pressed', String(button.dataset.verdict === (own.verdict ?? '')))
      button.disabled = button.dataset.verdict === 'keep' && !this.clip.whole
    }
    if (other || document.activeElement !== this.score) this.score.value = own.score ?? ''
    if (other || document.activeElement !== this.note) this.note.value = own.note
    this.element.querySelector('.verdict').replaceChildren(...this.verdict(own))
  }

  verdict(own) {
    const { clip } = this, machine = this.page.machine(clip)
    const state = clip.state === 'failed' && !own.verdict ? 'failed' : this.page.keeps(clip) ? 'keep' : 'drop'
    const word = { keep: 'Kept', drop: 'Dropped', failed: 'Failed' }[state]
    const by = own.verdict ? (own.verdict === machine ? 'you agree' : 'by you') : clip.by
    const said = make('p', { kind: state }, make('b', { text: `${SIGNS[state] ?? '!'} ${word}` }), ` ${by}`)
    const causes = clip.causes.map(cause => make('li', { text: cause }))
    return [said, causes.length ? make('ul', { kind: own.verdict === 'keep' ? 'causes over' : 'causes' }, ...causes) : '']
  }

  get playable() {
    return this.clip.file && !this.unplayable.has(this.clip.file)
  }

  // `mode`: a kept clip's video, one of three large frames, or the small frames one after the other.
  stage(mode = this.playable ? 'video' : 'still') {
    const { clip } = this, stage = this.element.querySelector('.stage')
    const named = mode === 'flip' ? 'Frames' : `${['First', 'Middle', 'Last'][this.still]} frame`
    const shown = picture(clip, mode === 'flip' ? null : this.still, `${named} of ${clip.key}`)
    shown.classList.toggle('flips', mode === 'flip')
    stage.replaceChildren(shown)
    this.mode = mode
    clearTimeout(this.later)
    // A moment later: who goes through clips by key doesn't want each of them loaded.
    if (mode === 'video') this.later = setTimeout(() => this.video(stage, shown), 160)
    for (const button of this.element.querySelectorAll('[data-still]')) {
      button.setAttribute('aria-pressed', String(mode === 'still' && Number(button.dataset.still) === this.still))
      button.disabled = !clip.preview
    }
  }

  video(stage, shown) {
    const video = make('video', { src: this.clip.file, controls: '', loop: '', playsinline: '', preload: 'auto' })
    video.muted = true
    video.addEventListener('loadeddata', () => {
      if (stage.contains(shown)) stage.replaceChildren(video)
      if (!matchMedia('(prefers-reduced-motion: reduce)').matches) video.play().catch(() => {})
    }, { once: true })
    video.addEventListener('error', () => {
      this.unplayable.add(video.getAttribute('src'))
      if (stage.contains(shown) && this.mode === 'video') this.stage('flip')
    })
    video.load()
  }

  look(still) {
    this.still = still
    this.stage('still')
  }

  play() {
    const video = this.element.querySelector('video')
    if (video) video.paused ? video.play() : video.pause()
    else if (this.mode !== 'flip') this.stage(this.playable || !this.clip.preview ? undefined : 'flip')
    else this.stage('still')
  }

  about() {
    const { clip } = this
    return [...(clip.scores ? this.judged() : []), this.place(), ...this.figures()]
  }

  place() {
    const { clip } = this
    const links = [
      clip.file && make('a', { href: clip.file, target: '_blank', rel: 'noopener', text: 'clip' }),
      clip.origin && make('a', { href: clip.origin, target: '_blank', rel: 'noopener', text: 'source' }),
    ].filter(Boolean).flatMap((link, place) => (place ? [' · ', link] : [link]))
    const rows = [['video', clip.video], ['frames', clip.where], ['face', clip.face]]
    if (clip.duplicate) rows.push(['same as', clip.duplicate])
    return make('div', { kind: 'place' },
      make('h2', { text: clip.key }),
      make('dl', {}, ...rows.filter(row => row[1]).flatMap(([name, text]) => [make('dt', { text: name }), make('dd', { text })])),
      links.length ? make('p', { kind: 'links' }, 'Open: ', ...links) : null)
  }

  judged() {
    const { clip, page } = this, parts = []
    const spread = clip.spread === null ? '' : ` ± ${number(clip.spread)}`
    const own = clip.own !== clip.final ? `the judge’s own ${number(clip.own)}, calibrated` : ''
    parts.push(make('div', { kind: 'final' },
      make('b', { text: number(clip.final) }), make('span', { kind: 'spread', text: spread }),
      make('span', { text: clip.tier }), make('i', { text: own })))
    parts.push(make('ul', { kind: 'dimensions' }, ...page.dimensions.map(one => this.dimension(one))))
    const { adjustments } = clip
    if (adjustments.length) {
      parts.push(make('h3', { text: 'Adjustments' }), make('ul', { kind: 'lines' }, ...adjustments.map(one =>
        make('li', {}, make('b', { text: `${one.points > 0 ? '+' : '−'}${number(Math.abs(one.points))}` }),
          ` ${one.title}`, one.reason ? make('span', { text: ` ${one.reason}` }) : null))))
    }
    const remarks = [['Critical issues', clip.issues], ['Motion blur', clip.blur ? [clip.blur] : []],
      ['Faults of the answer', clip.faults]]
    for (const [title, said] of remarks) {
      if (said.length) parts.push(make('h3', { text: title }), make('ul', { kind: 'lines' }, ...said.map(text => make('li', { text }))))
    }
    return parts
  }

  dimension({ key, label, title, points }) {
    const { clip } = this, score = clip.scores[key] ?? 0, spread = clip.spreads[key]
    const bar = make('i', { kind: 'bar' }, make('i', {}))
    bar.firstChild.style.width = `${(100 * score) / points}%`
    return make('li', { title },
      make('span', { text: label }), bar,
      make('b', {}, number(score), make('small', { text: ` / ${points}${spread ? ` ± ${number(spread)}` : ''}` })),
      clip.reasons[key] ? make('p', { text: clip.reasons[key] }) : null)
  }

  figures() {
    const { figures } = this.clip
    if (!figures.length) return []
    const rows = figures.map(([name, text]) => make('tr', {}, make('th', { text: name }), make('td', { text })))
    return [make('details', { open: '' }, make('summary', { text: 'Technical figures' }), make('table', {}, make('tbody', {}, ...rows)))]
  }
}
