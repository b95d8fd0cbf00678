// Puts the page together: the bar at the top, the views of a narrow screen, and the connection's state.
import {forgetDenial, refresh, startAdapters} from "./adapters.js";
import * as api from "./api.js";
import {startChat} from "./chat.js";
import {startCopy} from "./copy.js";
import {$} from "./dom.js";
import {onLanguage, switchLanguage, t, translate} from "./i18n.js";
import {lookAtEngine} from "./image.js";
import {startMix} from "./mix.js";
import {startMonitor} from "./monitor.js";
import {startNpc} from "./npc.js";
import {showRoom, startRooms} from "./rooms.js";
import {startRunners} from "./runner.js";
import {onState, state} from "./state.js";
import {startStory} from "./story.js";
import {startSummary} from "./summary.js";
import {showTune, startTune} from "./tune.js";

const kThemes = ["auto", "light", "dark"];
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

// A key that may not see the metrics may well chat: only no answer at all is a lost connection. A server that was
// started again answers 503 while it loads.
async function onScrape(error) {
  if (error?.status === 0) setStatus("lost");
  else if (status !== "ready" || error?.status === 503) await connect();
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
    connect().then(lookAtEngine);
  });
}

// Where the chosen voice answers.
function talk() {
  showRoom("chat");
  $("prompt").focus();
}

translate(document);
startTheme();
startLanguage();
startKey();
startMix();
startAdapters(talk);
startRunners();
startChat();
startStory();
startNpc();
startCopy();
startSummary();
startTune(talk);
startRooms((room) => {
  if (room === "tune") showTune();
  if (room === "story") lookAtEngine();
});
onState(drawStatus);
connect();
startMonitor(onScrape);
