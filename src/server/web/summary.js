// A long text made short: by an adapter, beside the base where one likes.
import {$, el, note} from "./dom.js";
import {onDrop} from "./files.js";
import {count, onLanguage, percent, t} from "./i18n.js";
import {makeRunner, sendOnEnter} from "./runner.js";
import {modelOf, onState, servable, state} from "./state.js";
import {keeper, loadRoom} from "./store.js";
import {fillVoices, someSeed, streamVoices, VoiceColumn} from "./voices.js";

const kSampling = {temperature: 0.2, repetition_penalty: 1.05, max_tokens: 200};
const kMostFile = 1 << 20;

let runner = null;
/** @type {{text: string, model: string, beside: boolean, said: import("./voices.js").Voice[]}} */
let room = {text: "", model: "summary", beside: true, said: []};

const segmenter = () => new Intl.Segmenter(document.documentElement.lang, {granularity: "word"});
const wordsOf = (text) => [...segmenter().segment(text)].filter(({isWordLike}) => isWordLike).length;

const keep = keeper("summary", () => {
  room = {...room, text: $("summary-text").value, model: $("summary-model").value, beside: $("summary-beside").checked};
  return room;
});

function drawLength() {
  $("summary-length").textContent = t("summary.words", {words: count(wordsOf($("summary-text").value))});
}

function showColumns(said) {
  const columns = new Map(said.map(({name, text, model}) => {
    const column = VoiceColumn.make({name, paintAs: model});
    column.text = text;
    return [name, column];
  }));
  $("summary-columns").replaceChildren(...columns.values());
  return columns;
}

function drawShares(said) {
  const whole = wordsOf($("summary-text").value);
  if (!whole) return;
  note($("summary-shares"), said.filter(({text}) => text).map(({name, text}) => {
    const words = wordsOf(text);
    return t("summary.share", {name, words: count(words), share: percent(words / whole)});
  }).join(" · "));
}

const summarize = () => runner.run(async (signal) => {
  const text = $("summary-text").value.trim();
  if (!text) return;
  keep();
  const model = $("summary-model").value || state.base;
  const models = $("summary-beside").checked && model !== state.base ? [model, state.base] : [model];
  const said = models.map((name) => ({name, model: name, text: "", facts: {}}));
  room.said = said;
  const body = {
    messages: [{role: "user", content: `Summarize:\n\n${text}`}],
    voices: models.map((name) => ({name, model: modelOf(name), seed: someSeed()})),
    ...kSampling,
  };
  const columns = showColumns(said);
  try {
    await streamVoices(body, {voices: new Map(said.map((voice) => [voice.name, voice])), columns, signal});
    runner.say(t("story.done", {voices: said.length}));
  } finally {
    drawShares(said);
    keep();
  }
});

function drawModels() {
  const names = servable().map(({name}) => name);
  fillVoices($("summary-model"), names, names.includes($("summary-model").value) ? $("summary-model").value : room.model);
}

async function readFile(file) {
  if (!file) return;
  if (file.size > kMostFile) return note($("summary-problem"), t("summary.too_long", {name: file.name}), true);
  $("summary-text").value = await file.text();
  drawLength();
}

export async function startSummary() {
  runner = makeRunner({buttons: ["summary-start"], stop: "summary-stop", problem: "summary-problem", said: "summary-said"});
  $("summary-form").addEventListener("submit", (event) => {
    event.preventDefault();
    summarize();
  });
  sendOnEnter(["summary-text"], summarize);
  $("summary-text").addEventListener("input", drawLength);
  $("summary-form").addEventListener("input", keep);
  onDrop($("summary"), (data) => readFile(data.files[0]));
  room = {...room, ...await loadRoom("summary")};
  $("summary-text").value = room.text;
  $("summary-beside").checked = room.beside;
  onState(drawModels);
  drawModels();
  onLanguage(() => {
    drawLength();
    if (runner.running) return;
    const columns = showColumns(room.said);
    for (const {name, facts} of room.said) columns.get(name).finish(facts);
    drawShares(room.said);
  });
}
