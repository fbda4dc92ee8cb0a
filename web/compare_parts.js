/** Small helpers of the comparison's page elements. */

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high)

const ICONS = {
  play: '<path d="M4.5 2.8v10.4a.6.6 0 0 0 .9.5l8.2-5.2a.6.6 0 0 0 0-1L5.4 2.3a.6.6 0 0 0-.9.5z" fill="currentColor"/>',
  pause: '<path d="M4 2.5h2.8v11H4zM9.2 2.5H12v11H9.2z" fill="currentColor"/>',
  previousFrame: '<path d="M12 3.4v9.2L5.6 8z" fill="currentColor"/><path d="M4 3.2v9.6"/>',
  nextFrame: '<path d="M4 3.4v9.2L10.4 8z" fill="currentColor"/><path d="M12 3.2v9.6"/>',
  loop: '<path d="M2.5 7.5v-1a2.5 2.5 0 0 1 2.5-2.5h8M10.8 1.8 13 4l-2.2 2.2M13.5 8.5v1A2.5 2.5 0 0 1 11 12H3M5.2 14.2 3 12l2.2-2.2"/>',
  sound: '<path d="M2 6.2v3.6h2.4L8 12.8V3.2L4.4 6.2z" fill="currentColor"/><path d="M10.6 5.6a3.4 3.4 0 0 1 0 4.8M12.6 3.6a6.2 6.2 0 0 1 0 8.8"/>',
  silence: '<path d="M2 6.2v3.6h2.4L8 12.8V3.2L4.4 6.2z" fill="currentColor"/><path d="m10.8 6.2 3.6 3.6M14.4 6.2l-3.6 3.6"/>',
  fit: '<path d="M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10"/>'
}

export function setIcon(button, name) {
  if (button.dataset.icon === name) return
  button.dataset.icon = name
  button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${ICONS[name]}</svg>`
}
