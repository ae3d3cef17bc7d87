"use strict";
/* The sweep: the suggested setting beside the current one, curves along each axis, heat maps of two axes. */

const AXIS_NAMES = { "filter.min_similarity": "λ of APF (filter.min_similarity)", "relabel.blend": "β (relabel.blend)",
  "relabel.min_similarity": "λ of APR (relabel.min_similarity)" };
const SHORT_NAMES = { "filter.min_similarity": "λ of APF", "relabel.blend": "β", "relabel.min_similarity": "λ of APR" };
const HALVES = { chosen: "where it was chosen", confirmed: "the other half" };

function drawSweep(section) {
  const { sweep } = REPORT.summary.told;
  if (!sweep) {
    section.append(el("p", { class: "note" }, "No other setting was tried: syn4seg audit --sweep does."));
    return;
  }
  const [first, second] = sweep.halves;
  section.append(el("p", {}, el("b", {}, sweep.same ? "The current setting is the best one. " : sweep.clear ? "The suggested setting is better by more than noise. " : "No more than noise. "), verdict(sweep)));
  if (!sweep.same) section.append(el("code", { class: "command" }, sweep.set.flatMap((text) => [el("span", {}, `--set ${text}`), " "])));
  const keys = Object.keys(sweep.axes);
  if (sweep.edge.length) section.append(el("p", { class: "note" }, `The suggestion lies at the end of ${sweep.edge.map((key) => AXIS_NAMES[key]).join(" and ")}: values beyond may be better still (syn4seg audit --grid).`));
  const pair = (pick) => ["current", "suggested"].map(pick);
  section.append(table(`Final labels in %, on the ${second} pictures that no setting was chosen on`, ["", ["current"], ["suggested"]], [
    ...keys.map((key) => [SHORT_NAMES[key], ...pair((name) => String(sweep[name].setting[key]))]),
    ...["iou", "precision", "recall", "boundary_iou", "kept"].map((key) => [MEASURE_NAMES[key], ...pair((name) => show.points(sweep[name][key]))]),
    ["IoU where it was chosen", ...pair((name) => show.points(sweep.chosen_on[name]))]], { caption: true }));
  section.append(el("p", { class: "quiet" }, `The rule: of all settings the highest mean IoU of the final labels on one half (${first} pictures), of equal ones the nearest to the current setting. `
    + "The difference is measured on the other half; its interval comes from drawing these pictures anew 2,000 times, both settings on the same draw."));
  section.append(el("h3", {}, "Along each axis"), el("div", { class: "charts" }, keys.filter((key) => sweep.axes[key].length > 1).map((key) => axisChart(sweep, key))));
  section.append(el("h3", {}, "Two axes at once"), heatParts(sweep, keys));
}

function verdict(sweep) {
  const [low, high] = sweep.interval.map(show.change);
  if (sweep.same) return "Nothing to change.";
  return `It changes the mean IoU of the final labels by ${show.change(sweep.difference)} points on pictures that it was not chosen on (95 % interval ${low} to ${high}).`;
}

/** Give the place of a setting among all; the last axis moves first. */
function placeOf(sweep, setting) {
  return Object.entries(sweep.axes).reduce((place, [key, values]) => place * values.length + values.indexOf(setting[key]), 0);
}

function axisChart(sweep, key) {
  const [now, best] = [sweep.current.setting, sweep.suggested.setting];
  const along = (setting) => sweep.axes[key].map((value) => sweep.chosen[placeOf(sweep, { ...setting, [key]: value })]);
  const series = [{ name: "others as suggested", steps: sweep.axes[key], values: along(best), kind: "one" },
    { name: "others as now", steps: sweep.axes[key], values: along(now), kind: "two" }];
  const marks = [{ value: now[key], text: "now", kind: "now" }, { value: best[key], text: "suggested", kind: "limit" }];
  return curves(AXIS_NAMES[key], sweep.same ? series.slice(1) : series, { unit: key, from: sweep.axes[key][0], marks: sweep.same ? marks.slice(0, 1) : marks });
}

function heatParts(sweep, keys) {
  const place = el("div", { class: "maps" });
  const state = { half: "chosen", third: keys.find((key) => sweep.axes[key].length === 1) || keys[2], at: "" };
  const controls = el("div", { class: "bar-of-controls" });
  const draw = () => {
    const [rows, columns] = keys.filter((key) => key !== state.third);
    const held = state.at === "" ? ["current", "suggested"].map((name) => sweep[name].setting[state.third]) : [Number(state.at)];
    place.replaceChildren(...[...new Set(held)].map((at) => heatMap(sweep, rows, columns, { ...state, at })));
  };
  const choose = () => {
    state.at = "";
    controls.replaceChildren(
      picker("heat-third", "Held", keys.map((key) => [key, SHORT_NAMES[key]]), state.third, (key) => { state.third = key; choose(); document.getElementById("heat-third").focus(); }),
      picker("heat-at", "at", [["", "now and suggested"], ...sweep.axes[state.third].map((value) => [String(value), String(value)])], "", (value) => { state.at = value; draw(); }),
      picker("heat-half", "Pictures", Object.entries(HALVES), state.half, (half) => { state.half = half; draw(); }));
    draw();
  };
  choose();
  return el("div", {}, el("p", { class: "quiet" }, "Mean IoU of the final labels in %."), controls, place);
}

function heatMap(sweep, rows, columns, { half, third, at }) {
  const all = [...sweep.chosen, ...sweep.confirmed].filter((value) => value !== null);
  const [low, high] = all.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [1, 0]);
  const is = (setting, name) => Object.entries(sweep[name].setting).every(([key, value]) => setting[key] === value);
  const caption = `${SHORT_NAMES[third]} = ${at}; down: ${SHORT_NAMES[rows]}, across: ${SHORT_NAMES[columns]}`;
  const body = sweep.axes[rows].map((down) => [String(down), ...sweep.axes[columns].map((across) => {
    const setting = { [third]: at, [rows]: down, [columns]: across };
    const marks = ["current", "suggested"].filter((name) => is(setting, name));
    return [sweep[half][placeOf(sweep, setting)], marks];
  })]);
  const heads = ["", ...sweep.axes[columns].map(String)];
  return el("div", {}, el("p", { class: "quiet" }, caption), el("div", { class: "scroll heat", tabindex: "0", role: "region", "aria-label": caption }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col", class: "number" }, head)))),
    el("tbody", {}, body.map(([head, ...cells]) => el("tr", {}, el("th", { scope: "row", class: "number" }, head), cells.map(([value, marks]) => (
      el("td", { "data-mark": marks[marks.length - 1], css: { "--share": String((value - low) / (high - low || 1)) } }, show.points(value),
        marks.length ? el("small", {}, marks.map((mark) => (mark === "current" ? "now" : mark)).join(", ")) : null)))))))));
}
