// Puts the page together: the bar at the top, the views of a narrow screen, and the connection's state.
import {forgetDenial, refresh, startAdapters} from "./adapters.js";
import * as api from "./api.js";
import {startChat} from "./chat.js";
import {$} from "./dom.js";
import {onLanguage, switchLanguage, t, translate} from "./i18n.js";
import {startMix} from "./mix.js";
import {startMonitor} from "./monitor.js";
import {onState, state} from "./state.js";
import {startStory} from "./story.js";
import {showTune, startTune} from "./tune.js";

const kThemes = ["auto", "light", "dark"];
const kRooms = ["story", "tune", "chat"];  // of which one is seen, on a wide screen between the panels at its sides
const root = document.documentElement;

let status = "connecting";

function drawStatus() {
  const text = t(`status.${status}`);
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").dataset.status = status;
  $("base").textContent = state.base;
  document.title = state.base ? `Chorus · ${state.base}` : "Chorus";
}

function setStatus(value) {
  status = value;
  drawStatus();
}

function show(view) {
  document.body.dataset.view = view;
  if (kRooms.includes(view)) {
    document.body.dataset.room = view;
    localStorage.setItem("chorus.room", view);
  }
  if (view === "tune") showTune();
  for (const button of document.querySelectorAll(".rooms button")) {
    button.setAttribute("aria-current", String(button.dataset.room === document.body.dataset.room));
  }
  for (const button of document.querySelectorAll(".views button")) {
    button.setAttribute("aria-current", String(button.dataset.view === view));
  }
}

// Until the server has told what it serves; then every scrape of the metrics says whether it is still there.
async function connect() {
  try {
    await refresh();
    setStatus("ready");
  } catch (error) {
    setStatus(error.status === 401 ? "key" : await api.readiness());
    if (error.status === 401 && !$("key-dialog").open && !api.apiKey()) $("key-dialog").showModal();
  }
}

// A key that may not see the metrics may well chat: only no answer at all is a lost connection.
async function onScrape(error) {
  if (error?.status === 0) setStatus("lost");
  else if (status !== "ready") await connect();
}

function startTheme() {
  const draw = () => {
    const label = t(`theme.${root.dataset.theme ?? "auto"}`);
    $("theme-button").setAttribute("aria-label", label);
    $("theme-button").title = label;
  };
  $("theme-button").addEventListener("click", () => {
    const next = kThemes[(kThemes.indexOf(root.dataset.theme ?? "auto") + 1) % kThemes.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    localStorage.setItem("chorus.theme", next);
    draw();
  });
  onLanguage(draw);
}

function startLanguage() {
  $("language-button").addEventListener("click", switchLanguage);
  onLanguage(() => {
    $("language-button").textContent = t("language.other");
    $("language-button").setAttribute("aria-label", t("language.switch"));
    $("language-button").lang = root.lang === "en" ? "zh-Hant" : "en";
    $("key-button").setAttribute("aria-label", t("key.button"));
    drawStatus();
  });
}

function startKey() {
  $("key-button").addEventListener("click", () => {
    $("key").value = api.apiKey();
    $("key-dialog").showModal();
  });
  $("key-forget").addEventListener("click", () => {
    $("key").value = "";
    $("key-form").requestSubmit();
  });
  $("key-form").addEventListener("submit", () => {
    api.setApiKey($("key").value.trim());
    forgetDenial();
    connect();
  });
}

translate(document);
startTheme();
startLanguage();
startKey();
startMix();
startAdapters(() => {
  show("chat");
  $("prompt").focus();
});
startChat();
startStory();
startTune(() => {
  show("chat");
  $("prompt").focus();
});
for (const button of document.querySelectorAll(".rooms button")) {
  button.addEventListener("click", () => show(button.dataset.room));
}
for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => show(button.dataset.view));
}
show(kRooms.includes(localStorage.getItem("chorus.room")) ? localStorage.getItem("chorus.room") : "chat");
onState(drawStatus);
connect();
startMonitor(onScrape);
