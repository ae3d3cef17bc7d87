"use strict";
/* Charts as SVG, each with its numbers as a table beneath for those who do not see it. */

const WIDE = 360;
const HIGH = 150;
const EDGE = { left: 44, right: 10, top: 14, bottom: 26 };

/** Say how a range of numbers is laid out on an axis. */
function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

function axis(low, high, top, across, up) {
  const marks = [];
  const tick = (value, digits) => (Math.abs(value) >= 1000 ? value.toExponential(0) : Number(value.toFixed(digits)).toString());
  const digits = (span) => Math.max(0, Math.min(5, 1 - Math.floor(Math.log10(span || 1))));
  for (let i = 0; i <= 4; i += 1) {
    const x = low + ((high - low) * i) / 4;
    marks.push(el("text", { x: across(x), y: HIGH - 8, "text-anchor": "middle" }, tick(x, digits(high - low))));
  }
  for (const y of [0, 0.5, 1].map((part) => top[0] + part * (top[1] - top[0]))) {
    marks.push(el("line", { class: "grid", x1: EDGE.left, x2: WIDE - EDGE.right, y1: up(y), y2: up(y) }));
    marks.push(el("text", { x: EDGE.left - 5, y: up(y) + 4, "text-anchor": "end" }, tick(y, digits(top[1] - top[0]))));
  }
  return marks;
}

/** Give a vertical line with its text. */
function upright(x, text, kind) {
  const right = x > WIDE - 110;
  return [el("line", { class: kind, x1: x, x2: x, y1: EDGE.top - 8, y2: HIGH - EDGE.bottom }),
    el("text", { class: kind, x: x + (right ? -4 : 4), y: EDGE.top - 2, "text-anchor": right ? "end" : "start" }, text)];
}

function figure(title, label, parts, keys, numbers) {
  const svg = el("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": label }, parts);
  const key = keys.length && el("ul", { class: "legend", "aria-hidden": "true" }, keys.map(([name, kind]) => (
    el("li", {}, el("span", { class: `swatch ${kind}` }), name))));
  return el("figure", { class: "chart" }, el("figcaption", {}, title), svg, key || null,
    folded("Numbers", (body) => body.append(numbers()), { class: "numbers" }));
}

/**
 * Give a histogram.
 * @param series - list of {name, counts, kind}; bars are stacked.
 * @param limit - threshold {value, name}, or null.
 */
function histogram(title, low, high, series, limit, unit) {
  if (limit) { low = Math.min(low, limit.value); high = Math.max(high, limit.value); }
  const bins = series[0].counts.length;
  const [first, last] = [series[0].low, series[0].high];
  const totals = series[0].counts.map((_, i) => series.reduce((sum, one) => sum + one.counts[i], 0));
  const top = Math.max(1, ...totals);
  const across = scale(low, high, EDGE.left, WIDE - EDGE.right);
  const up = scale(0, top, HIGH - EDGE.bottom, EDGE.top);
  const edge = (i) => first + ((last - first) * i) / bins;
  const parts = axis(low, high, [0, top], across, up);
  for (let i = 0; i < bins; i += 1) {
    let below = 0;
    for (const one of series) {
      if (one.counts[i]) {
        const [y, x] = [up(below + one.counts[i]), across(edge(i))];
        parts.push(el("rect", { class: one.kind, x: x + 0.5, width: Math.max(1, across(edge(i + 1)) - x - 1), y, height: up(below) - y }));
      }
      below += one.counts[i];
    }
  }
  const all = totals.reduce((sum, count) => sum + count, 0);
  let label = `${title}: ${show.count(all)} ${unit}, from ${show.number(first)} to ${show.number(last)}`;
  if (limit) {
    parts.push(upright(across(limit.value), `limit ${limit.value}`, "limit"));
    label += `, the limit ${limit.name} is ${limit.value}`;
  }
  const keys = series.length > 1 ? series.map((one) => [one.name, one.kind]) : [];
  return figure(title, label, parts, keys, () => table(title, ["from", ["to"], ...series.map((one) => [one.name])],
    totals.flatMap((total, i) => (total ? [[show.number(edge(i)), show.number(edge(i + 1)), ...series.map((one) => String(one.counts[i]))]] : []))));
}

/** Count values in equal bins. */
function binned(values, bins = 30, range = null) {
  const [low, high] = range || values.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
  const counts = new Array(bins).fill(0);
  const span = high - low || 1;
  for (const value of values) counts[Math.min(bins - 1, Math.max(0, Math.floor(((value - low) / span) * bins)))] += 1;
  return { low, high: low + span, counts };
}

/**
 * Give curves.
 * @param series - list of {name, steps, values, kind}.
 * @param options - unit: what the steps are; from: where their axis begins; marks: upright lines {value, text, kind}.
 */
function curves(title, series, { unit = "step", from = 0, marks = [] } = {}) {
  const values = series.flatMap((one) => one.values).filter((value) => value !== null);
  const last = Math.max(...series.flatMap((one) => one.steps));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const across = scale(from, last, EDGE.left, WIDE - EDGE.right);
  const up = scale(low, high, HIGH - EDGE.bottom, EDGE.top);
  const parts = [...axis(from, last, [low, high], across, up), ...marks.map((mark) => upright(across(mark.value), mark.text, mark.kind))];
  for (const one of series) {
    const points = one.values.map((value, i) => (value === null ? null : `${across(one.steps[i]).toFixed(1)},${up(value).toFixed(1)}`));
    const known = points.filter((point) => point !== null);
    if (known.length) parts.push(el("path", { class: `line ${one.kind}`, d: `M${known.join("L")}` }));
  }
  const ends = series.map((one) => {
    const known = one.values.filter((value) => value !== null);
    return `${one.name} from ${show.number(known[0])} to ${show.number(known[known.length - 1])}`;
  });
  const keys = series.length > 1 ? series.map((one) => [one.name, one.kind]) : [];
  return figure(title, `${title} by ${unit}: ${ends.join("; ")}`, parts, keys, () => table(title, [unit, ...series.map((one) => [one.name])],
    series[0].steps.map((step, i) => [String(step), ...series.map((one) => show.number(one.values[i]))])));
}
