// The conversation: one question at a time, its answer streamed from whoever is chosen.
import * as api from "./api.js";
import {$, copyText, el, isComposing, note, paint} from "./dom.js";
import {duration, onLanguage, rate, t} from "./i18n.js";
import {leading, model} from "./mix.js";
import {state} from "./state.js";
import {loadRoom, saveRoom} from "./store.js";

/** @type {{role: string, content: string, name?: string, lead?: string, result?: object, stopped?: boolean}[]}
 *  An answer is `name`'s, in the colour of `lead`. */
let messages = [];
/** @type {AbortController | null} Of the answer under way. */
let running = null;

const keep = () => saveRoom("chat", {messages});
const say = (text) => { $("said").textContent = text; };

function followEnd(change) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  change();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function drawEmpty() {
  if (messages.length > 0 || running) return;
  const examples = ["chat.example1", "chat.example2", "chat.example3"].map((key) => {
    return el("li", {}, el("button", {type: "button", onclick: () => {
      $("prompt").value = t(key);
      fitPrompt();
      $("prompt").focus();
    }}, t(key)));
  });
  $("log").replaceChildren(el("div", {class: "empty"}, el("h3", {}, t("chat.empty_title")),
                              el("p", {class: "muted"}, t("chat.empty_text")), el("ul", {}, ...examples)));
}

function addQuestion(text) {
  const bubble = el("article", {class: "message mine"}, el("h3", {class: "hidden"}, t("chat.you")),
                    el("p", {class: "text", dir: "auto"}, text));
  $("log").append(bubble);
}

// The place of an answer: text that grows in one node, and what is known of it at the end.
function addAnswer(name, lead) {
  const text = document.createTextNode("");
  const facts = el("p", {class: "facts muted"});
  const problem = el("p", {class: "note bad", hidden: true});
  const copy = el("button", {type: "button", class: "quiet", onclick: async () => {
    await copyText(text.data);
    copy.textContent = t("chat.copied");
  }}, t("chat.copy"));
  const retry = el("button", {type: "button", class: "quiet", onclick: () => askAgain(article)}, t("chat.retry"));
  const foot = el("div", {class: "row foot", hidden: true}, facts, copy, retry);
  const article = el("article", {class: "message", "aria-busy": "true"},
                     el("h3", {class: "by"}, el("i", {class: "dot", "aria-hidden": "true"}), name),
                     el("p", {class: "text", dir: "auto"}, text), problem, foot);
  paint(article, lead, lead === "");
  $("log").append(article);
  return {article, text, facts, problem, copy, retry, foot};
}

function requestBody() {
  const system = $("system").value.trim();
  const said = messages.map(({role, content}) => ({role, content}));
  const body = {
    model: model(),
    messages: system ? [{role: "system", content: system}, ...said] : said,
  };
  const temperature = $("temperature").valueAsNumber;
  const maxTokens = $("max-tokens").valueAsNumber;
  const seed = $("seed").valueAsNumber;
  if (Number.isFinite(temperature)) body.temperature = temperature;
  if (Number.isFinite(maxTokens)) body.max_tokens = maxTokens;
  if (Number.isFinite(seed)) body.seed = seed;
  return body;
}

// Reads a stream into `place`, at most once a frame. Returns {finish, tokens, first, seconds}.
async function readAnswer(body, signal, place) {
  const begun = performance.now();
  const result = {finish: "", tokens: 0, first: 0, seconds: 0};
  let waiting = "", frame = 0;
  const flush = () => {
    frame = 0;
    followEnd(() => place.text.appendData(waiting));
    waiting = "";
  };
  try {
    for await (const event of api.streamChat(body, signal)) {
      const choice = event.choices?.[0];
      if (choice?.delta?.content) {
        if (!result.first) result.first = (performance.now() - begun) / 1000;
        result.tokens += 1;
        waiting += choice.delta.content;
        frame ||= requestAnimationFrame(flush);
      }
      if (choice?.finish_reason) result.finish = choice.finish_reason;
      if (event.usage) result.tokens = event.usage.completion_tokens;
    }
  } finally {
    cancelAnimationFrame(frame);
    flush();
    result.seconds = (performance.now() - begun) / 1000;
    place.result = result;
  }
  return result;
}

