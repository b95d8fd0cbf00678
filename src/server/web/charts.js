// Small charts in SVG, drawn once a second: the page shares its machine with the model, so nothing is animated.
// Each of them is drawn anew into an element; `length` is how many values its width stands for, the newest at
// the right.
import {paint, svg} from "./dom.js";

const kWidthUntold = 300;

/** The next round number (of one digit, or 1.5, times a power of ten) at or above `value`. */
export function niceAbove(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value * 0.9999) * power;
}

const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

// An element that is not laid out (folded, or not in the page yet) has no width: its drawing is stretched to it later.
function frame(element, height, label) {
  const width = element.clientWidth || kWidthUntold;
  const drawing = svg("svg", {viewBox: `0 0 ${width} ${height}`, width: element.clientWidth || "100%", height, preserveAspectRatio: "none"});
  if (label) {
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", label);
  } else {
    drawing.setAttribute("aria-hidden", "true");
  }
  return {drawing, width};
}

// Calls draw(from, to) for each run of indices that `has` holds for.
function eachRun(length, has, draw) {
  for (let from = 0; from < length; ++from) {
    if (!has(from)) continue;
    let to = from;
    while (to + 1 < length && has(to + 1)) ++to;
    draw(from, to);
    from = to;
  }
}

/** Layers upon each other. @param {{name: string, isBase: boolean, values: number[]}[]} layers lowest first */
export function stackChart(element, layers, {length, height, label}) {
  const {drawing, width} = frame(element, height, label);
  const samples = layers[0]?.values.length ?? 0;
  const sums = Array(samples).fill(0);
  for (const {values} of layers) values.forEach((value, i) => { sums[i] += value; });
  const top = niceAbove(Math.max(...sums, 1) * 1.05);
  const right = width - 34, floor = height - 4;
  const x = (i) => right * (1 - (samples - 1 - i) / (length - 1));
  const y = (value) => floor - (value / top) * (floor - 8);
  for (const share of [0, 0.5, 1]) {
    const line = Math.round(y(top * share)) + 0.5;
    drawing.append(svg("line", {class: "grid", x1: 0, x2: right, y1: line, y2: line}),
                   svg("text", {class: "tick", x: right + 6, y: line + 3.5}, String(Number((top * share).toPrecision(3)))));
  }
  const below = Array(samples).fill(0);
  for (const {name, isBase, values} of layers) {
    const group = svg("g", {class: "layer"});
    paint(group, name, isBase);
    const above = below.map((value, i) => value + values[i]);
    // From the sample before to the one after, so that a layer rises from nothing and falls to it.
    eachRun(samples, (i) => values[i] > 0 || values[i - 1] > 0 || values[i + 1] > 0, (from, to) => {
      const upper = [], lower = [];
      for (let i = from; i <= to; ++i) {
        upper.push(at(x(i), y(above[i])));
        lower.unshift(at(x(i), y(below[i])));
      }
      group.append(svg("path", {class: "area", d: `M${upper.join("L")}L${lower.join("L")}Z`}),
                   svg("path", {class: "line", d: `M${upper.join("L")}`}));
    });
    drawing.append(group);
    above.forEach((value, i) => { below[i] = value; });
  }
  element.replaceChildren(drawing);
}

/** A thin line of points by their x, and marks on a thick one. @param {{line: {x, y}[], points: {x, y}[]}} data */
export function lineChart(element, {line, points}, {height, label}) {
  const {drawing, width} = frame(element, height, label);
  const all = [...line, ...points], ys = all.map(({y}) => y);
  const low = Math.min(...ys), top = Math.max(...ys, low + 1e-6), last = Math.max(...all.map(({x}) => x), 1);
  const right = width - 40, floor = height - 6;
  const place = ({x, y}) => [(x / last) * right, floor - ((y - low) / (top - low)) * (floor - 8)];
  const path = (of) => `M${of.map((point) => at(...place(point))).join("L")}`;
  for (const y of [low, (low + top) / 2, top]) {
    const [, height] = place({x: 0, y});
    const at = Math.round(height) + 0.5;
    drawing.append(svg("line", {class: "grid", x1: 0, x2: right, y1: at, y2: at}),
                   svg("text", {class: "tick", x: right + 6, y: at + 3.5}, y.toFixed(2)));
  }
  drawing.append(svg("path", {class: "line faint", d: path(line)}));
  if (points.length > 1) drawing.append(svg("path", {class: "line strong", d: path(points)}));
  for (const point of points) {
    const [cx, cy] = place(point);
    drawing.append(svg("circle", {class: "bar-mark", cx: cx.toFixed(1), cy: cy.toFixed(1), r: 3.5}));
  }
  element.replaceChildren(drawing);
}

/** A line over a soft area. */
export function sparkline(element, values, {length, height}) {
  const {drawing, width} = frame(element, height);
  const top = Math.max(...values, 1e-9);
  const x = (i) => (width - 2) * (1 - (values.length - 1 - i) / (length - 1));
  const points = values.map((value, i) => at(x(i), height - 1.5 - (value / top) * (height - 4)));
  if (points.length > 1) {
    drawing.append(svg("path", {class: "area", d: `M${at(x(0), height - 1)}L${points.join("L")}L${
                       at(x(points.length - 1), height - 1)}Z`}),
                   svg("path", {class: "line", d: `M${points.join("L")}`}));
  }
  element.replaceChildren(drawing);
}

/** A bar for each value that is there; null draws nothing. */
export function bars(element, values, {length, height}) {
  const {drawing, width} = frame(element, height);
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
  const step = width / length;
  drawing.append(svg("line", {class: "grid", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5}));
  values.forEach((value, i) => {
    if (value === null) return;
    const size = Math.max(2, (value / top) * (height - 3));
    drawing.append(svg("rect", {class: "bar-mark", x: (width - (values.length - i) * step).toFixed(1),
                                y: (height - size).toFixed(1), width: Math.max(1.5, step - 0.5).toFixed(1),
                                height: size.toFixed(1), rx: 0.75}));
  });
  element.replaceChildren(drawing);
}

/** Shares of a whole side by side. @param {{kind: string, value: number}[]} shares */
export function shareBar(element, shares) {
  const {drawing, width} = frame(element, 10);
  const whole = shares.reduce((sum, {value}) => sum + value, 0) || 1;
  let from = 0;
  for (const {kind, value} of shares) {
    const size = (value / whole) * width;
    drawing.append(svg("rect", {class: `share ${kind}`, x: from.toFixed(1), y: 0, height: 10,
                                width: Math.max(0, size).toFixed(1)}));
    from += size;
  }
  element.replaceChildren(drawing);
}
