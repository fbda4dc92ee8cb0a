/** The pack's texts in the page's language, as ComfyUI serves them out of `locales`. */

import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'

let asked

/** Texts of every language by its code; empty where the server has none. Asked for once. */
function everyLanguage() {
  asked ??= api.fetchApi('/i18n').then((response) => (response.ok ? response.json() : {})).catch(() => ({}))
  return asked
}

/**
 * A section of the texts, in English and in the page's language.
 *
 * @param {string} section
 * @returns {Promise<{english: Record<string, string>, local: Record<string, string>}>}
 */
export async function textsOf(section) {
  const languages = await everyLanguage()
  const locale = app.ui.settings.getSettingValue('Comfy.Locale') ?? 'en'
  return { english: languages.en?.[section] ?? {}, local: languages[locale]?.[section] ?? {} }
}
