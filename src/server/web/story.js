// The story: a premise, a concept that the base makes of it, and voices that answer from one batch.
import * as api from "./api.js";
import {$, el, note, paint} from "./dom.js";
import {count, duration, onLanguage, rate, t} from "./i18n.js";
import {drawImage, showImage, startImage} from "./image.js";
import {makeRunner, sendOnEnter} from "./runner.js";
import {modelOf, onState, servable, state} from "./state.js";
import {allTakes, keeper, loadRoom, putTake} from "./store.js";
import {drawTakes, startTakes} from "./takes-list.js";
import {someSeed, streamVoices, VoiceColumn} from "./voices.js";

const kSampling = {temperature: 0.6, min_p: 0.1, repetition_penalty: 1.05, max_tokens: 320};
const kUsual = ["story", "image-prompt"];  // who answers at first, where they are there
const kMostVoices = 8;
const kParts = ["Title", "Act 1", "Act 2", "Act 3", "The turn", "Ending"];
const kSaveEvery = 1000;  // ms, while voices stream: a page that is closed loses no more

let runner = null;
/** @type {import("./store.js").Take | null} The one that is shown. */
let current = null;
/** @type {import("./store.js").Take[]} */
let takes = [];
const chosen = new Set();
const pinned = new Set();  // of the take that is shown: they are kept when the others sing again
let choseOnce = false;
let offered = "";  // what the list of voices shows, as one text
let singing = "";  // the id of the chorus under way

const premise = () => $("premise").value.trim();
const concept = () => $("concept").value.trim();

const keepDraft = keeper("story", () => ({premise: premise(), concept: concept(), locked: $("lock").checked}));

// The concept, by the base; written into the box as it comes, where it can be edited.
const expand = () => runner.run(async (signal) => {
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
  keepDraft();
  runner.say(t("story.expanded"));
});

// The seed is the same for all: they are different voices, and the command line can say it again.
function chorusBody(names, seed) {
  return {
    messages: [{role: "user", content: concept() ? `${premise()} ${concept()}` : premise()}],
    voices: names.map((name) => ({name, model: modelOf(name), seed})),
    ...kSampling,
  };
}

// A structured story's parts, where the text has all of them in order.
function partsOf(text) {
  const places = kParts.map((part) => text.indexOf(`${part}:`));
  if (places.some((place, i) => place < 0 || (i > 0 && place <= places[i - 1]))) return null;
  return kParts.map((part, i) => [t(`story.part${i}`), text.slice(places[i] + part.length + 1, places[i + 1]).trim()]);
}

function columnOf(voice) {
  const {name} = voice;
  const stop = el("button", {type: "button", class: "quiet when-busy", onclick: () => {
    api.stopVoice(singing, name).catch(() => {});
  }}, t("chat.stop"));
  const retry = el("button", {type: "button", class: "quiet when-idle", onclick: () => sing([name], someSeed(), () => true)}, t("chat.retry"));
  const pin = el("button", {type: "button", class: "quiet when-idle", "aria-pressed": String(pinned.has(name)), onclick: () => {
    pinned.has(name) ? pinned.delete(name) : pinned.add(name);
    pin.setAttribute("aria-pressed", String(pinned.has(name)));
  }}, t("adapters.pin"));
  const column = VoiceColumn.make({name, actions: [retry, pin, stop]});
  column.text = voice.text;
  return column;
}

// What a voice's text is beside: the same voice in the take that this one came from.
function addViews(take, column, voice) {
  const parts = partsOf(voice.text);
  if (parts) column.addForm(parts);
  const before = takes.find(({id}) => id === take.parent)?.voices.find(({name}) => name === voice.name);
  if (before && before.text !== voice.text) column.addChanges(before.text);
}

// Shows what a take has; those who are still `asked` have not ended. Returns the columns by name.
function showColumns(take, asked = []) {
  const columns = new Map(take.voices.map((voice) => [voice.name, columnOf(voice)]));
  $("columns").replaceChildren(...columns.values());
  for (const voice of take.voices) {
    if (asked.includes(voice.name)) continue;
    columns.get(voice.name).finish(voice.facts);
    addViews(take, columns.get(voice.name), voice);
  }
  return columns;
}

function drawMeter(batch, measured = null) {
  $("meter-rows").textContent = batch ? rate(batch.rows) : "–";
  $("meter-step").textContent = batch ? duration(batch.step_ms / 1000) : "–";
  $("meter-rate").textContent = batch ? rate(batch.tokens_per_second) : "–";
  const facts = [];
  if (batch?.final) facts.push(t("story.together", {tokens: count(batch.tokens), seconds: duration(batch.seconds)}));
  if (measured) {
    const {together, apart} = measured;
    facts.push(t("story.apart", {together: duration(together), apart: duration(apart), times: (apart / together).toFixed(2)}));
  }
  $("meter-text").textContent = facts.join(" · ");
}

function drawRunning() {
  $("story").classList.toggle("is-busy", runner.running);
}

const drawList = () => drawTakes(takes, current);

// Shows what came of a take.
function show(take) {
  current = take;
  showColumns(take);
  drawMeter(take.batch, take.measured);
  showImage(take);
  drawList();
}

// Goes back to a take: what was asked stands in the boxes again. A concept that is locked stays.
function goBack(take) {
  $("premise").value = take.premise;
  if (!$("lock").checked) $("concept").value = take.concept;
  pinned.clear();
  keepDraft();
  show(take);
}

