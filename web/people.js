/** The people that Face Mask found, to be chosen by a click: their numbers go into its input `people`. */

import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'
import { loadStyle, make } from './elements.js'
import { addElement, registerOutput } from './graph.js'
import { textsOf } from './texts.js'

const NODE = 'VividFaceFaceMask'
const OUTPUT = 'vividface_people'
const INPUT = 'people'
/** Pixels of the graph at 100 %: of the line, and of each person up to so many. */
const LINE_HEIGHT = 40
const CARD_HEIGHT = 82
const VISIBLE_CARDS = 4

const ENGLISH = {
  empty: 'After a run the people of the video are shown here, to be chosen by a click.',
  everyone: 'Everyone is taken. Click those who alone shall be.',
  some: 'Chosen people alone are taken. Click once more to leave one out.'
}

const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name)

/** A list such as "1, 3"; what isn't a number is left out. */
const numbersIn = (text) => String(text ?? '').split(',').map(Number).filter((number) => number > 0)

function setValue(node, name, value) {
  const widget = widgetOf(node, name)
  if (!widget || widget.value === value) return
  widget.value = value
  widget.callback?.(value, app.canvas, node)
}

/** In the order of their numbers, as `vividface faces` lists them. */
function toggle(node, number) {
  const chosen = new Set(numbersIn(widgetOf(node, INPUT)?.value))
  if (!chosen.delete(number)) chosen.add(number)
  // One input alone may choose.
  if (chosen.size) setValue(node, 'faces', 'all')
  setValue(node, INPUT, [...chosen].sort((a, b) => a - b).join(','))
  mark(node)
  node.graph?.setDirtyCanvas(true, true)
}

/** Show what the input says, whoever wrote it. */
function mark(node) {
  const { element, told, texts } = node.vividfacePeople
  const chosen = numbersIn(widgetOf(node, INPUT)?.value)
  element.firstChild.textContent = !told.length ? texts.empty : chosen.length ? texts.some : texts.everyone
  for (const card of element.querySelectorAll('.vf-person')) {
    const taken = chosen.includes(Number(card.dataset.number))
    card.setAttribute('aria-pressed', String(taken))
    card.classList.toggle('vf-left-out', chosen.length > 0 && !taken)
  }
}

/** The part of the sheet with a person's faces. `box`: left, top, width, height as shares of the sheet. */
function faces(sheet, [left, top, width, height]) {
  const share = (start, length) => (length < 1 ? (100 * start) / (1 - length) : 0)
  const picture = make('span', 'vf-person-faces')
  picture.style.backgroundImage = `url("${sheet}")`
  picture.style.backgroundSize = `${100 / width}% ${100 / height}%`
  picture.style.backgroundPosition = `${share(left, width)}% ${share(top, height)}%`
  return picture
}

function card(node, sheet, { number, text, box, ratio }) {
  const button = make('button', 'vf-person', { type: 'button', 'aria-label': `${number}: ${text}` },
    faces(sheet, box),
    make('span', 'vf-person-number', {}, String(number)),
    make('span', 'vf-person-text', {}, text))
  button.dataset.number = number
  button.firstChild.style.aspectRatio = ratio
  button.addEventListener('click', () => toggle(node, number))
  return button
}

function show(node, output) {
  const told = output?.[OUTPUT]
  const state = node?.vividfacePeople
  if (!state || !told || !output.images?.[0]) return
  const { filename, subfolder, type } = output.images[0]
  const sheet = api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`)
  state.told = told
  state.element.lastChild.replaceChildren(...told.map((person) => card(node, sheet, person)))
  state.element.style.minHeight = `${state.height()}px` // Vue nodes are as tall as what they hold
  mark(node)
  const [width, height] = node.size
  node.setSize([width, Math.max(height, node.computeSize()[1])])
}

function addPeople(node) {
  loadStyle('./people.css')
  const element = make('div', 'vf-people', {}, make('div', 'vf-people-line'), make('div', 'vf-people-cards'))
  const state = { element, told: [], texts: { ...ENGLISH } }
  state.height = () => LINE_HEIGHT + CARD_HEIGHT * Math.min(state.told.length, VISIBLE_CARDS)
  node.vividfacePeople = state
  addElement(node, 'people_found', 'vividface_people', element, { getMinHeight: state.height })

  const input = widgetOf(node, INPUT)
  const { callback } = input
  input.callback = function (...args) {
    callback?.apply(this, args)
    mark(node)
  }
  const { onConfigure } = node
  node.onConfigure = function (...args) {
    onConfigure?.apply(this, args)
    mark(this)
  }
  mark(node)
  textsOf('vividfacePeople').then(({ local }) => {
    Object.assign(state.texts, local)
    mark(node)
  })
}

registerOutput('VividFace.People', [NODE], OUTPUT, addPeople, show)
