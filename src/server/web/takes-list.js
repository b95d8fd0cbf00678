// The takes as a tree: each below the one it came from. Any can be shown again, starred, set beside the one that is
// shown, and taken along.
import {wordDiff} from "./diff.js";
import {$, copyButton, download, el, note, paint} from "./dom.js";
import {t} from "./i18n.js";
import {state} from "./state.js";
import {putTake, removeTake} from "./store.js";
import {commandLine, curl, markdown, picture, plain, readTakes} from "./takes.js";

/** @typedef {import("./store.js").Take} Take */

const kMostFile = 64 << 20;

/** What the list may ask of its room. */
let room = {pick: () => {}, add: () => {}, remove: async () => {}, isBusy: () => false, redraw: () => {}};
/** @type {Take[]} */
let all = [];
const open = new Set();  // the takes whose files are offered

// The parts of two takes that differ, by name, in the words that do.
function comparison(before, after) {
  const textOf = (take, name) => take.voices.find((voice) => voice.name === name)?.text ?? "";
  const names = [...new Set([...before.voices, ...after.voices].map(({name}) => name))];
  const part = (label, from, to, name = null) => {
    const node = el("section", {class: "column"}, el("h3", {class: "by"}, label),
                    el("p", {class: "text", dir: "auto"}, ...wordDiff(from, to).map(({kind, text}) => {
                      return kind === "same" ? text : el(kind === "gone" ? "del" : "ins", {}, text);
                    })));
    paint(node, name ?? "", name === null || name === state.base);
    return node;
  };
  return [part(t("story.premise"), before.premise, after.premise), part(t("takes.concept"), before.concept, after.concept),
          ...names.map((name) => part(name, textOf(before, name), textOf(after, name), name))];
}

function compare(before, after) {
  $("compare-title").textContent = t("takes.comparison", {from: before.id, to: after.id});
  $("compare-parts").replaceChildren(...comparison(before, after));
  $("compare").showModal();
}

const action = (key, act) => el("button", {type: "button", class: "quiet", onclick: act}, t(key));

function files(take) {
  const details = el("details", {class: "more", open: open.has(take.id), ontoggle: () => {
    details.open ? open.add(take.id) : open.delete(take.id);
  }}, el("summary", {}, t("takes.export")), el("div", {class: "row"},
    action("takes.json", () => download(`take-${take.id}.json`, "application/json", JSON.stringify(plain(take), null, 2))),
    action("takes.markdown", () => download(`take-${take.id}.md`, "text/markdown", markdown(take))),
    action("takes.png", async () => download(`take-${take.id}.png`, "image/png", await picture(take))),
    copyButton(() => curl(take), "takes.curl"), copyButton(() => commandLine(take), "takes.cli")));
  return details;
}

function row(take, current) {
  const when = new Date(take.created).toLocaleString(document.documentElement.lang, {dateStyle: "short", timeStyle: "short"});
  const star = el("button", {type: "button", class: "quiet icon", "aria-pressed": String(take.starred),
                             "aria-label": t("takes.star"), title: t("takes.star"), onclick: async () => {
    take.starred = !take.starred;
    await putTake(take);
    room.redraw();
  }}, take.starred ? "★" : "☆");
  const pick = el("button", {type: "button", class: "quiet pick", "aria-current": take === current ? "true" : null,
                             onclick: () => room.pick(take)}, `#${take.id} · ${when} · ${take.premise}`);
  return el("div", {class: take === current ? "take is-current" : "take"}, star, pick,
            current && take !== current ? action("takes.compare", () => compare(current, take)) : "", files(take),
            action("takes.remove", async () => {
              if (room.isBusy(take)) return;
              await removeTake(take.id);
              await room.remove(take);
            }));
}

// The takes that came of `parent`. One after the other stays at one level; only where they part does the list branch.
function branch(children, parent, current) {
  const items = [];
  for (let take of children.get(parent) ?? []) {
    let below;
    for (;; take = below[0]) {
      items.push(el("li", {}, row(take, current)));
      below = children.get(take.id) ?? [];
      if (below.length !== 1) break;
    }
    if (below.length > 1) items.push(el("li", {}, el("ul", {class: "branch"}, ...branch(children, take.id, current))));
  }
  return items;
}

/** @param {Take[]} takes @param {Take | null} current */
export function drawTakes(takes, current) {
  all = takes;
  $("takes-all").hidden = takes.length === 0;
  const ids = new Set(takes.map(({id}) => id));
  const children = new Map();
  for (const take of takes) {
    const parent = ids.has(take.parent) ? take.parent : null;
    children.set(parent, [...(children.get(parent) ?? []), take]);
  }
  $("takes-none").hidden = takes.length > 0;
  children.get(null)?.reverse();
  $("takes").replaceChildren(...branch(children, null, current));
}

async function importFiles(list) {
  for (const file of list) {
    try {
      if (file.size > kMostFile) throw new Error(t("takes.none_in_file", {name: file.name}));
      for (const take of await readTakes(file)) {
        await putTake(take);
        room.add(take);
      }
      note($("takes-note"), "");
    } catch (error) {
      note($("takes-note"), error.message, true);
    }
  }
}

/** @param {typeof room} of what the list asks for: to show a take, to take in a new one, to forget one */
export function startTakes(of) {
  room = of;
  $("takes-file").addEventListener("change", async () => {
    await importFiles($("takes-file").files);
    $("takes-file").value = "";
  });
  $("takes-all").addEventListener("click", () => {
    download("takes.json", "application/json", JSON.stringify(all.map(plain), null, 2));
  });
  $("compare-close").addEventListener("click", () => $("compare").close());
}
