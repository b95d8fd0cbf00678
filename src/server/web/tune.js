// Tuning: data go to the server, a job tunes an adapter on them in its idle time, and each step of it can be talked to.
import {refresh} from "./adapters.js";
import * as api from "./api.js";
import {lineChart} from "./charts.js";
import {$, el, note, paint} from "./dom.js";
import {nameOf, onDrop} from "./files.js";
import {count, duration, onLanguage, rate, t} from "./i18n.js";
import {choose} from "./mix.js";
import {state} from "./state.js";
import {reportNode} from "./tune-report.js";
import {firstPrompt, restoreSamples, sampleSteps, samplesNode, setPrompt} from "./tune-samples.js";

const kEvery = 1500;  // ms, while the room is seen and a job has not ended
const kOver = ["succeeded", "failed", "cancelled"];

/** @type {{job: object, events: object[], checkpoints: object[]}[]} The newest first. */
let jobs = [];
let timer = 0, sending = false;
let talk = () => {};
const unfolded = new Map();  // by job: whether its report is

const isSeen = () => document.body.dataset.room === "tune" && !document.hidden;

async function look() {
  clearTimeout(timer);
  try {
    const known = new Map(jobs.map((entry) => [entry.job.id, entry]));
    jobs = await Promise.all((await api.tuningJobs()).map(async (job) => {
      const before = known.get(job.id);
      if (before && kOver.includes(before.job.status)) return before;
      return {job, events: await api.tuningEvents(job.id), checkpoints: await api.tuningCheckpoints(job.id)};
    }));
    note($("tune-note"), "");
    if (jobs.some(({job}, i) => known.get(job.id)?.checkpoints.length !== jobs[i].checkpoints.length)) await refresh();
  } catch (error) {
    note($("tune-note"), error.status === 501 ? t("tune.off") : error.status === 0 ? t("chat.broken") : error.message, true);
    $("tune-form").hidden = error.status === 501;
    if (error.status === 501) return;
  }
  draw();
  for (const {job, checkpoints} of isSeen() ? jobs : []) {
    if (await sampleSteps(job.id, stepsOf(checkpoints))) draw();
  }
  if (isSeen() && jobs.some(({job}) => !kOver.includes(job.status))) timer = setTimeout(look, kEvery);
}

// What the events say of steps: {train: [{x, y}], held: [{x, y}], last}.
function curvesOf(events) {
  const train = [], held = [];
  let last = null;
  for (const {data} of events) {
    if (data.train_loss !== undefined) {
      train.push({x: data.step, y: data.train_loss});
      last = data;
    }
    if (data.valid_loss !== undefined) held.push({x: data.step, y: data.valid_loss});
  }
  const byStep = (a, b) => a.x - b.x;
  return {train: train.sort(byStep), held: held.sort(byStep), last};
}

// Names of the steps that answer, the first one first.
function stepsOf(checkpoints) {
  const there = state.adapters.map(({name}) => name);
  return checkpoints.map((checkpoint) => checkpoint.fine_tuned_model_checkpoint).filter((name) => there.includes(name)).reverse();
}

function talkButton(name) {
  return el("button", {type: "button", onclick: async () => {
    await refresh();
    choose(name);
    talk();
  }}, t("tune.talk", {name}));
}

function drawJob({job, events, checkpoints}) {
  const name = job.user_provided_suffix ?? job.fine_tuned_model ?? job.id;
  const {train, held, last} = curvesOf(events.toReversed());
  const over = kOver.includes(job.status);
  const facts = [t(`tune.${job.status}`)];
  if (last) facts.push(t("tune.step", {step: last.step, steps: last.total_steps}));
  if (last && !over) {
    facts.push(t("chat.rate", {rate: rate(last.tokens_per_second)}), t("tune.left", {time: duration(last.seconds_left)}));
  }
  if (job.trained_tokens) facts.push(t("chat.tokens", {tokens: count(job.trained_tokens)}));
  const chart = el("div", {class: "loss"});
  const report = events.find(({data}) => data.report)?.data.report;
  const warnings = report ? [] : events.filter(({level}) => level !== "info").map(({message}) => el("li", {}, message)).reverse();
  const node = el("article", {class: "column job"},
    el("h3", {class: "by"}, el("i", {class: "dot", "aria-hidden": "true"}), name),
    el("p", {class: "facts muted"}, ...facts.map((fact) => el("span", {}, fact))),
    job.error ? el("p", {class: "note bad"}, job.error.message) : "",
    warnings.length > 0 && !job.error ? el("ul", {class: "note"}, ...warnings) : "",
    report ? reportNode(report, unfolded.get(job.id), (open) => unfolded.set(job.id, open)) : "",
    chart,
    samplesNode(job.id, stepsOf(checkpoints)),
    el("ul", {class: "steps"}, ...checkpoints.map(({fine_tuned_model_checkpoint: step, metrics}) =>
        el("li", {class: "row"}, t("tune.held", {step: metrics.step, loss: metrics.valid_loss.toFixed(3)}), talkButton(step)))),
    el("div", {class: "row"},
       job.status === "succeeded" ? talkButton(job.fine_tuned_model) : "",
       over ? "" : el("button", {type: "button", class: "stop", onclick: () => api.cancelTuning(job.id).then(look, look)}, t("tune.cancel"))));
  paint(node, name);
  return {node, chart, train, held, name};
}

function draw() {
  $("jobs-none").hidden = jobs.length > 0;
  const drawn = jobs.map(drawJob);
  $("jobs").replaceChildren(...drawn.map(({node}) => node));
  for (const {chart, train, held, name} of drawn) {
    if (train.length < 2) continue;
    const label = t("tune.chart", {name, from: train[0].y.toFixed(2), to: train.at(-1).y.toFixed(2)});
    lineChart(chart, {line: train, points: held}, {height: 130, label});
  }
}

async function chooseFile(file) {
  $("tune-name").value = nameOf(file.name);
  $("tune-prompt").value = await firstPrompt(file);
  note($("tune-result"), "");
}

async function start() {
  const [file] = $("tune-file").files;
  if (!file || sending) return;
  sending = true;
  $("tune-start").disabled = true;
  try {
    note($("tune-result"), t("tune.sending"));
    const {id} = await api.uploadFile(file);
    const number = (name) => $(name).valueAsNumber;
    const job = await api.startTuning({
      model: state.base,
      training_file: id,
      suffix: $("tune-name").value.trim(),
      seed: 1,
      hyperparameters: {n_epochs: number("tune-epochs")},
      lora: {rank: number("tune-rank"), alpha: 2 * number("tune-rank"), learning_rate: number("tune-rate")},
    });
    setPrompt(job.id, $("tune-prompt").value.trim());
    note($("tune-result"), t("tune.sent"));
  } catch (error) {
    note($("tune-result"), error.status === 0 ? t("chat.broken") : error.message, true);
  } finally {
    sending = false;
    $("tune-start").disabled = false;
  }
  look();
}

/** Called when the room comes into sight. */
export const showTune = () => { look(); };

/** `onTalk` shows the room where the chosen voice answers. */
export function startTune(onTalk) {
  talk = onTalk;
  $("tune-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  $("tune-file").addEventListener("change", () => $("tune-file").files[0] && chooseFile($("tune-file").files[0]));
  onDrop($("tune"), (data) => {
    $("tune-file").files = data.files;
    chooseFile(data.files[0]);
  });
  document.addEventListener("visibilitychange", () => isSeen() && look());
  onLanguage(draw);
  restoreSamples();
}
