// The rooms, of which one is seen: on a wide screen between the panels at its sides, on a narrow one in their turn.
import {$, el} from "./dom.js";
import {onLanguage, t} from "./i18n.js";

const kRooms = ["story", "npc", "copy", "summary", "tune", "chat", "server"];
const kKept = "chorus.room";

const buttons = new Map();
let entered = () => {};

const current = () => document.body.dataset.room;

function draw() {
  for (const [name, button] of buttons) {
    button.textContent = t(`${name}.title`);
    button.setAttribute("aria-current", String(name === current()));
  }
  $("view-room").textContent = t(`${current()}.title`);
}

/** @param {"adapters" | "room" | "live"} view  what a narrow screen shows */
function showView(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll(".views button")) {
    button.setAttribute("aria-current", String(button.dataset.view === view));
  }
}

/** Shows one of the rooms. */
export function showRoom(name) {
  document.body.dataset.room = name;
  localStorage.setItem(kKept, name);
  for (const room of kRooms) $(room).hidden = room !== name;
  showView("room");
  draw();
  entered(name);
}

/** `onEnter` hears of each room that comes into sight. */
export function startRooms(onEnter) {
  entered = onEnter;
  for (const name of kRooms) {
    buttons.set(name, el("button", {type: "button", class: "quiet", "data-room": name, onclick: () => showRoom(name)}));
  }
  $("rooms").append(...buttons.values());
  for (const button of document.querySelectorAll(".views button")) {
    button.addEventListener("click", () => showView(button.dataset.view));
  }
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $(current()).focus();
  });
  const kept = localStorage.getItem(kKept);
  showRoom(kRooms.includes(kept) ? kept : kRooms[0]);
  onLanguage(draw);
}
