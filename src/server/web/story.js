// The story: a premise, a concept that the base makes of it, and voices that answer from one batch.
import * as api from "./api.js";
import {$, el, isComposing, note, paint} from "./dom.js";
import {count, duration, onLanguage, rate, t} from "./i18n.js";
import {onState, servable, state} from "./state.js";
import {allTakes, curl, download, markdown, putTake, removeTake} from "./takes.js";

const kSampling = {temperature: 0.6, min_p: 0.1, repetition_penalty: 1.05, max_tokens: 320};
const kUsual = ["story", "image-prompt"];  // who answers at first, where they are there
const kMostVoices = 8;
const kParts = ["Title", "Act 1", "Act 2", "Act 3", "The turn", "Ending"];
const kSaveEvery = 1000;  // ms, while voices stream: a page that is closed loses no more

/** @type {AbortController | null} Of what is under way. */
let running = null;
/** @type {import("./takes.js").Take | null} The one that is shown. */
let current = null;
let takes = [];
const chosen = new Set();
let choseOnce = false;

const say = (text) => { $("story-said").textContent = text; };

function setRunning(controller) {
  running = controller;
  for (const id of ["sing", "expand", "one-by-one"]) $(id).disabled = running !== null;
  $("story-stop").hidden = running === null;
}

// Runs `work` with a controller that Stop aborts; says what went wrong.
async function run(work) {
  if (running) return;
  const controller = new AbortController();
  setRunning(controller);
  note($("story-problem"), "");
  try {
    await work(controller.signal);
  } catch (error) {
    if (error.name === "AbortError") {
      say(t("chat.stopped"));
    } else {
      const text = error.status === 0 ? t("chat.broken") : error.message;
      note($("story-problem"), error.retryAfter ? `${text} ${t("chat.retry_after", {seconds: error.retryAfter})}` : text, true);
    }
  } finally {
    setRunning(null);
  }
}

const premise = () => $("premise").value.trim();

// The concept, by the base; written into the box as it comes, where it can be edited.
const expand = () => run(async (signal) => {
  if (!premise()) return;
  const body = {
    model: state.base,
    messages: [{role: "user", content: `${t("story.expand_prompt")} ${premise()}`}],
    ...kSampling,
    max_tokens: 120,
  };
  $("concept").value = "";
  for await (const event of api.streamChat(body, signal)) {
    $("concept").value += event.choices?.[0]?.delta?.content ?? "";
    $("concept").scrollTop = $("concept").scrollHeight;
  }
  say(t("story.expanded"));
});

function chorusBody() {
  const seed = $("story-seed").valueAsNumber;
  const first = Number.isFinite(seed) ? seed : Math.floor(Math.random() * 2 ** 32);
  const concept = $("concept").value.trim();
  return {
    messages: [{role: "user", content: concept ? `${premise()} ${concept}` : premise()}],
    voices: [...chosen].map((name, index) => {
      const voice = {name: name || state.base, model: name || state.base, seed: first + index};
      return name === "image-prompt" ? {...voice, max_tokens: 110} : voice;
    }),
    ...kSampling,
  };
}

// A column: its text grows in one node, so that a screen reader and the layout are left in peace.
function makeColumn(name) {
  const text = document.createTextNode("");
  const facts = el("p", {class: "facts muted"});
  const form = el("dl", {class: "parts", hidden: true});
  const copy = el("button", {type: "button", class: "quiet", onclick: async () => {
    await navigator.clipboard.writeText(text.data);
    copy.textContent = t("chat.copied");
  }}, t("chat.copy"));
  const body = el("p", {class: "text", dir: "auto"}, text);
  const node = el("article", {class: "column"}, el("h3", {class: "by"}, el("i", {class: "dot", "aria-hidden": "true"}), name),
                  body, form, facts, el("div", {class: "row foot"}, copy));
  paint(node, name, name === state.base);
  return {node, text, body, facts, form};
}

// A structured story as a form, where the text has all its parts in order.
function drawParts(column) {
  const places = kParts.map((part) => column.text.data.indexOf(`${part}:`));
  const whole = places.every((place, i) => place >= 0 && (i === 0 || place > places[i - 1]));
  if (!whole) return;
  column.form.replaceChildren(...kParts.flatMap((part, i) => {
    const text = column.text.data.slice(places[i] + part.length + 1, places[i + 1]).trim();
    return [el("dt", {}, t(`story.part${i}`)), el("dd", {dir: "auto"}, text)];
  }));
  column.form.hidden = false;
  column.body.hidden = true;
}

