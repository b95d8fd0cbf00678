// The picture of a take: the prompt of its image voice, edited as one likes, drawn by the engine behind the server.
import * as api from "./api.js";
import {$, copyButton, download, el, note} from "./dom.js";
import {count, duration, onLanguage, t} from "./i18n.js";
import {problemText} from "./runner.js";
import {someSeed} from "./voices.js";

/** @typedef {import("./store.js").Take} Take
 *  @typedef {import("./store.js").Picture} Picture */

const kVoice = "image-prompt";
const kStyles = ["", "cinematic", "photo", "watercolor", "ink", "comic"];
const kEvery = 1000, kIdle = 15_000;  // ms between two looks at the engine

/** @type {Take | null} */
let take = null;
/** @type {Picture | null} */
let shown = null;
let engine = {configured: false};
/** @type {{id: string, abort: AbortController, begun: number, take: Take} | null} */
let drawing = null;
let timer = 0, url = "";
let room = {putTake: async () => {}, onChange: () => {}};

const isSeen = () => document.body.dataset.room === "story" && !document.hidden;

// The bytes of the answer as what they are; the server has looked at them.
function pictureBlob(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const type = bytes[0] === 0x89 ? "image/png" : bytes[0] === 0xff ? "image/jpeg" : "image/webp";
  return new Blob([bytes], {type});
}

function engineText() {
  if (!engine.configured) return t("image.none");
  if (!engine.ready) return t("image.away", {error: engine.error ?? ""});
  return t("image.ready", {dialect: engine.dialect, model: engine.model ?? ""});
}

function drawProgress() {
  const active = drawing && engine.active?.id === drawing.id ? engine.active : null;
  $("image-progress").hidden = !drawing;
  if (!drawing) return;
  const share = active?.progress ?? null;
  if (share === null) $("image-progress").removeAttribute("value");
  else $("image-progress").value = share;
  const seconds = `${count(Math.floor((performance.now() - drawing.begun) / 1000))} s`;
  const steps = active?.step ? ` · ${t("tune.step", {step: active.step, steps: active.steps})}` : "";
  note($("image-note"), `${t(active || engine.queue === 0 ? "image.drawing" : "image.waiting", {seconds})}${steps}`);
}

function factsOf(picture) {
  return [`${picture.width} × ${picture.height}`, t("story.seed", {seed: picture.seed}), duration(picture.elapsed),
          picture.style ? t(`image.style_${picture.style}`) : ""].filter(Boolean);
}

function drawPicture() {
  if (url) URL.revokeObjectURL(url);
  url = shown ? URL.createObjectURL(shown.blob) : "";
  $("image").hidden = !shown;
  $("image-facts").replaceChildren();
  $("image-save").hidden = !shown;
  if (!shown) return $("image").removeAttribute("src");
  $("image").src = url;
  $("image").width = shown.width;
  $("image").height = shown.height;
  $("image").alt = shown.prompt;
  $("image-facts").replaceChildren(...factsOf(shown).map((fact) => el("span", {}, fact)));
}

function drawGallery() {
  const pictures = take?.pictures ?? [];
  $("gallery").hidden = pictures.length < 2;
  $("gallery").replaceChildren(...pictures.map((picture, i) => el("button", {
    type: "button", class: "quiet", "aria-pressed": String(picture === shown), onclick: () => {
      shown = picture;
      drawImage();
    },
  }, t("image.number", {number: i + 1}))));
}

function drawEngine() {
  $("image-engine").textContent = engineText();
  $("image-draw").hidden = !engine.configured;
  $("image-draw").disabled = drawing !== null;
  $("image-settings").hidden = !engine.configured;
  $("image-stop").hidden = !engine.configured;
  $("image-stop").disabled = drawing === null;
  $("image-frame").hidden = !engine.configured && !shown;
  drawProgress();
}

function drawStyles() {
  const chosen = $("image-style").value;
  $("image-style").replaceChildren(...kStyles.map((style) => el("option", {value: style}, t(`image.style_${style || "none"}`))));
  $("image-style").value = chosen;
}

export function drawImage() {
  drawEngine();
  drawPicture();
  drawGallery();
}

/** Shows what a take has of pictures, and the prompt for the next. @param {Take | null} of */
export function showImage(of) {
  const prompt = of?.voices.find(({name}) => name === kVoice)?.text.trim() ?? "";
  if (of !== take || !$("image-prompt").value) $("image-prompt").value = of?.pictures.at(-1)?.prompt ?? prompt;
  take = of;
  shown = of?.pictures.at(-1) ?? null;
  if (!drawing) note($("image-note"), "");
  drawImage();
}

/** Asks what the engine does, and again while the room is seen. */
export async function lookAtEngine() {
  clearTimeout(timer);
  try {
    engine = await api.imageEngine();
  } catch {
    engine = {configured: false};
  }
  drawEngine();
  if (engine.configured) timer = setTimeout(() => isSeen() && lookAtEngine(), drawing ? kEvery : kIdle);
}

function imageBody(id) {
  const [width, height] = $("image-size").value.split("x").map(Number);
  const seed = $("image-seed").valueAsNumber, steps = $("image-steps").valueAsNumber;
  const body = {id, prompt: $("image-prompt").value.trim(), size: `${width}x${height}`, seed: Number.isFinite(seed) ? seed : someSeed()};
  if (Number.isFinite(steps)) body.steps = steps;
  if ($("image-style").value) body.style = $("image-style").value;
  return body;
}

async function draw() {
  if (drawing || !take || !$("image-prompt").value.trim()) return;
  const id = crypto.randomUUID?.() ?? `image-${someSeed()}`;
  const body = imageBody(id);
  const mine = {id, abort: new AbortController(), begun: performance.now(), take};
  drawing = mine;
  drawImage();
  lookAtEngine();
  try {
    const made = await api.makeImage(body, mine.abort.signal);
    const picture = {blob: pictureBlob(made.data[0].b64_json), prompt: body.prompt, sent: made.data[0].revised_prompt, seed: made.seed,
                     width: made.width, height: made.height, style: body.style ?? "", elapsed: made.elapsed};
    mine.take.pictures.push(picture);
    await room.putTake(mine.take);
    if (take === mine.take) shown = picture;
    note($("image-note"), t("image.done", {seconds: duration(made.elapsed)}));
    room.onChange();
  } catch (error) {
    note($("image-note"), error.name === "AbortError" ? t("chat.stopped") : problemText(error), error.name !== "AbortError");
  } finally {
    drawing = null;
    const text = $("image-note").textContent, bad = $("image-note").classList.contains("bad");
    drawImage();
    note($("image-note"), text, bad);
  }
}

// Whoever asked is gone then, which stops the engine too.
function stop() {
  drawing?.abort.abort();
}

/** @param {typeof room} of what the card asks for: to keep a take, and to say that one has changed */
export function startImage(of) {
  room = of;
  $("image-draw").addEventListener("click", draw);
  $("image-stop").addEventListener("click", stop);
  $("image-save").addEventListener("click", () => {
    download(`take-${take.id}-${shown.seed}.${shown.blob.type.split("/")[1]}`, shown.blob.type, shown.blob);
  });
  $("image-copy").replaceWith(copyButton(() => $("image-prompt").value));
  $("image-fill").addEventListener("click", () => {
    $("image-prompt").value = take?.voices.find(({name}) => name === kVoice)?.text.trim() ?? "";
  });
  document.addEventListener("visibilitychange", () => isSeen() && lookAtEngine());
  onLanguage(() => {
    drawStyles();
    drawImage();
  });
}