// A take of `names`, to be asked anew, and of what is kept of the one that is shown.
function makeTake(names, seed, isKept) {
  const kept = (current?.voices ?? []).filter(({name, text}) => text && !names.includes(name) && isKept(name));
  return {
    parent: current?.id ?? null,
    created: new Date().toISOString(),
    premise: premise(),
    concept: concept(),
    locked: $("lock").checked,
    starred: false,
    body: chorusBody(names, seed),
    voices: [...kept.map((voice) => ({...voice, from: voice.from ?? current.id})), ...names.map((name) => ({name, text: "", facts: {}}))],
    batch: null,
    pictures: [],
  };
}

async function streamTake(take, signal) {
  const asked = take.body.voices.map(({name}) => name);
  const columns = showColumns(take, asked);
  const voices = new Map(take.voices.map((voice) => [voice.name, voice]));
  let saved = performance.now();
  const onText = () => {
    if (performance.now() - saved < kSaveEvery) return;
    saved = performance.now();
    putTake(take).catch(() => {});
  };
  const onBatch = (batch) => {
    take.batch = batch;
    drawMeter(batch);
  };
  try {
    await streamVoices(take.body, {voices, columns, signal, onText, onBatch, onId: (id) => { singing = id; }});
    runner.say(t("story.done", {voices: asked.length}));
  } finally {
    for (const name of asked) addViews(take, columns.get(name), voices.get(name));
    await putTake(take);
    showImage(take);
    drawList();
  }
}

/** Asks `names` anew, all at once; of the take that is shown those stay who are kept. It is written down as it grows. */
const sing = (names, seed, isKept) => runner.run(async (signal) => {
  if (!premise() || names.length === 0) return;
  const take = makeTake(names, seed, isKept);
  await putTake(take);
  current = take;
  takes.push(take);
  drawList();
  drawMeter(null);
  await streamTake(take, signal);
});

function singAll() {
  const seed = $("story-seed").valueAsNumber;
  const names = [...chosen].map((name) => name || state.base).filter((name) => !pinned.has(name));
  sing(names, Number.isFinite(seed) ? seed : someSeed(), (name) => pinned.has(name));
}

// The same voices once more together, then one after the other: what the batch saves is measured, not guessed. By then
// the prompt is in the server's cache for all of them alike.
const oneByOne = () => runner.run(async (signal) => {
  const take = current;
  if (!take?.batch?.final) return;
  const {voices} = take.body;
  const seconds = async (bodies) => {
    const begun = performance.now();
    for (const body of bodies) await api.chorus(body, signal);
    return (performance.now() - begun) / 1000;
  };
  const together = await seconds([take.body]);
  const apart = await seconds(voices.map((voice) => ({...take.body, voices: [voice]})));
  take.measured = {together, apart};
  await putTake(take);
  if (current === take) drawMeter(take.batch, take.measured);
  runner.say($("meter-text").textContent);
});

function drawVoices() {
  const names = ["", ...servable().map(({name}) => name)];
  const loading = state.adapters.some(({residency}) => residency === "loading");  // as at the server's start
  if (!choseOnce && names.length > 1 && !loading) {
    for (const name of kUsual) if (names.includes(name)) chosen.add(name);
    for (const name of names.slice(1, 3)) if (chosen.size < 2) chosen.add(name);
    choseOnce = true;
  }
  for (const name of chosen) if (!names.includes(name)) chosen.delete(name);
  // The state comes anew every few seconds: a list that stays the same keeps its focus.
  const now = [choseOnce, state.base, ...names].join("\n");
  if (now === offered) return;
  offered = now;
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
    keepDraft();
    $("premise").focus();
  }}, t(`story.example${number}`))));
}

async function restore() {
  try {
    takes = await allTakes();
  } catch {
    note($("story-problem"), t("takes.unkept"));
  }
  if (takes.length > 0) {
    $("lock").checked = takes.at(-1).locked;
    $("concept").value = takes.at(-1).concept;
    goBack(takes.at(-1));
  } else {
    drawList();
    showImage(null);
  }
  const draft = await loadRoom("story");
  if (draft) [$("premise").value, $("concept").value, $("lock").checked] = [draft.premise, draft.concept, draft.locked];
  drawLock();
}

function drawLock() {
  $("concept").readOnly = $("lock").checked;
  $("expand").hidden = $("lock").checked;
}

export function startStory() {
  runner = makeRunner({buttons: ["sing", "expand", "one-by-one"], stop: "story-stop", problem: "story-problem", said: "story-said",
                       onChange: drawRunning});
  startImage({putTake, onChange: drawList});
  startTakes({
    pick: (take) => runner.running || goBack(take),
    add(take) {
      takes.push(take);
      goBack(take);
    },
    async remove(take) {
      takes = takes.filter((other) => other !== take);
      if (take === current) current = null;
      drawList();
    },
    isBusy: (take) => runner.running && take === current,
    redraw: drawList,
  });
  $("story-form").addEventListener("submit", (event) => {
    event.preventDefault();
    singAll();
  });
  sendOnEnter(["premise", "concept"], singAll);
  $("expand").addEventListener("click", expand);
  $("one-by-one").addEventListener("click", oneByOne);
  for (const id of ["premise", "concept", "lock"]) $(id).addEventListener("input", keepDraft);
  $("lock").addEventListener("change", drawLock);
  onState(drawVoices);
  onLanguage(() => {
    drawExamples();
    if (!current || runner.running) return drawList();
    show(current);
    drawImage();
  });
  restore();
}