function factsOf({finish_reason, usage, tokens_per_second, first_token_ms, seed, adapter, error}) {
  if (error) return [error.message];
  if (!usage) return [t("story.cut")];
  return [
    finish_reason === "length" ? t("chat.length") : "",
    t("chat.tokens", {tokens: usage.completion_tokens}),
    t("chat.rate", {rate: rate(tokens_per_second)}),
    t("chat.first", {time: duration(first_token_ms / 1000)}),
    t("story.seed", {seed}),
    adapter ? adapter.replace(/sha256:(\w{8})\w*/g, "$1") : "",
  ].filter(Boolean);
}

function finishColumn(column, facts) {
  column.facts.replaceChildren(...factsOf(facts).map((fact) => el("span", {}, fact)));
  drawParts(column);
}

function showColumns(names) {
  const columns = new Map(names.map((name) => [name, makeColumn(name)]));
  $("columns").replaceChildren(...[...columns.values()].map(({node}) => node));
  return columns;
}

function drawMeter(batch, seconds = null) {
  $("meter").hidden = !batch;
  if (!batch) return;
  $("meter-rows").textContent = rate(batch.rows);
  $("meter-step").textContent = duration(batch.step_ms / 1000);
  $("meter-rate").textContent = rate(batch.tokens_per_second);
  const facts = [];
  if (batch.final) facts.push(t("story.together", {tokens: count(batch.tokens), seconds: duration(batch.seconds)}));
  if (seconds !== null) {
    facts.push(t("story.apart", {seconds: duration(seconds), times: (seconds / batch.seconds).toFixed(2)}));
  }
  $("meter-text").textContent = facts.join(" · ");
}

// Shows what came of a take.
function show(take) {
  current = take;
  const columns = showColumns(take.voices.map(({name}) => name));
  for (const {name, text, facts} of take.voices) {
    columns.get(name).text.data = text;
    finishColumn(columns.get(name), facts);
  }
  drawMeter(take.batch, take.apart ?? null);
  drawTakes();
}

// Goes back to a take: what was asked stands in the boxes again.
function goBack(take) {
  $("premise").value = take.premise;
  $("concept").value = take.concept;
  show(take);
}

// All voices at once; the take is written down as it grows.
const sing = () => run(async (signal) => {
  if (!premise() || chosen.size === 0) return;
  const body = chorusBody();
  const take = {
    parent: current?.id ?? null,
    created: new Date().toISOString(),
    premise: premise(),
    concept: $("concept").value.trim(),
    starred: false,
    body,
    voices: body.voices.map(({name}) => ({name, text: "", facts: {}})),
    batch: null,
  };
  await putTake(take);
  current = take;
  takes.push(take);
  drawTakes();
  drawMeter(null);
  const columns = showColumns(take.voices.map(({name}) => name));
  const voices = new Map(take.voices.map((voice) => [voice.name, voice]));
  for (const {node} of columns.values()) node.setAttribute("aria-busy", "true");
  let frame = 0, saved = performance.now();
  const flush = () => {
    frame = 0;
    for (const [name, column] of columns) {
      const {text} = voices.get(name);
      if (text.length > column.text.length) column.text.appendData(text.slice(column.text.length));
    }
  };
  try {
    for await (const event of api.streamChorus(body, signal)) {
      if (event.delta !== undefined) voices.get(event.voice).text += event.delta;
      if (event.batch) {
        take.batch = event.batch;
        drawMeter(event.batch);
      }
      if (event.done) {
        const {voice, done, ...facts} = event;
        voices.get(voice).facts = facts;
        flush();
        columns.get(voice).node.removeAttribute("aria-busy");
        finishColumn(columns.get(voice), facts);
      }
      frame ||= requestAnimationFrame(flush);
      if (performance.now() - saved > kSaveEvery) {
        saved = performance.now();
        putTake(take).catch(() => {});
      }
    }
    say(t("story.done", {voices: take.voices.length}));
  } finally {
    cancelAnimationFrame(frame);
    flush();
    for (const [name, column] of columns) {
      column.node.removeAttribute("aria-busy");
      finishColumn(column, voices.get(name).facts);
    }
    await putTake(take);
    drawTakes();
  }
});

