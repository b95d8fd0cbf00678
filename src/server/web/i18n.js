// One table of strings a language; the page changes its language without losing its state.
import english from "./en.js";
import traditionalChinese from "./zh-hant.js";

const tables = {"en": english, "zh-Hant": traditionalChinese};
const root = document.documentElement;
const listeners = [];

/** The current language: "en" or "zh-Hant". */
export const language = () => root.lang;

/** The text of a key with {name} replaced by values[name]. */
export function t(key, values = {}) {
  const text = tables[root.lang][key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Calls `listener` now and after every change of the language. */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

/** Writes the texts of everything below `node` that names its key in data-i18n, -label or -placeholder. */
export function translate(node) {
  for (const element of node.querySelectorAll("[data-i18n]")) element.textContent = t(element.dataset.i18n);
  for (const element of node.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
  for (const element of node.querySelectorAll("[data-i18n-placeholder]")) {
    element.placeholder = t(element.dataset.i18nPlaceholder);
  }
}

export function switchLanguage() {
  root.lang = root.lang === "en" ? "zh-Hant" : "en";
  localStorage.setItem("chorus.language", root.lang);
  const url = new URL(location.href);
  url.searchParams.set("lang", root.lang);
  history.replaceState(null, "", url);
  translate(document);
  for (const listener of listeners) listener();
}

const number = (value, digits) => new Intl.NumberFormat(root.lang, {maximumFractionDigits: digits}).format(value);

/** "12.3" below 100, "1,234" above. */
export const rate = (value) => number(value, value < 100 ? 1 : 0);
export const count = (value) => number(value, 0);
export const percent = (share) => number(share * 100, share < 0.1 ? 1 : 0) + " %";

/** 1536 -> "1.5 KiB". */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit + 1 < units.length) {
    value /= 1024;
    ++unit;
  }
  return `${number(value, unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** 0.0123 -> "12 ms", 1.5 -> "1.5 s". */
export const duration = (seconds) =>
    seconds < 1 ? `${number(seconds * 1000, seconds < 0.01 ? 1 : 0)} ms` : `${number(seconds, 1)} s`;
