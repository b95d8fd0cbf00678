// Many voices of one batch on the page: a column each, all of them filled from one stream.
import * as api from "./api.js";
import {wordDiff} from "./diff.js";
import {copyButton, el, paint} from "./dom.js";
import {duration, rate, t} from "./i18n.js";
import {state} from "./state.js";

/** @typedef {{name: string, text: string, facts: object}} Voice
 *  `facts` is the voice's last event of POST /v1/chorus; {} while it speaks, or where it was broken off. */

/** What is known of a voice that has ended, as short texts. */
export function factsOf({finish_reason, usage, tokens_per_second, first_token_ms, seed, adapter, error}) {
  if (error) return [error.message];
  if (!usage) return [t("story.cut")];
  return [
    {length: t("chat.length"), stopped: t("chat.stopped")}[finish_reason] ?? "",
    t("chat.tokens", {tokens: usage.completion_tokens}),
    t("chat.rate", {rate: rate(tokens_per_second)}),
    t("chat.first", {time: duration(first_token_ms / 1000)}),
    t("story.seed", {seed}),
    adapter ? adapter.replace(/sha256:(\w{8})\w*/g, "$1") : "",
  ].filter(Boolean);
}

const toggle = (key, act) => el("button", {type: "button", class: "quiet", "aria-pressed": "false", onclick: act}, t(key));

/** One voice: its name, its text in a box of a fixed height, what is known of it, and buttons. The text grows in one
 *  node and the box keeps its size, so that a screen reader and the layout are left in peace. */
export class VoiceColumn extends HTMLElement {
  #text = document.createTextNode("");
  #body = el("p", {class: "text", dir: "auto"}, this.#text);
  #form = el("dl", {class: "parts", hidden: true});
  #changes = el("p", {class: "text", dir: "auto", hidden: true});
  #box = el("div", {class: "said", tabindex: "0"});
  #facts = el("p", {class: "facts muted"});
  #views = el("span", {class: "row"});

  /** @param {{name: string, paintAs?: string, actions?: HTMLElement[]}} of  `paintAs`: the adapter whose colour it has */
  static make({name, paintAs = name, actions = []}) {
    const column = document.createElement("voice-column");
    column.#box.append(column.#body, column.#form, column.#changes);
    column.#box.setAttribute("role", "region");
    column.#box.setAttribute("aria-label", name);
    column.classList.add("column");
    column.append(el("div", {class: "top"}, el("h3", {class: "by"}, el("i", {class: "dot", "aria-hidden": "true"}), name), column.#views),
                  column.#box, column.#facts, el("div", {class: "row foot"}, copyButton(() => column.text), ...actions));
    paint(column, paintAs, paintAs === "" || paintAs === state.base);
    return column;
  }

  get text() { return this.#text.data; }

  /** Shows a text of which the one shown may be the beginning. */
  set text(whole) {
    const atEnd = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < 30;
    if (whole.startsWith(this.#text.data)) this.#text.appendData(whole.slice(this.#text.length));
    else this.#text.data = whole;
    if (atEnd && this.busy) this.#box.scrollTop = this.#box.scrollHeight;
  }

  get busy() { return this.hasAttribute("aria-busy"); }
  set busy(value) { value ? this.setAttribute("aria-busy", "true") : this.removeAttribute("aria-busy"); }

  /** The voice has ended. */
  finish(facts) {
    this.busy = false;
    this.#box.scrollTop = 0;
    this.#facts.replaceChildren(...factsOf(facts).map((fact) => el("span", {}, fact)));
  }

  #show(part) {
    for (const one of [this.#body, this.#form, this.#changes]) one.hidden = one !== part;
  }

  /** Offers the text as a form too, and shows it so. @param {[string, string][]} parts */
  addForm(parts) {
    this.#form.replaceChildren(...parts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {dir: "auto"}, text)]));
    const button = toggle("voice.form", () => this.#press(button, this.#form));
    this.#views.append(button);
    this.#press(button, this.#form);
  }

  /** Offers what is different from a text before it. */
  addChanges(before) {
    this.#changes.replaceChildren(...wordDiff(before, this.text).map(({kind, text}) => {
      return kind === "same" ? text : el(kind === "gone" ? "del" : "ins", {}, text);
    }));
    const button = toggle("voice.changes", () => this.#press(button, this.#changes));
    this.#views.append(button);
    return () => this.#press(button, this.#changes);
  }

  #press(button, part) {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const one of this.#views.children) one.setAttribute("aria-pressed", String(one === button && on));
    this.#show(on ? part : this.#body);
  }
}
customElements.define("voice-column", VoiceColumn);

/** Asks for a chorus; its voices and their columns grow as it answers. Throws ApiError; what had come by then stays.
 *  @param {object} body of POST /v1/chorus
 *  @param {{voices: Map<string, Voice>, columns: Map<string, VoiceColumn>, signal: AbortSignal,
 *           onId?: (id: string) => void, onBatch?: (batch: object) => void, onText?: () => void}} into */
export async function streamVoices(body, {voices, columns, signal, onId = () => {}, onBatch = () => {}, onText = () => {}}) {
  const asked = body.voices.map(({name}) => name);
  let frame = 0;
  const flush = () => {
    frame = 0;
    for (const name of asked) columns.get(name).text = voices.get(name).text;
  };
  for (const name of asked) columns.get(name).busy = true;
  try {
    for await (const event of api.streamChorus(body, signal)) {
      if (event.id) onId(event.id);
      if (event.batch) onBatch(event.batch);
      if (event.delta !== undefined) voices.get(event.voice).text += event.delta;
      if (event.done) {
        const {voice, done, ...facts} = event;
        voices.get(voice).facts = facts;
        flush();
        columns.get(voice).finish(facts);
      }
      frame ||= requestAnimationFrame(flush);
      onText();
    }
  } finally {
    cancelAnimationFrame(frame);
    flush();
    for (const name of asked) if (columns.get(name).busy) columns.get(name).finish(voices.get(name).facts);
  }
}

/** A seed that JSON and the server can say. */
export const someSeed = () => Math.floor(Math.random() * 2 ** 32);

/** The options of a choice of voices, the base first. */
export function fillVoices(select, names, chosen) {
  const texts = [state.base, ...names];
  const same = texts.length === select.options.length && texts.every((text, i) => select.options[i].text === text);
  if (!same) select.replaceChildren(...["", ...names].map((name) => el("option", {value: name}, name || state.base)));
  select.value = names.includes(chosen) ? chosen : "";
}