function factsOf({finish, tokens, first, seconds}, stopped) {
  const facts = [];
  if (stopped) facts.push(t("chat.stopped"));
  if (finish === "length") facts.push(t("chat.length"));
  if (tokens) facts.push(t("chat.tokens", {tokens}));
  if (tokens > 1 && seconds > first) facts.push(t("chat.rate", {rate: rate((tokens - 1) / (seconds - first))}));
  if (first) facts.push(t("chat.first", {time: duration(first)}));
  return facts;
}

function showError(place, error) {
  let text = error.status === 0 ? t("chat.broken") : error.message;
  if (error.retryAfter) text += " " + t("chat.retry_after", {seconds: error.retryAfter});
  note(place.problem, text, true);
  say(`${t("chat.error")}: ${text}`);
}

function setRunning(controller) {
  running = controller;
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
}

// Asks with the messages there are; the last is the user's.
async function answer() {
  const name = model();
  const lead = leading();
  const place = addAnswer(name, lead);
  const conversation = messages;  // Clear begins another
  const controller = new AbortController();
  setRunning(controller);
  $("log").scrollTop = $("log").scrollHeight;
  say(t("chat.answering", {name}));
  let stopped = false;
  try {
    const result = await readAnswer(requestBody(), controller.signal, place);
    say(t("chat.done", {name, tokens: result.tokens}));
  } catch (error) {
    stopped = error.name === "AbortError";
    if (conversation !== messages) return;
    if (stopped) say(t("chat.stopped"));
    else showError(place, error instanceof api.ApiError ? error : new api.ApiError(0, error.message));
  }
  if (conversation !== messages) return;
  const hadFocus = document.activeElement === $("stop");
  setRunning(null);
  if (hadFocus) $("prompt").focus();
  if (place.text.data) messages.push({role: "assistant", content: place.text.data, name, lead, result: place.result, stopped});
  keep();
  followEnd(() => finish(place, place.result, stopped));
}

// What stands below an answer that is over; only the last can be asked for again.
function finish(place, result, stopped) {
  place.article.removeAttribute("aria-busy");
  place.facts.replaceChildren(...factsOf(result, stopped).map((fact) => el("span", {}, fact)));
  place.copy.hidden = !place.text.data;
  place.foot.hidden = false;
  for (const old of document.querySelectorAll(".message .retry")) old.remove();
  place.retry.classList.add("retry");
}

// The conversation that this browser has kept.
async function restore() {
  const kept = await loadRoom("chat");
  if (!kept?.messages?.length || messages.length > 0 || running) return;
  ({messages} = kept);
  $("log").replaceChildren();
  for (const {role, content, name, lead, result, stopped} of messages) {
    if (role === "user") {
      addQuestion(content);
      continue;
    }
    const place = addAnswer(name, lead);
    place.text.data = content;
    finish(place, result, stopped);
  }
  $("log").scrollTop = $("log").scrollHeight;
}

// Throws the last answer away and asks the same again, of whoever is chosen now.
function askAgain(article) {
  if (running) return;
  article.remove();
  if (messages.at(-1)?.role === "assistant") messages.pop();
  answer();
}

function send() {
  const text = $("prompt").value.trim();
  if (!text || running || !state.base) return;
  $("log").querySelector(".empty")?.remove();
  $("prompt").value = "";
  fitPrompt();
  // A question that got no answer would otherwise be asked twice in a row.
  if (messages.at(-1)?.role === "user") messages.pop();
  messages.push({role: "user", content: text});
  addQuestion(text);
  keep();
  answer();
}

function fitPrompt() {
  const prompt = $("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight + prompt.offsetHeight - prompt.clientHeight}px`;
}

function drawSettings() {
  $("settings-sum").textContent =
      t("settings.sum", {temperature: $("temperature").value || "–", tokens: $("max-tokens").value || "–"});
}

export function startChat() {
  const touch = matchMedia("(pointer: coarse)");
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("prompt").addEventListener("input", fitPrompt);
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
    if (touch.matches && !event.ctrlKey) return;  // there Enter is the only way to a new line
    event.preventDefault();
    send();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !isComposing(event) && !document.querySelector("dialog[open]")) {
      running.abort();
    }
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("clear").addEventListener("click", () => {
    running?.abort();
    setRunning(null);
    messages = [];
    keep();
    say("");
    drawEmpty();
    $("prompt").focus();
  });
  for (const id of ["temperature", "max-tokens"]) $(id).addEventListener("input", drawSettings);
  onLanguage(() => {
    drawSettings();
    drawEmpty();
  });
  restore();
}
