// What /metrics says, as numbers and as their course over the last minutes.

const kMeans = {  // of a voice, as sums and counts
  ttft: "chorus:adapter_time_to_first_token_seconds",
  between: "chorus:adapter_inter_token_latency_seconds",
  queued: "chorus:adapter_queue_time_seconds",
};
const kWanted = new Set([
  "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:num_preemptions_total",
  "vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total",
  "chorus:kv_pages", "chorus:adapter_generation_tokens_total", "chorus:adapter_prompt_tokens_total", "chorus:adapter_requests_total",
  "chorus:engine_steps_total", "chorus:engine_rows_total", "process_resident_memory_bytes",
  ...Object.values(kMeans).flatMap((name) => [`${name}_sum`, `${name}_count`]),
]);

const unescape = (text) => text.replace(/\\(.)/g, (whole, c) => (c === "n" ? "\n" : c));

/** Prometheus' text format -> name -> [{labels, value}], of the names the page shows. */
export function parseMetrics(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const end = line.search(/[{ ]/);
    const name = line.slice(0, end);
    if (!kWanted.has(name)) continue;
    const space = line.lastIndexOf(" ");
    const labels = {};
    for (const [, key, value] of line.slice(end, space).matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[key] = unescape(value);
    }
    if (!families.has(name)) families.set(name, []);
    families.get(name).push({labels, value: Number(line.slice(space))});
  }
  return families;
}

/** The sum of a family's series. */
export const total = (families, name) => (families.get(name) ?? []).reduce((sum, {value}) => sum + value, 0);

/** A voice's mean since the server began, in seconds, by one of kMeans' keys; null where there was nothing. */
export function meanOf(families, key, adapter) {
  const of = (part) => (families.get(`${kMeans[key]}_${part}`) ?? []).find(({labels}) => labels.adapter === adapter)?.value ?? 0;
  return of("count") > 0 ? of("sum") / of("count") : null;
}

/** What happened between two scrapes.
 *  @typedef {{rates: Map<string, number>, ttft: Map<string, number>, running: number, waiting: number, rows: number}} Sample
 *  `rows` is the mean of the steps', 0 where there was none. */

export class History {
  /** @param {number} length scrapes to remember */
  constructor(length) {
    this.length = length;
    /** @type {Sample[]} oldest first */
    this.samples = [];
    this.before = null;
  }

  /** Takes a scrape at `time`, in seconds. */
  add(families, time) {
    const by = (name) => new Map((families.get(name) ?? []).map(({labels, value}) => [labels.adapter, value]));
    const now = {
      time,
      tokens: by("chorus:adapter_generation_tokens_total"),
      sum: by(`${kMeans.ttft}_sum`),
      count: by(`${kMeans.ttft}_count`),
      steps: total(families, "chorus:engine_steps_total"),
      rows: total(families, "chorus:engine_rows_total"),
    };
    const before = this.before;
    this.before = now;
    if (!before || time <= before.time) return;
    // A counter that fell belongs to a server that was started anew.
    const grown = (key, name) => {
      const from = before[key].get(name) ?? 0, to = now[key].get(name);
      return to >= from ? to - from : to;
    };
    const sample = {
      rates: new Map(),
      ttft: new Map(),
      running: total(families, "vllm:num_requests_running"),
      waiting: total(families, "vllm:num_requests_waiting"),
      rows: now.steps > before.steps ? (now.rows - before.rows) / (now.steps - before.steps) : 0,
    };
    for (const name of now.tokens.keys()) {
      const tokens = grown("tokens", name);
      if (tokens > 0) sample.rates.set(name, tokens / (time - before.time));
      const firsts = grown("count", name);
      if (firsts > 0) sample.ttft.set(name, grown("sum", name) / firsts);
    }
    this.samples.push(sample);
    if (this.samples.length > this.length) this.samples.shift();
  }

  /** Tokens per second of all, by scrape. */
  totals() {
    return this.samples.map(({rates}) => [...rates.values()].reduce((sum, rate) => sum + rate, 0));
  }

  /** Names that generated anything in the time remembered, the busiest first. */
  voices() {
    const sums = new Map();
    for (const {rates} of this.samples) {
      for (const [name, rate] of rates) sums.set(name, (sums.get(name) ?? 0) + rate);
    }
    return [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a) || a.localeCompare(b));
  }

  rates(name) {
    return this.samples.map(({rates}) => rates.get(name) ?? 0);
  }

  /** Of every sample: "running", "waiting" or "rows". */
  course(key) {
    return this.samples.map((sample) => sample[key]);
  }

  /** Seconds to the first token, null where no request began to answer. */
  ttft(name) {
    return this.samples.map(({ttft}) => ttft.get(name) ?? null);
  }
}
