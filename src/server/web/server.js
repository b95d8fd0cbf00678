// The server's room: what it does, as it does it. The numbers are those of /metrics.
import {stackChart} from "./charts.js";
import {$, el, paint} from "./dom.js";
import {bytes, count, duration, percent, rate, t} from "./i18n.js";
import {meanOf, total} from "./metrics.js";
import {state} from "./state.js";

const kCharts = [["running", "live.running"], ["waiting", "live.waiting"], ["rows", "meter.rows"]];

const share = (part, whole) => (whole > 0 ? percent(part / whole) : "–");

function drawTiles(families, history) {
  const tiles = [
    ["live.running", count(total(families, "vllm:num_requests_running"))],
    ["live.waiting", count(total(families, "vllm:num_requests_waiting"))],
    ["meter.rows", rate(history.course("rows").at(-1) ?? 0)],
    ["live.rate", rate(history.totals().at(-1) ?? 0)],
    ["live.kv", percent(total(families, "vllm:kv_cache_usage_perc"))],
    ["server.cached", share(total(families, "vllm:prefix_cache_hits_total"), total(families, "vllm:prefix_cache_queries_total"))],
    ["server.preempted", count(total(families, "vllm:num_preemptions_total"))],
    ["server.memory", bytes(total(families, "process_resident_memory_bytes"))],
  ];
  $("server-tiles").replaceChildren(...tiles.map(([key, value]) => el("div", {}, el("dt", {}, t(key)), el("dd", {}, value))));
}

function drawCharts(history) {
  const charts = $("server-charts");
  if (charts.children.length === 0) {
    for (const [name, key] of kCharts) {
      charts.append(el("figure", {class: "figure"}, el("figcaption", {"data-i18n": key}, t(key)), el("div", {class: "stack", id: `server-${name}`})));
    }
  }
  for (const [name, key] of kCharts) {
    const values = history.course(name);
    stackChart($(`server-${name}`), [{name: "", isBase: true, values}], {
      length: history.length, height: 120,
      label: t("server.chart", {what: t(key), now: rate(values.at(-1) ?? 0), top: rate(Math.max(0, ...values))}),
    });
  }
}

function whereIs(name, adapter) {
  if (adapter) return t(`residency.${adapter.residency}`);
  return name.includes("@") ? t("server.mix") : t("server.gone");
}

function drawVoices(families, history) {
  const by = (name) => new Map((families.get(name) ?? []).map(({labels, value}) => [labels.adapter, value]));
  const tokens = by("chorus:adapter_generation_tokens_total"), prompts = by("chorus:adapter_prompt_tokens_total");
  const residency = new Map(state.adapters.map((adapter) => [adapter.name, adapter]));
  const names = [...new Set([state.base, ...residency.keys(), ...tokens.keys()])].filter(Boolean);
  const cell = (text) => el("td", {class: "figure-cell"}, text);
  const mean = (key, name) => {
    const value = meanOf(families, key, name);
    return value === null ? "–" : duration(value);
  };
  $("server-voices").replaceChildren(...names.map((name) => {
    const adapter = residency.get(name);
    const row = el("tr", {}, el("th", {scope: "row"}, el("i", {class: "dot", "aria-hidden": "true"}), el("span", {}, name)),
                   el("td", {}, name === state.base ? t("adapters.base") : whereIs(name, adapter)),
                   cell(adapter?.rank ? String(adapter.rank) : "–"), cell(adapter?.bytes ? bytes(adapter.bytes) : "–"),
                   cell(count(prompts.get(name) ?? 0)), cell(count(tokens.get(name) ?? 0)), cell(rate(history.rates(name).at(-1) ?? 0)),
                   cell(mean("ttft", name)), cell(mean("between", name)), cell(mean("queued", name)));
    paint(row, name, name === state.base);
    return row;
  }));
}

/** @param {Map<string, {labels: object, value: number}[]>} families of the last scrape
 *  @param {import("./metrics.js").History} history */
export function drawServer(families, history) {
  drawTiles(families, history);
  drawCharts(history);
  drawVoices(families, history);
}
