'use strict'

// What a person decided: kept in the browser as they go, written to overrules.json when they ask for it.
const NOTHING = Object.freeze({ verdict: null, score: null, note: '' })
const plain = entry => ({ verdict: entry.verdict ?? null, score: entry.score ?? null, note: entry.note ?? '' })
const alike = (one, other) => one.verdict === other.verdict && one.score === other.score && one.note === other.note

class Decisions {
  // `saved` is overrules.json as the page was made; `drafts` hold what was decided since, by the clip's key.
  constructor(saved, name) {
    this.name = name
    this.saved = new Map(Object.entries(saved).map(([key, entry]) => [key, plain(entry)]))
    this.done = []
    this.undone = []
    this.remembers = true
    this.load()
  }

  load() {
    let stored = {}
    try {
      stored = JSON.parse(localStorage.getItem(this.name) ?? '{}') ?? {}
    } catch {
      this.remembers = false
    }
    const entries = part => new Map(Object.entries(part ?? {}).map(([key, entry]) => [key, plain(entry)]))
    this.drafts = entries(stored.drafts)
    this.written = stored.written ? entries(stored.written) : null
    for (const [key, entry] of this.drafts) if (alike(entry, this.inFile(key))) this.drafts.delete(key)
    if (!this.drafts.size) this.written = null
  }

  store() {
    const { drafts, written } = this
    const value = { drafts: Object.fromEntries(drafts), written: written && Object.fromEntries(written) }
    try {
      localStorage.setItem(this.name, JSON.stringify(value))
      this.remembers = true
    } catch {
      this.remembers = false
    }
  }

  inFile(key) {
    return this.saved.get(key) ?? NOTHING
  }

  of(key) {
    return this.drafts.get(key) ?? this.inFile(key)
  }

  // One step of work; typing into one field of one clip is a single step.
  set(key, change, typed = '') {
    const before = this.of(key), after = plain({ ...before, ...change })
    if (alike(before, after)) return false
    const last = this.done.at(-1)
    if (!(typed && last?.key === key && last.typed === typed)) this.done.push({ key, typed, before })
    this.undone = []
    this.put(key, after)
    return true
  }

  put(key, entry) {
    this.drafts.set(key, entry)
    this.store()
  }

  step(from, to) {
    const move = from.pop()
    if (!move) return null
    to.push({ ...move, before: this.of(move.key) })
    this.put(move.key, move.before)
    return move.key
  }

  undo() {
    return this.step(this.done, this.undone)
  }

  redo() {
    return this.step(this.undone, this.done)
  }

  get unsaved() {
    const base = this.written ?? this.saved
    return [...this.drafts].filter(([key, entry]) => !alike(entry, base.get(key) ?? NOTHING)).length
  }

  entries() {
    const all = new Map([...this.saved, ...this.drafts])
    return new Map([...all].filter(([, entry]) => !alike(entry, NOTHING)).sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  text(format, version) {
    return JSON.stringify({ format, version, overrules: Object.fromEntries(this.entries()) }, null, 1) + '\n'
  }

  markWritten() {
    this.written = this.entries()
    for (const move of this.done) move.typed = ''
    this.store()
  }
}
