'use strict'

// Sorting: a click on a head, the worst or the best first in turn.
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells]
  const value = (row, column) => {
    const told = row.cells[column].dataset.value
    return told === undefined ? NaN : Number(told)
  }
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const up = head.getAttribute('aria-sort') !== 'ascending'
    heads.forEach(other => other.setAttribute('aria-sort', 'none'))
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending')
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const a = value(one, column), b = value(other, column)
      if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b) // what wasn't measured stays below
      return up ? a - b : b - a
    })
    table.tBodies[0].append(...rows)
  }))
}

// Reading: all charts of a clip show the frame that is pointed at.
class Chart {
  constructor(element) {
    this.element = element
    this.svg = element.querySelector('svg')
    this.cursor = element.querySelector('.cursor')
    this.output = element.closest('figure').querySelector('output')
    this.last = Math.max(1, Number(element.dataset.frames) - 1)
    this.digits = Number(element.dataset.digits)
    this.curves = [...element.querySelectorAll('path')].map(path => ({
      label: path.dataset.label,
      at: new Map([...path.getAttribute('d').matchAll(/[ML]([\d.]+) ([-+\d.e]+)/g)]
        .map(point => [Number(point[1]), Number(point[2])])),
    }))
    this.frames = [...new Set(this.curves.flatMap(curve => [...curve.at.keys()]))].sort((a, b) => a - b)
  }

  frameAt(x) {
    const box = this.svg.getBoundingClientRect()
    return Math.round((x - box.left) / box.width * this.last)
  }

  show(wanted) {
    const frame = this.frames.reduce((best, one) => Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best)
    const told = this.curves.filter(curve => curve.at.has(frame))
      .map(curve => `${curve.label} ${curve.at.get(frame).toFixed(this.digits)}`.trim())
    this.cursor.style.left = `${100 * frame / this.last}%`
    this.cursor.style.display = 'block'
    this.output.textContent = `frame ${frame}: ${told.join(', ')}`
    this.output.classList.add('live')
  }

  rest() {
    this.cursor.style.display = 'none'
    this.output.textContent = this.output.dataset.rest
    this.output.classList.remove('live')
  }
}

for (const clip of document.querySelectorAll('section.clip')) {
  const charts = [...clip.querySelectorAll('.chart')].map(element => new Chart(element))
  let frame = 0
  const show = wanted => {
    frame = Math.min(Math.max(wanted, 0), charts[0].last)
    charts.forEach(chart => chart.show(frame))
  }
  for (const chart of charts) {
    chart.svg.addEventListener('pointermove', event => show(chart.frameAt(event.clientX)))
    chart.svg.addEventListener('pointerleave', () => charts.forEach(one => one.rest()))
    chart.svg.addEventListener('blur', () => charts.forEach(one => one.rest()))
    chart.svg.addEventListener('keydown', event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key]
      if (step === undefined) return
      event.preventDefault()
      show(frame + step * (event.shiftKey ? 10 : 1))
    })
  }
}
