// A take as something to take along: JSON, Markdown, a picture with all of it inside, and the commands that make it again.
import {pngText, withPngText} from "./png.js";
import {state} from "./state.js";
import {t} from "./i18n.js";

/** @typedef {import("./store.js").Take} Take */

const kKeyword = "chorus";

/** A take as a page of Markdown. @param {Take} take */
export function markdown(take) {
  const voices = take.voices.map(({name, text, facts}) => {
    const of = [facts.model, facts.seed === undefined ? "" : `seed ${facts.seed}`, facts.adapter ?? ""];
    return `## ${name}\n\n${text}\n\n_${of.filter(Boolean).join(" · ")}_\n`;
  });
  return `# ${take.premise}\n\n${take.concept}\n\n${voices.join("\n")}`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The request that made a take, for a shell. @param {Take} take */
export const curl = (take) =>
    `curl ${location.origin}/v1/chorus -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(take.body))}`;

/** The same without a server. @param {Take} take */
export function commandLine(take) {
  const {messages, voices, temperature, min_p, repetition_penalty, max_tokens} = take.body;
  const uses = voices.map(({model}) => model).filter((model) => model !== state.base);
  // Of each part of a mix, with and without the scale behind its last @: NAME@STEP is a name too.
  const names = new Set(uses.flatMap((use) => use.split("+")).flatMap((part) => [part, part.replace(/@[^@]*$/, "")]));
  const adapters = state.adapters.filter(({name, path}) => path && names.has(name));
  return [`chorus run ${quoted(state.root)}`, ...adapters.map(({name, path}) => `--adapter ${quoted(`${name}=${path}`)}`),
          `-p ${quoted(messages.at(-1).content)}`, ...uses.map((use) => `--use ${quoted(use)}`),
          `--temperature ${temperature} --min-p ${min_p} --repetition-penalty ${repetition_penalty}`,
          `--max-tokens ${max_tokens} --seed ${voices[0].seed}`].join(" ");
}

/** All that is known of a take, its pictures aside. @param {Take} take */
export function plain(take) {
  const {id, pictures, ...rest} = take;
  return {chorus: "take", ...rest, pictures: pictures.map(({blob, ...picture}) => picture)};
}

const isText = (value) => typeof value === "string";
const isTake = (read) => read?.chorus === "take" && isText(read.premise) && isText(read.concept) && Array.isArray(read.voices) &&
    Array.isArray(read.body?.voices) &&
    read.voices.every((voice) => isText(voice?.name) && isText(voice.text) && typeof voice.facts === "object");

/** The takes in a file that was written here: JSON of one or of a list, or a picture with a take inside. Throws where
 *  there is none. @param {File} file @returns {Promise<Take[]>} */
export async function readTakes(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const inside = pngText(bytes, kKeyword);
  let read = null;
  try {
    read = JSON.parse(inside ?? new TextDecoder("utf-8", {fatal: true}).decode(bytes));
  } catch {
    throw new Error(t("takes.none_in_file", {name: file.name}));
  }
  const list = Array.isArray(read) ? read : [read];
  if (list.length === 0 || !list.every(isTake)) throw new Error(t("takes.none_in_file", {name: file.name}));
  const picturesOf = ({pictures}) => {
    if (inside === null || !pictures?.length) return [];
    return [{...pictures.at(-1), blob: new Blob([bytes], {type: "image/png"})}];
  };
  return list.map(({chorus, ...take}) => ({
    ...take,
    parent: null,
    created: isText(take.created) ? take.created : new Date().toISOString(),
    pictures: picturesOf(take),
  }));
}

// Lines of a text that fit into a width.
function wrap(context, text, width) {
  const lines = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.match(/\p{Script=Han}|[^\s\p{Script=Han}]+\s*/gu) ?? [""]) {
      if (line && context.measureText(line + word.trimEnd()).width > width) {
        lines.push(line);
        line = "";
      }
      line += word;
    }
    lines.push(line);
  }
  return lines;
}

/** A card with the premise and what the voices said. */
async function drawCard(take) {
  const width = 1200, margin = 60, canvas = new OffscreenCanvas(width, 1);
  const blocks = [[`600 40px serif`, 54, take.premise], ["24px sans-serif", 36, take.concept],
                  ...take.voices.flatMap(({name, text}) => [["600 24px sans-serif", 44, name], ["24px sans-serif", 34, text]])];
  const lines = [];
  const measure = canvas.getContext("2d");
  for (const [font, height, text] of blocks) {
    measure.font = font;
    for (const line of wrap(measure, text, width - 2 * margin)) lines.push({font, height, line});
    lines.push({font, height: 18, line: ""});
  }
  canvas.height = Math.min(16_000, lines.reduce((sum, {height}) => sum + height, 2 * margin));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fbfaf7";
  context.fillRect(0, 0, width, canvas.height);
  context.fillStyle = "#23232e";
  let y = margin;
  for (const {font, height, line} of lines) {
    context.font = font;
    context.fillText(line, margin, (y += height) - 10);
  }
  return canvas.convertToBlob({type: "image/png"});
}

/** A take as a PNG that readTake() takes: its newest picture, or a card of its texts. @param {Take} take */
export async function picture(take) {
  const newest = take.pictures.at(-1)?.blob;
  const blob = newest?.type === "image/png" ? newest : await drawCard(take);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return new Blob([withPngText(bytes, kKeyword, JSON.stringify(plain(take)))], {type: "image/png"});
}
