// The adapters: what the server has of them, and loading, unloading and pinning where it allows that.
import * as api from "./api.js";
import {$, copyText, el, note, paint} from "./dom.js";
import {bytes, count, duration, onLanguage, t} from "./i18n.js";
import {blend, choose} from "./mix.js";
import {changeState, onState, servable, setStrength, state, strengthOf} from "./state.js";
import {startUpload} from "./upload.js";

const kPollMs = 3000;
const kDragged = "text/x-chorus-voice";

const cards = new Map();  // by name; "" is the base
let mayManage = true;
let startChat = () => {};

/** Asks the server what it has. Throws ApiError. */
export async function refresh() {
  const models = await api.getModels();
  const base = models.find((model) => !model.parent);
  let list;
  try {
    list = await api.getAdapters();
  } catch (error) {
    if (![401, 403, 404].includes(error.status)) throw error;
    // A key that may chat but not look deeper: the models' names are enough.
    mayManage = false;
    list = {data: models.filter((model) => model.parent).map(({id}) => ({name: id, residency: "ready"}))};
  }
  const adapters = list.data.map((adapter) => ({...adapter, id: adapter.id ?? "", error: adapter.error ?? ""}));
  changeState({base: base?.id ?? "", root: base?.root ?? "", adapters, residentBytes: list.resident_bytes ?? 0,
               budgetBytes: list.memory_bytes ?? 0});
}

// Runs one change and shows how it went. A key that may not do this hides the controls.
async function manage(change, done) {
  try {
    await change();
    note($("adapters-note"), done);
  } catch (error) {
    if (error.status === 401 || error.status === 403) mayManage = false;
    note($("adapters-note"), mayManage ? error.message : t("adapters.denied"), true);
  }
  await refresh().catch(() => {});
}

function makeCard(name) {
  const isBase = name === "";
  const title = el("h3");
  const badge = el("span", {class: "badge"});
  const facts = el("p", {class: "facts muted"});
  const hash = el("button", {type: "button", class: "hash", onclick: async () => {
    await copyText(hash.dataset.id);
    note($("adapters-note"), t("adapters.copied"));
  }});
  const error = el("p", {class: "note bad"});
  const find = () => state.adapters.find((adapter) => adapter.name === name);
  const chat = el("button", {type: "button", onclick: () => {
    choose(name);
    startChat();
  }});
  const pin = el("button", {type: "button", class: "quiet", onclick: () => {
    const pinned = !find().pinned;
    manage(() => api.pinAdapter(name, pinned), "");
  }});
  const load = el("button", {type: "button", class: "quiet", onclick: () => {
    const {path} = find();
    manage(() => api.loadAdapter(name, path, true), t("adapters.loaded", {name}));
  }});
  const unload = el("button", {type: "button", class: "quiet", onclick: () => {
    manage(() => api.unloadAdapter(name), t("adapters.unloaded", {name}));
  }});
  const strength = el("input", {type: "range", min: "0", max: "2", step: "0.05", value: strengthOf(name), oninput: () => {
    setStrength(name, strength.valueAsNumber);
    scale.textContent = strength.valueAsNumber;
  }});
  const scale = el("output", {}, strengthOf(name));
  const strengths = el("div", {class: "strength", hidden: isBase}, strength, scale, hash);
  const head = el("div", {class: "card-head"}, title, badge);
  const item = el("li", {class: "card"}, head, facts, error, strengths,
                  el("div", {class: "row actions"}, chat, pin, load, unload));
  paint(item, name, isBase);
  if (!isBase) startDrag(item, head, name);
  return {item, head, title, badge, facts, hash, error, chat, pin, load, unload, strength, strengths};
}

// One card that is dropped on another: a mix of the two.
function startDrag(item, head, name) {
  head.draggable = true;
  head.addEventListener("dragstart", (event) => {
    event.dataTransfer.setData(kDragged, name);
    event.dataTransfer.effectAllowed = "link";
  });
  const isVoice = (event) => event.dataTransfer.types.includes(kDragged);
  item.addEventListener("dragover", (event) => {
    if (!isVoice(event)) return;
    event.preventDefault();
    item.classList.add("is-target");
  });
  item.addEventListener("dragleave", () => item.classList.remove("is-target"));
  item.addEventListener("drop", (event) => {
    item.classList.remove("is-target");
    const other = event.dataTransfer.getData(kDragged);
    if (!isVoice(event)) return;
    event.preventDefault();
    if (other === name) return;
    blend(other, name);
    startChat();
  });
}

function drawBase(card) {
  card.title.textContent = state.base;
  card.badge.textContent = t("adapters.base");
  card.chat.textContent = t("adapters.chat");
  card.chat.setAttribute("aria-label", t("adapters.chat_with", {name: state.base}));
  for (const part of ["facts", "hash", "error", "pin", "load", "unload"]) card[part].hidden = true;
}

