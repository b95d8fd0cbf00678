// One brief, many tones, each said several ways: a table, and a file for a spreadsheet.
import {$, copyButton, download, el, paint} from "./dom.js";
import {count, duration, onLanguage, rate, t} from "./i18n.js";
import {makeRunner, sendOnEnter} from "./runner.js";
import {modelOf, onState, servable} from "./state.js";
import {keeper, loadRoom} from "./store.js";
import * as api from "./api.js";
import {fillVoices, someSeed} from "./voices.js";

const kSampling = {temperature: 0.7, min_p: 0.1, repetition_penalty: 1.1, max_tokens: 110};
const kTones = ["playful", "luxurious", "plain"];
const kMostTones = 12;

let runner = null;
/** @type {{brief: string, model: string, tones: string, ways: number, rows: {tone: string, way: number, text: string, facts: object}[]}} */
let room = {brief: "", model: "marketing", tones: "", ways: 2, rows: []};
/** @type {HTMLElement[]} Of the rows' texts. */
let cells = [];

const tonesOf = () => [...new Set($("copy-tones").value.split(/[,，、\n]/).map((tone) => tone.trim()).filter(Boolean))].slice(0, kMostTones);

const keep = keeper("copy", () => {
  room = {...room, brief: $("copy-brief").value, model: $("copy-model").value, tones: $("copy-tones").value, ways: $("copy-ways").valueAsNumber};
  return room;
});

function draw() {
  $("copy-table").hidden = room.rows.length === 0;
  $("copy-csv").hidden = room.rows.length === 0;
  cells = room.rows.map(({text}) => el("td", {dir: "auto", class: "copy-text"}, text));
  $("copy-rows").replaceChildren(...room.rows.map((row, i) => {
    const length = el("td", {class: "muted figure-cell"}, row.facts.usage ? count(row.text.length) : "");
    return el("tr", {}, el("th", {scope: "row"}, row.tone), cells[i], length, el("td", {}, copyButton(() => row.text)));
  }));
  paint($("copy-table"), room.model, room.model === "");
}

// The marketing adapter has learned to be told the tone in the question.
const questionOf = (tone, brief) => `Tone: ${tone}. ${brief}`;

const write = () => runner.run(async (signal) => {
  const brief = $("copy-brief").value.trim(), tones = tonesOf(), ways = Math.min(4, Math.max(1, $("copy-ways").valueAsNumber || 1));
  if (!brief || tones.length === 0) return;
  const seed = someSeed();
  room.rows = tones.flatMap((tone) => Array.from({length: ways}, (_, way) => ({tone, way: way + 1, text: "", facts: {}})));
  keep();
  draw();
  const nameOf = ({tone, way}) => `${tone.slice(0, 40)} ${way}`;
  const rows = new Map(room.rows.map((row) => [nameOf(row), row]));
  const body = {
    voices: room.rows.map((row, i) => ({name: nameOf(row), messages: [{role: "user", content: questionOf(row.tone, brief)}], seed: seed + i})),
    model: modelOf($("copy-model").value),
    ...kSampling,
  };
  let frame = 0;
  const flush = () => {
    frame = 0;
    room.rows.forEach(({text}, i) => { if (cells[i].textContent !== text) cells[i].textContent = text; });
  };
  try {
    for await (const event of api.streamChorus(body, signal)) {
      if (event.delta !== undefined) rows.get(event.voice).text += event.delta;
      if (event.done) rows.get(event.voice).facts = {usage: event.usage, seed: event.seed, adapter: event.adapter};
      if (event.batch?.final) {
        $("copy-said").textContent = t("npc.batch", {voices: count(rows.size), seconds: duration(event.batch.seconds),
                                                     rows: rate(event.batch.rows), rate: rate(event.batch.tokens_per_second)});
      }
      frame ||= requestAnimationFrame(flush);
    }
  } finally {
    cancelAnimationFrame(frame);
    draw();
    keep();
  }
});

/** Quoted as RFC 4180 says; a cell that a spreadsheet would take for a formula is held to be text. */
export function csv(rows) {
  const cell = (value) => `"${String(value).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  return `\uFEFF${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function exportCsv() {
  const head = [t("copy.tone"), "#", t("copy.text"), t("settings.seed")];
  download("copy.csv", "text/csv", csv([head, ...room.rows.map(({tone, way, text, facts}) => [tone, way, text, facts.seed ?? ""])]));
}

function drawModels() {
  const names = servable().map(({name}) => name);
  fillVoices($("copy-model"), names, names.includes($("copy-model").value) ? $("copy-model").value : room.model);
}

export async function startCopy() {
  runner = makeRunner({buttons: ["copy-write"], stop: "copy-stop", problem: "copy-problem", said: "copy-said"});
  $("copy-form").addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  sendOnEnter(["copy-brief"], write);
  $("copy-form").addEventListener("input", keep);
  $("copy-csv").addEventListener("click", exportCsv);
  room = {...room, ...await loadRoom("copy")};
  $("copy-brief").value = room.brief;
  $("copy-tones").value = room.tones || kTones.join(", ");
  $("copy-ways").value = room.ways || 2;
  onState(drawModels);
  drawModels();
  onLanguage(draw);
}
