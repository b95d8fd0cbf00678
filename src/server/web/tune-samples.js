// What each step of a tuning answers to the same prompt, beside the base.
import * as api from "./api.js";
import {el, paint} from "./dom.js";
import {t} from "./i18n.js";
import {modelOf, state} from "./state.js";
import {loadRoom, saveRoom} from "./store.js";

const kSampling = {temperature: 0, repetition_penalty: 1.05, max_tokens: 60};

/** @type {Object<string, {prompt: string, said: Object<string, string>}>} By the job's id. */
let jobs = {};

export const restoreSamples = async () => { jobs = await loadRoom("samples") ?? {}; };

/** From now on the steps of a job are asked this. */
export function setPrompt(job, prompt) {
  jobs[job] = {prompt, said: {}};
  saveRoom("samples", jobs);
}

/** The question in the first line of a file of data; "" where it has none that this page knows to read. */
export async function firstPrompt(file) {
  const [line] = (await file.slice(0, 65536).text()).split("\n");
  try {
    const example = JSON.parse(line);
    const asked = example.messages?.find(({role}) => role === "user")?.content ?? example.prompt ?? example.instruction;
    return typeof asked === "string" ? asked.slice(0, 1000) : "";
  } catch {
    return "";
  }
}

/** Asks the base and those of a job's steps that have not been asked yet, all at once. Whether there was anybody to ask.
 *  @param {string[]} steps names */
export async function sampleSteps(job, steps) {
  const entry = jobs[job];
  const names = ["", ...steps].filter((name) => !(name in (entry?.said ?? {})));
  if (!entry?.prompt || steps.length === 0 || names.length === 0) return false;
  try {
    const voices = names.map((name) => ({name: name || "base", model: modelOf(name)}));
    const {voices: said} = await api.chorus({messages: [{role: "user", content: entry.prompt}], voices, ...kSampling});
    said.forEach(({text}, i) => { entry.said[names[i]] = text.trim(); });
    saveRoom("samples", jobs);
  } catch {
    // A step that is gone, a busy server: asked again at the next look.
  }
  return true;
}

/** The samples of a job, the base first, then the steps in their order. @param {string[]} steps names */
export function samplesNode(job, steps) {
  const entry = jobs[job];
  const names = ["", ...steps].filter((name) => entry?.said[name] !== undefined);
  if (names.length < 2) return "";
  return el("div", {class: "samples"}, el("p", {class: "muted small"}, t("tune.asked", {prompt: entry.prompt})),
            el("dl", {}, ...names.flatMap((name) => {
              const label = el("dt", {}, el("i", {class: "dot", "aria-hidden": "true"}), name || state.base);
              paint(label, name, name === "");
              return [label, el("dd", {dir: "auto"}, entry.said[name])];
            })));
}
