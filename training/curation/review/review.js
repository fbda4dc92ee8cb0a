// The page: which clips are shown in which order, the histogram, keys, and saving.
const NEAR = 5
const $ = selector => document.querySelector(selector)
const data = JSON.parse($('#data').textContent)

class Page {
  constructor() {
    const folder = location.pathname.replace(/[^/]*$/, '')
    this.clips = data.clips
    this.byKey = new Map(this.clips.map(clip => [clip.key, clip]))
    this.dimensions = data.dimensions
    this.threshold = data.threshold
    this.decisions = new Decisions(data.overrules, `vividface-review ${data.name} ${folder}`)
    this.wanted = { kind: 'all', cause: '', words: '', sort: 'score', low: null, high: null }
    this.side = new Side($('#side'), this, { changed: (...change) => this.decide(...change) })
    this.grid = new Grid($('#grid'), {
      card: clip => this.card(clip), chosen: clip => this.side.show(clip), opened: () => document.body.classList.add('open'),
    })
    this.listen()
    this.histogram = new Histogram($('#histogram'), this)
    this.filter()
    addEventListener('storage', event => {
      if (event.key !== this.decisions.name) return
      this.decisions.load()
      this.fresh()
    })
  }

  // What the run decided before a person came.
  machine(clip) {
    if (clip.stage === 'person') return clip.overruled === 'keep' ? 'drop' : 'keep'
    return clip.state === 'kept' ? 'keep' : 'drop'
  }

  keeps(clip) {
    return (this.decisions.of(clip.key).verdict ?? this.machine(clip)) === 'keep'
  }

  is(clip, kind) {
    const own = this.decisions.of(clip.key)
    if (kind === 'kept') return this.keeps(clip)
    if (kind === 'dropped') return !this.keeps(clip)
    if (kind === 'person') return !alike(own, NOTHING)
    if (kind === 'near') return clip.final !== null && Math.abs(clip.final - this.threshold) <= NEAR
    return true
  }

  filter(key = this.side.clip?.key) {
    const { kind, cause, words, sort, low, high } = this.wanted
    const said = words.toLowerCase().split(/\s+/).filter(Boolean)
    const found = this.clips.filter(clip => this.is(clip, kind) && (!cause || clip.group === cause) &&
      (low === null || (clip.final !== null && clip.final > low && clip.final <= high)) &&
      said.every(word => this.words(clip).includes(word)))
    const last = value => (value === null ? Infinity : value)
    const by = {
      score: clip => last(clip.final === null ? null : -clip.final), low: clip => last(clip.final),
      near: clip => last(clip.final === null ? null : Math.abs(clip.final - this.threshold)),
      spread: clip => last(clip.spread === null ? null : -clip.spread), key: () => 0,
    }[sort]
    found.sort((a, b) => { const x = by(a), y = by(b); return x === y ? a.place - b.place : x - y })
    this.grid.show(found, key)
    const range = low === null ? '' : ` with a score above ${number(low)} up to ${number(high)}`
    $('#shown').textContent = found.length === this.clips.length ? '' : `${found.length.toLocaleString('en')} shown${range}`
    $('#clear').hidden = kind === 'all' && !cause && !words && low === null
    $('#none').hidden = found.length > 0
    this.count()
  }

  words(clip) {
    clip.words ??= [clip.key, clip.video, ...clip.causes, clip.tier, ...Object.values(clip.reasons ?? {})].join(' ').toLowerCase()
    return `${clip.words} ${this.decisions.of(clip.key).note.toLowerCase()}`
  }

  count() {
    for (const button of document.querySelectorAll('[data-kind]')) {
      const { kind } = button.dataset
      button.setAttribute('aria-pressed', String(this.wanted.kind === kind))
      button.querySelector('b').textContent = this.clips.filter(clip => this.is(clip, kind)).length.toLocaleString('en')
    }
    const { unsaved } = this.decisions
    $('#save').textContent = unsaved ? `Save overrules (${unsaved})` : 'Save overrules'
    $('#save').classList.toggle('waiting', unsaved > 0)
    $('#undo').disabled = !this.decisions.done.length
    $('#forgets').hidden = this.decisions.remembers
  }

  card(clip) {
    const own = this.decisions.of(clip.key), keeps = this.keeps(clip)
    const state = clip.state === 'failed' && !own.verdict ? 'failed' : keeps ? 'keep' : 'drop'
    const word = { keep: 'kept', drop: 'dropped', failed: 'failed' }[state]
    const bars = this.dimensions.map(({ key, points, label }) => {
      const bar = make('i', { title: label })
      bar.style.setProperty('--share', (clip.scores?.[key] ?? 0) / points)
      return bar
    })
    const shown = picture(clip, null, '')
    if (own.verdict) shown.append(make('span', { kind: `own ${own.verdict}`, text: `${SIGNS[own.verdict]} you` }))
    if (own.score !== null) shown.append(make('span', { kind: 'human', text: number(own.score), title: 'a person’s score' }))
    if (own.note) shown.append(make('span', { kind: 'noted', text: '✎', title: own.note }))
    const score = clip.final === null ? clip.step : number(clip.final)
    const spread = clip.spread ? `±${number(clip.spread)}` : ''
    const name = `${clip.key}, ${word}${own.verdict ? ' by you' : ''}${clip.final === null ? '' : `, score ${score}`}`
    return make('article', { kind: `card ${state}`, 'aria-label': name }, shown,
      make('div', { kind: 'line' }, make('b', { kind: clip.final === null ? 'score step' : 'score', text: score }), make('small', { text: spread }),
        make('span', { kind: 'bars' }, ...(clip.scores ? bars : []))),
      make('div', { kind: 'word' }, make('span', { kind: state, text: `${SIGNS[state] ?? '!'} ${word}` }),
        ` ${clip.causes[0] ?? clip.tier}`),
      make('div', { kind: 'key', text: clip.key, title: clip.key }))
  }

