/** Elements of the pack's widgets, and their styles. */

/** Element `tag` with classes, attributes and children. */
export function make(tag, classes = '', attributes = {}, ...children) {
  const element = document.createElement(tag)
  if (classes) element.className = classes
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children)
  return element
}

/** Put one of the pack's style sheets into the page, once. */
export function loadStyle(file) {
  const href = new URL(file, import.meta.url).href
  if (!document.querySelector(`link[href="${href}"]`)) {
    document.head.append(make('link', '', { rel: 'stylesheet', href }))
  }
}
