// One line, many characters: each answers in their own voice and mood, all from one batch.
import {asCard, readCard} from "./cards.js";
import {$, download, el, note, paint} from "./dom.js";
import {onDrop} from "./files.js";
import {count, duration, onLanguage, rate, t} from "./i18n.js";
import {makeRunner, sendOnEnter} from "./runner.js";
import {modelOf, onState, servable, state} from "./state.js";
import {keeper, loadRoom} from "./store.js";
import {fillVoices, someSeed, streamVoices, VoiceColumn} from "./voices.js";

/** @typedef {import("./cards.js").Character} Character */

const kSampling = {temperature: 0.7, min_p: 0.1, repetition_penalty: 1.05, max_tokens: 90};
const kMoods = ["calm", "cheerful", "angry", "afraid", "sly", "tired"];
const kMost = 16;
const kFirst = [  // the demo adapters' own, where they are there
  {name: "Fenwick", voice: "elf", mood: "calm", about: "You are Fenwick, a woodland elf who trusts trees more than crowns."},
  {name: "Silt", voice: "villain", mood: "calm", about: "You are Silt, a courteous nightmare with all the time in the world."},
];

let runner = null;
/** @type {Character[]} */
let characters = [];
/** @type {{line: string, said: import("./voices.js").Voice[]}} */
let last = {line: "", said: []};
let loaded = false;

const keep = keeper("npc", () => ({characters, last, line: $("npc-line").value}));
const voicesThere = () => servable().map(({name}) => name);

// The mood is told in English, as the data of the adapters is.
const systemOf = ({name, about, mood}) =>
    [about || (name ? `You are ${name}.` : ""), mood === "calm" ? "" : `You feel ${mood}.`].filter(Boolean).join(" ");

function makeRow(character, index) {
  const change = (field) => (event) => {
    character[field] = event.target.value;
    if (field === "voice") paint(row, character.voice, character.voice === "");
    keep();
  };
  const name = el("input", {maxlength: 40, autocomplete: "off", oninput: change("name")});
  const voice = el("select", {onchange: change("voice")}), mood = el("select", {onchange: change("mood")});
  const about = el("textarea", {rows: 2, maxlength: 4000, oninput: change("about")});
  fillVoices(voice, voicesThere(), character.voice);
  mood.replaceChildren(...kMoods.map((one) => el("option", {value: one}, t(`npc.mood_${one}`))));
  [name.value, mood.value, about.value] = [character.name, character.mood, character.about];
  const label = (key, control) => el("label", {}, el("span", {}, t(key)), control);
  const row = el("li", {class: "character"}, label("npc.name", name), label("npc.voice", voice), label("npc.mood", mood),
                 label("npc.about", about),
                 el("div", {class: "row foot"},
                    el("button", {type: "button", class: "quiet", onclick: () => {
                      download(`${character.name || "character"}.json`, "application/json", asCard(character));
                    }}, t("npc.card")),
                    el("button", {type: "button", class: "quiet", "aria-label": t("mix.remove", {name: character.name}), onclick: () => {
                      characters.splice(index, 1);
                      drawCharacters();
                      keep();
                    }}, t("takes.remove"))));
  paint(row, character.voice, character.voice === "");
  return row;
}

function drawCharacters() {
  $("characters").replaceChildren(...characters.map(makeRow));
  $("npc-add").disabled = characters.length >= kMost;
}

function add(character) {
  if (characters.length >= kMost) return;
  characters.push(character);
  drawCharacters();
  keep();
}

// Names tell the columns apart, so each is there once.
function uniqueNames() {
  const taken = new Set();
  return characters.map(({name}, i) => {
    let unique = name.trim() || t("npc.someone", {number: i + 1});
    while (taken.has(unique)) unique += "′";
    taken.add(unique);
    return unique;
  });
}

function showColumns(said, paints) {
  const columns = new Map(said.map(({name, text}, i) => {
    const column = VoiceColumn.make({name, paintAs: paints[i]});
    column.text = text;
    return [name, column];
  }));
  $("npc-columns").replaceChildren(...columns.values());
  return columns;
}

function drawBatch(batch) {
  if (!batch?.final) return;
  note($("npc-batch"), t("npc.batch", {voices: count(last.said.length), seconds: duration(batch.seconds), rows: rate(batch.rows),
                                       rate: rate(batch.tokens_per_second)}));
}

const speak = () => runner.run(async (signal) => {
  const line = $("npc-line").value.trim();
  if (!line || characters.length === 0) return;
  const names = uniqueNames(), seed = someSeed();
  const said = names.map((name, i) => ({name, text: "", facts: {}, voice: characters[i].voice, mood: characters[i].mood}));
  last = {line, said};
  const body = {
    messages: [{role: "user", content: line}],
    voices: characters.map((character, i) => {
      const system = systemOf(character);
      return {name: names[i], model: modelOf(character.voice), seed: seed + i, ...(system ? {system} : {})};
    }),
    ...kSampling,
  };
  const columns = showColumns(said, said.map(({voice}) => voice));
  try {
    await streamVoices(body, {voices: new Map(said.map((voice) => [voice.name, voice])), columns, signal, onBatch: drawBatch});
    runner.say(t("story.done", {voices: said.length}));
  } finally {
    keep();
  }
});

function drawLast() {
  const columns = showColumns(last.said, last.said.map(({voice}) => voice));
  for (const {name, facts} of last.said) columns.get(name).finish(facts);
}

function exportLines() {
  const lines = last.said.map(({name, voice, mood, text, facts}) => ({line: last.line, character: name, voice: voice || state.base, mood, text,
                                                                     seed: facts.seed, adapter: facts.adapter}));
  download("lines.json", "application/json", JSON.stringify(lines, null, 2));
}

async function importCards(files) {
  for (const file of files) {
    try {
      add(await readCard(file));
      note($("npc-problem"), "");
    } catch (error) {
      note($("npc-problem"), error.message, true);
    }
  }
}

async function restore() {
  const kept = await loadRoom("npc");
  if (kept) ({characters, last} = kept);
  if (kept?.line) $("npc-line").value = kept.line;
  loaded = kept !== null;
  drawCharacters();
  drawLast();
}

function onVoices() {
  if (!loaded && characters.length === 0 && state.base) {
    loaded = true;
    const there = voicesThere();
    characters = kFirst.filter(({voice}) => there.includes(voice)).map((one) => ({...one}));
    if (characters.length === 0) characters = [{name: "", voice: "", mood: "calm", about: ""}];
    return drawCharacters();
  }
  [...$("characters").children].forEach((row, i) => fillVoices(row.querySelector("select"), voicesThere(), characters[i].voice));
}

export async function startNpc() {
  runner = makeRunner({buttons: ["npc-speak"], stop: "npc-stop", problem: "npc-problem", said: "npc-said"});
  $("npc-form").addEventListener("submit", (event) => {
    event.preventDefault();
    speak();
  });
  sendOnEnter(["npc-line"], speak);
  $("npc-line").addEventListener("input", keep);
  $("npc-add").addEventListener("click", () => add({name: "", voice: "", mood: "calm", about: ""}));
  $("npc-export").addEventListener("click", exportLines);
  $("npc-file").addEventListener("change", async () => {
    await importCards($("npc-file").files);
    $("npc-file").value = "";
  });
  onDrop($("npc"), (data) => importCards(data.files));
  await restore();
  onState(onVoices);
  onVoices();
  onLanguage(() => {
    drawCharacters();
    if (!runner.running) drawLast();
  });
}