// The same requests one after the other: what the batch has saved is measured, not guessed.
const oneByOne = () => run(async (signal) => {
  const take = current;
  if (!take?.batch?.final) return;
  const {voices, ...shared} = take.body;
  const begun = performance.now();
  for (const {name, ...voice} of voices) {
    say(t("chat.answering", {name}));
    for await (const event of api.streamChat({...shared, ...voice}, signal)) void event;
  }
  take.apart = (performance.now() - begun) / 1000;
  await putTake(take);
  if (current === take) drawMeter(take.batch, take.apart);
  say($("meter-text").textContent);
});

function takeRow(take) {
  const when = new Date(take.created).toLocaleString(document.documentElement.lang, {dateStyle: "short", timeStyle: "short"});
  const star = el("button", {type: "button", class: "quiet icon", "aria-pressed": String(take.starred),
                             "aria-label": t("takes.star"), title: t("takes.star"), onclick: async () => {
    take.starred = !take.starred;
    await putTake(take);
    drawTakes();
  }}, take.starred ? "★" : "☆");
  const action = (key, act) => el("button", {type: "button", class: "quiet", onclick: act}, t(key));
  return el("li", {class: take === current ? "take is-current" : "take"}, star,
            el("button", {type: "button", class: "quiet pick", onclick: () => running || goBack(take)},
               `${take.parent ? `${t("takes.of", {id: take.parent})} → ` : ""}#${take.id} · ${when} · ${take.premise}`),
            action("takes.json", () => download(`take-${take.id}.json`, "application/json", JSON.stringify(take, null, 2))),
            action("takes.markdown", () => download(`take-${take.id}.md`, "text/markdown", markdown(take))),
            action("takes.curl", async (event) => {
              await navigator.clipboard.writeText(curl(take));
              event.target.textContent = t("chat.copied");
            }),
            action("takes.remove", async () => {
              if (running && take === current) return;
              await removeTake(take.id);
              takes = takes.filter((other) => other !== take);
              if (take === current) current = null;
              drawTakes();
            }));
}

function drawTakes() {
  $("takes-none").hidden = takes.length > 0;
  $("takes").replaceChildren(...takes.toReversed().map(takeRow));
}

function drawVoices() {
  const names = ["", ...servable().map(({name}) => name)];
  if (!choseOnce && names.length > 1) {
    for (const name of kUsual) if (names.includes(name)) chosen.add(name);
    for (const name of names.slice(1, 3)) if (chosen.size < 2) chosen.add(name);
    choseOnce = true;
  }
  for (const name of chosen) if (!names.includes(name)) chosen.delete(name);
  $("story-voices").replaceChildren(...names.map((name) => {
    const box = el("input", {type: "checkbox", checked: chosen.has(name), onchange: () => {
      if (box.checked && chosen.size >= kMostVoices) box.checked = false;
      box.checked ? chosen.add(name) : chosen.delete(name);
    }});
    const label = el("label", {class: "check"}, box, el("i", {class: "dot", "aria-hidden": "true"}), name || state.base);
    paint(label, name, name === "");
    return label;
  }));
}

function drawExamples() {
  $("premise-examples").replaceChildren(...[1, 2, 3].map((number) => el("button", {type: "button", onclick: () => {
    $("premise").value = t(`story.example${number}`);
    $("premise").focus();
  }}, t(`story.example${number}`))));
}

function translateStory() {
  drawExamples();
  if (current && !running) show(current);
  else drawTakes();
}

async function restore() {
  try {
    takes = await allTakes();
  } catch {
    note($("story-problem"), t("takes.unkept"));
  }
  if (takes.length > 0) goBack(takes.at(-1));
  else drawTakes();
}

export function startStory() {
  $("story-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sing();
  });
  for (const id of ["premise", "concept"]) {
    $(id).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || isComposing(event)) return;
      event.preventDefault();
      sing();
    });
  }
  $("expand").addEventListener("click", expand);
  $("one-by-one").addEventListener("click", oneByOne);
  $("story-stop").addEventListener("click", () => running?.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !isComposing(event) && !document.querySelector("dialog[open]")) running?.abort();
  });
  onState(drawVoices);
  onLanguage(translateStory);
  restore();
}
