// Who answers: the base, one adapter, or a mix of several with their strengths.
import {$, el, paint} from "./dom.js";
import {onLanguage, t} from "./i18n.js";
import {onState, servable, state, strengthOf} from "./state.js";

const kMaxParts = 8;

/** @type {{name: string, scale: number}[]} name "": the base, which stands alone. */
const parts = [{name: "", scale: 1}];
const rows = [];

const scaleText = (scale) => String(Math.round(scale * 100) / 100);

/** The `model` of a request: the base's id, "elf", or "elf@0.7+villain@0.3". */
export function model() {
  if (parts[0].name === "") return state.base;
  if (parts.length === 1 && parts[0].scale === 1) return parts[0].name;
  return parts.map(({name, scale}) => `${name}@${scaleText(scale)}`).join("+");
}

/** The voice whose colour an answer has. */
export const leading = () => parts.reduce((best, part) => (part.scale > best.scale ? part : best)).name;

/** Answers come from `name` alone from now on; "" for the base. */
export function choose(name) {
  parts.length = 0;
  parts.push({name, scale: strengthOf(name)});
  draw();
}

/** Answers come from two adapters together from now on, half of each. */
export function blend(first, second) {
  parts.length = 0;
  parts.push({name: first, scale: 0.5}, {name: second, scale: 0.5});
  draw();
}

const unused = () => servable().find(({name}) => !parts.some((part) => part.name === name));

// One part's row: its voice, and for an adapter its strength. It is kept while the part stays, so that
// neither the focus nor a slider in the hand is lost.
function makeRow(index) {
  const select = el("select", {onchange: () => {
    parts[index].name = select.value;
    if (select.value === "") parts.length = 1;
    draw();
  }});
  const range = el("input", {type: "range", min: "0", max: "2", step: "0.05", oninput: () => {
    parts[index].scale = Number(range.value);
    output.textContent = scaleText(parts[index].scale);
  }});
  const output = el("output");
  const remove = el("button", {type: "button", class: "quiet icon", onclick: () => {
    parts.splice(index, 1);
    draw();
    (rows[Math.max(0, index - 1)] ?? rows[0]).select.focus();
  }}, "×");
  return {item: el("li", {}, el("i", {class: "dot", "aria-hidden": "true"}), select, range, output, remove),
          select, range, output, remove};
}

function drawOptions(select, index) {
  const names = servable().map(({name}) => name)
                    .filter((name) => !parts.some((part, other) => other !== index && part.name === name));
  const wanted = index === 0 ? ["", ...names] : names;
  // A voice that has gone stays shown until another is chosen: the server's answer says what is wrong.
  if (!wanted.includes(parts[index].name)) wanted.push(parts[index].name);
  if (select.options.length !== wanted.length || wanted.some((name, i) => select.options[i].value !== name)) {
    select.replaceChildren(...wanted.map((name) => el("option", {value: name})));
  }
  for (const option of select.options) option.textContent = option.value || state.base || "…";
  select.value = parts[index].name;
}

function draw() {
  while (rows.length > parts.length) rows.pop().item.remove();
  while (rows.length < parts.length) {
    rows.push(makeRow(rows.length));
    $("mix").append(rows.at(-1).item);
  }
  parts.forEach(({name, scale}, index) => {
    const {item, select, range, output, remove} = rows[index];
    paint(item, name, name === "");
    drawOptions(select, index);
    select.setAttribute("aria-label", t("mix.voice", {number: index + 1}));
    range.hidden = output.hidden = name === "";
    range.value = scale;
    output.textContent = scaleText(scale);
    range.setAttribute("aria-label", t("mix.scale", {name}));
    remove.hidden = parts.length === 1;
    remove.setAttribute("aria-label", t("mix.remove", {name}));
  });
  $("mix-add").hidden = parts[0].name === "" || parts.length === kMaxParts || !unused();
}

export function startMix() {
  $("mix-add").addEventListener("click", () => {
    parts.push({name: unused().name, scale: 0.5});
    draw();
    rows.at(-1).select.focus();
  });
  onState(draw);
  onLanguage(draw);
}
