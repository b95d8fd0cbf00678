// Small helpers of the page. Text becomes text here, never markup.
import {t} from "./i18n.js";

export const $ = (id) => document.getElementById(id);

/** Makes an element. Attributes: a function is a listener (onclick), true an empty attribute, false or null none. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children);
  return element;
}

/** The same for SVG; every attribute is a string or a number. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Puts a text on the clipboard; also where the page came over plain HTTP from another machine, and browsers offer no
 *  other way than this. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const box = el("textarea", {class: "hidden"});
  box.value = text;
  document.body.append(box);
  box.select();
  document.execCommand("copy");
  box.remove();
}

/** A button that copies what `text` gives, and says so. */
export function copyButton(text, label = "chat.copy") {
  const button = el("button", {type: "button", class: "quiet", "data-i18n": label, onclick: async () => {
    await copyText(text());
    button.textContent = t("chat.copied");
    setTimeout(() => { button.textContent = t(label); }, 1500);
  }}, t(label));
  return button;
}

/** Offers a text or a Blob as a file. */
export function download(name, type, content) {
  const link = el("a", {href: URL.createObjectURL(new Blob([content], {type})), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Shows a text in a note, or hides the note where there is none. */
export function note(element, text, bad = false) {
  element.textContent = text;
  element.hidden = text === "";
  element.classList.toggle("bad", bad);
}

/** An input method is at work: its Enter chooses a character. Safari says so by the key code only. */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

const hues = new Map();

/** The colour of a voice, as a hue that CSS turns into colours of both themes. The base has none. */
export function paint(element, name, isBase = false) {
  element.classList.add("voiced");
  element.classList.toggle("is-base", isBase);
  if (isBase) return;
  // The golden angle keeps neighbours apart, however many there are.
  if (!hues.has(name)) hues.set(name, (35 + hues.size * 137.508) % 360);
  element.style.setProperty("--hue", hues.get(name).toFixed(1));
}
