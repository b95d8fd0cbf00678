// What the data doctor says of a job's data: how much there is, how long it is, what is learned, what is odd.
import {bars} from "./charts.js";
import {el} from "./dom.js";
import {count, percent, t} from "./i18n.js";

/** @typedef {{training: object, validation: object, checks: object[], shown: {text: string, learned: boolean}[],
 *             verdict: string}} Report  as `chorus tune --check --json` prints it */

const kHeight = 46;

const isFine = ({verdict}) => verdict === "fine";

function finding({name, text, places, verdict}) {
  return el("li", {class: verdict === "fine" ? "" : "bad"}, el("b", {}, `${name}: `), text,
            places.length > 0 ? el("span", {class: "muted"}, ` (${places.join("; ")})`) : "");
}

function lengths({lengths: buckets}) {
  const chart = el("div", {class: "lengths"});
  bars(chart, buckets.map(({count: sequences}) => sequences || null), {length: buckets.length, height: kHeight});
  const ends = buckets.length > 0 ? `${count(buckets[0].from)} – ${count(buckets.at(-1).to - 1)}` : "";
  return el("figure", {class: "figure"}, el("figcaption", {}, t("tune.lengths"), " ", el("span", {class: "muted"}, ends)), chart);
}

/** A report, folded up unless something is odd. @param {Report} report @param {boolean} open @param {(open: boolean) => void} onToggle */
export function reportNode(report, open, onToggle) {
  const {training, validation, checks, shown} = report;
  const summary = t("tune.data", {sequences: count(training.sequences), held: count(validation.sequences), tokens: count(training.tokens),
                                  share: percent(training.tokens ? training.learned / training.tokens : 0)});
  return el("details", {class: "doctor", open: open ?? !checks.every(isFine), ontoggle: (event) => onToggle(event.target.open)},
    el("summary", {}, summary),
    el("ul", {class: "note"}, ...checks.map(finding)),
    lengths(training),
    shown.length > 0 ? el("p", {class: "muted small"}, t("tune.shown")) : "",
    el("p", {class: "shown", dir: "auto"}, ...shown.map(({text, learned}) => (learned ? el("mark", {}, text) : text))));
}