function factsOf(adapter) {
  const facts = [];
  if (adapter.rank) facts.push(t("adapters.rank", {rank: adapter.rank}), t(`form.${adapter.form}`));
  if (adapter.bytes) facts.push(bytes(adapter.bytes));
  if (adapter.id && !adapter.error) facts.push(t("adapters.fits"));
  return facts;
}

function drawCard(card, adapter) {
  const {name, residency} = adapter;
  card.item.dataset.residency = residency;
  card.title.textContent = name;
  card.badge.textContent =
      adapter.users ? t("adapters.users", {count: count(adapter.users)}) : t(`residency.${residency}`);
  card.facts.replaceChildren(...factsOf(adapter).map((fact) => el("span", {}, fact)));
  card.hash.hidden = !adapter.id;
  card.hash.dataset.id = adapter.id;
  card.hash.textContent = adapter.id.slice(0, 7);
  card.hash.title = adapter.id;
  card.hash.setAttribute("aria-label", t("adapters.hash", {id: adapter.id.slice(0, 8)}));
  note(card.error, adapter.error, true);
  const button = (element, key, label, shown) => {
    element.textContent = t(key);
    element.setAttribute("aria-label", t(label, {name}));
    element.hidden = !shown;
  };
  card.head.title = t("adapters.drag");
  card.strength.setAttribute("aria-label", t("mix.scale", {name}));
  card.strengths.hidden = !servable().includes(adapter);
  const there = residency === "ready";
  const stored = there || residency === "on_disk";
  button(card.chat, "adapters.chat", "adapters.chat_with", servable().includes(adapter));
  button(card.pin, "adapters.pin", "adapters.pin_name", mayManage && stored);  // loads it, from disk
  card.pin.setAttribute("aria-pressed", String(Boolean(adapter.pinned)));
  button(card.load, "adapters.load", "adapters.load_name",
         mayManage && adapter.path && residency === "failed");
  button(card.unload, "adapters.unload", "adapters.unload_name", mayManage && stored);
  const origin = [adapter.path];
  if (adapter.watched) origin.push(t("adapters.watched"));
  if (adapter.load_seconds) origin.push(t("adapters.took", {time: duration(adapter.load_seconds)}));
  card.title.title = origin.filter(Boolean).join("\n");
}

function draw() {
  const names = ["", ...state.adapters.map(({name}) => name)];
  for (const [name, card] of cards) {
    if (names.includes(name)) continue;
    card.item.remove();
    cards.delete(name);
  }
  names.forEach((name, index) => {
    if (!cards.has(name)) cards.set(name, makeCard(name));
    const card = cards.get(name);
    if ($("cards").children[index] !== card.item) {
      $("cards").insertBefore(card.item, $("cards").children[index] ?? null);
    }
    if (index === 0) drawBase(card);
    else drawCard(card, state.adapters[index - 1]);
  });
  $("adapters-sum").textContent = t(state.budgetBytes ? "adapters.sum_of" : "adapters.sum", {
    count: count(state.adapters.length),
    bytes: bytes(state.residentBytes),
    budget: bytes(state.budgetBytes),
  });
  document.querySelector(".load").hidden = !mayManage;
  $("adapters-none").hidden = state.base === "" || state.adapters.length > 0 || !mayManage;
}

function startLoadForm() {
  const result = $("load-result");
  const run = async (busy, work) => {
    note(result, t(busy));
    try {
      note(result, await work());
    } catch (error) {
      note(result, [401, 403].includes(error.status) ? t("adapters.denied") : error.message, true);
    }
    await refresh().catch(() => {});
  };
  $("load-check").addEventListener("click", () => {
    if (!$("load-path").reportValidity()) return;
    run("load.checking", async () => {
      const found = await api.validateAdapter($("load-path").value.trim());
      if (!found.valid) throw new Error(found.error);
      return t("load.fits", {rank: found.rank ?? "?", bytes: bytes(found.bytes ?? 0)});
    });
  });
  $("load-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("load-name").value.trim();
    run("load.loading", async () => {
      await api.loadAdapter(name, $("load-path").value.trim());
      return t("adapters.loaded", {name});
    });
  });
}

/** `onChat` is called when a card's voice has been chosen. */
export function startAdapters(onChat) {
  startChat = onChat;
  startLoadForm();
  startUpload(() => refresh().catch(() => {}));
  onState(draw);
  onLanguage(draw);
  setInterval(() => {
    if (!document.hidden && state.base) refresh().catch(() => {});
  }, kPollMs);
}

/** Another key may be allowed more. */
export function forgetDenial() {
  mayManage = true;
  note($("adapters-note"), "");
}