  decide(change, typed) {
    const { clip } = this.side
    if (clip && this.decisions.set(clip.key, change, typed)) this.fresh(clip)
  }

  verdict(verdict) {
    const { clip } = this.side
    if (!clip) return
    if (verdict === 'keep' && !clip.whole) return void ($('#said').textContent = 'There is no clip to keep.')
    this.decide({ verdict })
    $('#said').textContent = `${verdict === 'keep' ? 'Kept' : 'Dropped'}: ${clip.key}`
  }

  fresh(clip) {
    this.grid.refresh(clip?.key)
    if (this.side.clip) this.side.fill(false)
    this.histogram.draw()
    this.count()
  }

  back(step) {
    const key = this.decisions[step]()
    if (!key) return
    const place = this.grid.clips.findIndex(clip => clip.key === key)
    document.activeElement?.blur?.()
    if (place >= 0) this.grid.choose(place)
    this.fresh()
    $('#said').textContent = `${step === 'undo' ? 'Undone' : 'Done again'}: ${key}`
  }

  want(change) {
    Object.assign(this.wanted, change)
    this.filter()
  }

  listen() {
    for (const button of document.querySelectorAll('[data-kind]')) {
      button.addEventListener('click', () => this.want({ kind: button.dataset.kind }))
    }
    $('#cause').addEventListener('change', event => this.want({ cause: event.target.value }))
    $('#sort').addEventListener('change', event => this.want({ sort: event.target.value }))
    $('#search').addEventListener('input', event => this.want({ words: event.target.value }))
    $('#clear').addEventListener('click', () => {
      $('#cause').value = $('#search').value = ''
      this.want({ kind: 'all', cause: '', words: '', low: null, high: null })
    })
    $('#undo').addEventListener('click', () => this.back('undo'))
    $('#save').addEventListener('click', () => this.save())
    $('#keys').addEventListener('click', () => $('#help').showModal())
    $('#close').addEventListener('click', () => this.close())
    for (const button of document.querySelectorAll('[data-still]')) {
      button.addEventListener('click', () => this.side.look(Number(button.dataset.still)))
    }
    $('#play').addEventListener('click', () => this.side.play())
    addEventListener('keydown', event => this.key(event))
    const bar = $('.bar')
    new ResizeObserver(() => document.body.style.setProperty('--bar', `${bar.offsetHeight}px`)).observe(bar)
  }

  close() {
    document.body.classList.remove('open')
    document.activeElement?.blur?.()
    $('#grid').focus({ preventScroll: true })
  }

  key(event) {
    const { key, target } = event, { grid } = this
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === 's') {
      event.preventDefault()
      return void this.save()
    }
    if (event.ctrlKey || event.metaKey || event.altKey || $('#help').open) return
    if (key === 'Escape') return this.close()
    if (target.closest('input, textarea, select, video, #histogram')) return
    const page = Math.max(1, Math.floor(innerHeight / (grid.line || 1)) - 1) * grid.columns
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns,
      PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity }
    const does = {
      k: () => this.verdict('keep'), d: () => this.verdict('drop'), u: () => this.back('undo'), y: () => this.back('redo'),
      K: () => { this.verdict('keep'); grid.move(1) }, D: () => { this.verdict('drop'); grid.move(1) },
      s: () => this.enter('score'), n: () => this.enter('note'), '/': () => $('#search').focus(),
      ' ': () => this.side.clip && this.side.play(), '?': () => $('#help').showModal(),
      Enter: () => document.body.classList.add('open'),
    }
    const presses = target.closest('button, summary, a')
    if (presses && (key === ' ' || key === 'Enter')) return
    const act = key in moves ? () => grid.move(moves[key]) : does[key]
    if (!act) return
    event.preventDefault()
    act()
  }

  enter(field) {
    document.body.classList.add('open')
    this.side[field].focus()
    this.side[field].select()
  }

  async save() {
    const text = this.decisions.text(data.format, data.version)
    try {
      if (window.showSaveFilePicker) {
        this.file ??= await showSaveFilePicker({ id: 'vividface', suggestedName: 'overrules.json',
          types: [{ description: 'Overrules', accept: { 'application/json': ['.json'] } }] })
        const stream = await this.file.createWritable()
        await stream.write(text)
        await stream.close()
        return this.written(`Saved as ${this.file.name}.`)
      }
    } catch (error) {
      if (error.name === 'AbortError') return
      this.file = undefined // the browser doesn't let the page write there: a download always works
    }
    const link = make('a', { href: URL.createObjectURL(new Blob([text], { type: 'application/json' })), download: 'overrules.json' })
    document.body.append(link)
    link.click()
    link.remove()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
    this.written('overrules.json is in your downloads.')
  }

  written(how) {
    this.decisions.markWritten()
    this.count()
    $('#how').textContent = how
    $('#notice').hidden = false
  }
}

for (const [place, clip] of data.clips.entries()) clip.place = place
new Page()
