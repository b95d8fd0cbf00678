// The live panel: /metrics once a second, as numbers and small charts.
import * as api from "./api.js";
import {bars, shareBar, sparkline, stackChart} from "./charts.js";
import {$, el, paint} from "./dom.js";
import {bytes, count, duration, onLanguage, percent, rate, t} from "./i18n.js";
import {History, parseMetrics} from "./metrics.js";
import {drawServer} from "./server.js";
import {servable, state} from "./state.js";

const kPollMs = 1000;
const kLength = 120;    // scrapes in a chart
const kMaxVoices = 12;  // rows of the table, and layers of the chart with a colour of their own
const kRowLength = 60;

const history = new History(kLength);
const rows = new Map();
let families = new Map();

const gauge = (name) => families.get(name)?.[0]?.value ?? 0;
const pages = (kind) => families.get("chorus:kv_pages")?.find(({labels}) => labels.state === kind)?.value ?? 0;

function drawTiles() {
  $("tile-rate").textContent = rate(history.totals().at(-1) ?? 0);
  $("tile-running").textContent = count(gauge("vllm:num_requests_running"));
  $("tile-waiting").textContent = count(gauge("vllm:num_requests_waiting"));
  $("tile-kv").textContent = percent(gauge("vllm:kv_cache_usage_perc"));
  const kinds = ["used", "cached", "free"];
  $("kv-text").textContent =
      t("live.pages_text", Object.fromEntries(kinds.map((kind) => [kind, count(pages(kind))])));
  shareBar($("kv"), kinds.map((kind) => ({kind, value: pages(kind)})));
  const resident = gauge("process_resident_memory_bytes");
  $("live-note").textContent = resident ? t("live.memory", {bytes: bytes(resident)}) : "";
}

function drawStack(names) {
  const totals = history.totals();
  const top = Math.max(...totals, 0);
  $("stack-top").textContent = top > 0 ? t("live.top", {rate: rate(top)}) : "";
  stackChart($("stack"), names.map((name) => ({name, isBase: name === state.base, values: history.rates(name)})), {
    length: kLength,
    height: Math.min(220, Math.max(120, Math.round($("stack").clientWidth * 0.42))),
    label: t("live.chart", {seconds: kLength * kPollMs / 1000, rate: rate(totals.at(-1) ?? 0), top: rate(top)}),
  });
}

function makeRow(name) {
  const rateChart = el("td", {class: "chart"}), ttftChart = el("td", {class: "chart"});
  const rateNow = el("td", {class: "figure-cell"}), ttftNow = el("td", {class: "figure-cell"});
  const row = el("tr", {}, el("th", {scope: "row"}, el("i", {class: "dot", "aria-hidden": "true"}), el("span", {}, name)),
                 rateChart, rateNow, ttftChart, ttftNow);
  paint(row, name, name === state.base);
  return {row, rateChart, rateNow, ttftChart, ttftNow};
}

function drawVoices(names) {
  for (const [name, {row}] of rows) {
    if (names.includes(name)) continue;
    row.remove();
    rows.delete(name);
  }
  names.forEach((name, index) => {
    if (!rows.has(name)) rows.set(name, makeRow(name));
    const {row, rateChart, rateNow, ttftChart, ttftNow} = rows.get(name);
    if ($("voices").children[index] !== row) $("voices").insertBefore(row, $("voices").children[index] ?? null);
    const rates = history.rates(name), ttft = history.ttft(name);
    const last = ttft.findLast((value) => value !== null);
    sparkline(rateChart, rates.slice(-kRowLength), {length: kRowLength, height: 22});
    bars(ttftChart, ttft.slice(-kRowLength), {length: kRowLength, height: 22});
    rateNow.textContent = rate(rates.at(-1));
    ttftNow.textContent = last === undefined ? "–" : duration(last);
  });
  document.querySelector(".by-voice").hidden = names.length === 0;
  $("voices-none").hidden = history.voices().length > 0;
}

function draw() {
  if (document.body.dataset.room === "server") drawServer(families, history);
  // The busiest and then the idle, in the order of their names: neither rows nor layers change places.
  const busy = history.voices();
  const idle = [state.base, ...servable().map(({name}) => name)].filter((name) => name && !busy.includes(name));
  const names = [...busy, ...idle].slice(0, kMaxVoices).sort((a, b) => a.localeCompare(b));
  drawTiles();
  drawStack(names);
  drawVoices(names);
}

async function poll(onResult) {
  if (document.hidden) return;
  try {
    families = parseMetrics(await api.getMetrics());
    history.add(families, performance.now() / 1000);
    draw();
    onResult(null);
  } catch (error) {
    if (error.status === 401 || error.status === 403) $("live-note").textContent = t("live.denied");
    onResult(error);
  }
}

/** `onResult` hears of every scrape: null, or the ApiError. */
export function startMonitor(onResult) {
  const next = async () => {
    await poll(onResult);
    setTimeout(next, kPollMs);
  };
  onLanguage(draw);
  new ResizeObserver(draw).observe($("stack"));
  next();
}
