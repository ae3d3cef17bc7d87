"use strict";
/* The gallery: filters and sorting over all samples, of which one page at a time is in the document. */

const COLUMNS = ["picture", "first label", "APF", "APR", "SABR", "final"];
const DEFAULTS = { class: "", state: "", reason: "", sort: "overall", end: "worst", size: "20", page: "1" };
const gallery = { state: { ...DEFAULTS }, order: [], nodes: {} };

function galleryLink(changes) {
  const given = Object.entries({ ...DEFAULTS, ...changes }).filter(([key, value]) => value !== DEFAULTS[key]);
  return `#gallery:${new URLSearchParams(given)}`;
}

function drawGallery(section) {
  const { samples } = REPORT.summary;
  if (!samples.count) {
    section.append(el("p", { class: "note" }, "This run made no synthetic pictures."));
    return;
  }
  section.append(el("p", { class: "quiet" }, "Every synthetic picture with its label after each stage. The worst come first, and each says which limit it missed. Overall means: dropped ones, then by APF's best similarity plus SAM's IoU."));
  section.append(controls(samples));
  gallery.nodes.legend = el("div", {});
  gallery.nodes.status = el("p", { role: "status", id: "gallery-status", tabindex: "-1" });
  gallery.nodes.cards = el("div", { class: "cards", id: "cards" });
  gallery.nodes.pager = el("nav", { class: "pager", "aria-label": "Pages of the gallery" });
  section.append(gallery.nodes.legend, gallery.nodes.status, gallery.nodes.cards, gallery.nodes.pager);
  window.addEventListener("hashchange", () => readHash(true));
  readHash(false);
}

function controls(samples) {
  const { columns, stages, reasons, classes } = samples;
  const many = (test) => {
    let sum = 0;
    for (let i = 0; i < samples.count; i += 1) if (test(i)) sum += 1;
    return sum;
  };
  const states = [["", "all"], ["kept", `kept to the end (${show.count(many((i) => columns.dropped === undefined || columns.dropped[i] === null))})`]];
  stages.forEach((stage, place) => {
    const count = columns.dropped ? many((i) => columns.dropped[i] === place) : 0;
    if (count) states.push([`dropped-${stage}`, `dropped at ${STAGE_NAMES[stage]} (${show.count(count)})`]);
  });
  for (const score of samples.scores.filter((one) => one.limit && columns[one.key])) {
    const count = many((i) => misses(score, columns[score.key][i]));
    if (count) states.push([`missed-${score.key}`, `below the limit of ${STAGE_NAMES[score.stage]} (${show.count(count)})`]);
  }
  const there = classes.filter((_, place) => columns.class.includes(place));
  const sorts = [["overall", "overall"], ...samples.scores.filter((one) => columns[one.key]).map((one) => [one.key, `${STAGE_NAMES[one.stage]}: ${one.label}`]), ["number", "number"]];
  const reasonList = [["", "all"], ...reasons.map((reason, i) => [String(i), reason])];
  return el("form", { class: "bar-of-controls", "aria-label": "Filter and sort", on: { submit: (event) => event.preventDefault() } },
    choice("class", "Class", [["", "all"], ...there.map((name) => [name, name])]), choice("state", "Stage", states),
    reasons.length ? choice("reason", "Reason", reasonList) : null, choice("sort", "Sort by", sorts),
    choice("end", "First", [["worst", "worst"], ["best", "best"]]), choice("size", "A page", ["10", "20", "50", "100"].map((n) => [n, n])),
    opacitySlider("opacity"), zoom());
}

function choice(key, label, options) {
  const id = `gallery-${key}`;
  const select = el("select", { id }, options.map(([value, text]) => el("option", { value }, text)));
  select.addEventListener("change", () => setState({ [key]: select.value, page: "1" }));
  gallery.nodes[key] = select;
  return el("label", { class: "field", for: id }, el("span", {}, label), select);
}

function zoom() {
  const slider = el("input", { type: "range", id: "zoom", min: 64, max: 256, step: 16, value: 128 });
  slider.addEventListener("input", () => document.documentElement.style.setProperty("--cell", `${slider.value}px`));
  return el("label", { class: "field wide-only", for: "zoom" }, el("span", {}, "Size"), slider);
}

function setState(changes) {
  history.replaceState(null, "", galleryLink({ ...gallery.state, ...changes }));
  readHash(false);
}

function readHash(scroll) {
  const asked = location.hash.startsWith("#gallery:");
  if (!asked && scroll) return;
  gallery.state = { ...DEFAULTS, ...(asked ? Object.fromEntries(new URLSearchParams(location.hash.slice(9))) : {}) };
  for (const key of Object.keys(DEFAULTS)) {
    const select = gallery.nodes[key];
    if (!select) continue;
    select.value = gallery.state[key];
    if (select.selectedIndex < 0) { select.value = DEFAULTS[key]; gallery.state[key] = DEFAULTS[key]; }
  }
  gallery.order = chosen(gallery.state);
  drawPage();
  if (asked && scroll) document.getElementById("gallery").scrollIntoView();
}

/** Say whether a score lies on the wrong side of its limit. */
function misses(score, value) {
  return value !== null && value !== undefined && score.limit && value < REPORT.summary.limits[score.limit];
}

/** Give the places of the samples that a state asks for, in its order. */
function chosen(state) {
  const { columns, stages, scores, classes, count } = REPORT.summary.samples;
  const dropped = columns.dropped || [];
  const tests = [];
  if (state.class) { const place = classes.indexOf(state.class); tests.push((i) => columns.class[i] === place); }
  if (state.state === "kept") tests.push((i) => (dropped[i] ?? null) === null);
  if (state.state.startsWith("dropped-")) { const place = stages.indexOf(state.state.slice(8)); tests.push((i) => dropped[i] === place); }
  if (state.state.startsWith("missed-")) { const score = scores.find((one) => one.key === state.state.slice(7)); tests.push((i) => score && misses(score, columns[score.key][i])); }
  if (state.reason && columns.reason) tests.push((i) => columns.reason[i] === Number(state.reason));
  const places = [];
  for (let i = 0; i < count; i += 1) if (tests.every((test) => test(i))) places.push(i);
  const goodness = goodnessOf(state.sort, state.end === "best" ? -1 : 1);
  return places.sort((a, b) => (goodness[a] === goodness[b] ? a - b : goodness[a] - goodness[b]));
}

/** Say how good every sample is, times the turn; one without such a score comes last. */
function goodnessOf(sort, turn) {
  const { columns, scores, count } = REPORT.summary.samples;
  const goodness = new Float64Array(count);
  const { dropped = [], apf_best: best = [], sabr_overlap: overlap = [] } = columns;
  const score = scores.find((one) => one.key === sort);
  for (let i = 0; i < count; i += 1) {
    if (score) {
      const value = columns[sort][i];
      goodness[i] = value === null ? Infinity : turn * (score.worst === "high" ? -value : value);
    } else if (sort === "number") goodness[i] = turn * i;
    else goodness[i] = turn * ((dropped[i] ?? null) === null ? (best[i] ?? 0) + (overlap[i] ?? 0) : dropped[i] - 100);
  }
  return goodness;
}

async function drawPage() {
  const { samples } = REPORT.summary;
  const size = Number(gallery.state.size);
  const pages = Math.max(1, Math.ceil(gallery.order.length / size));
  const page = Math.min(pages, Math.max(1, Number(gallery.state.page) || 1));
  const places = gallery.order.slice((page - 1) * size, page * size);
  const { status, cards } = gallery.nodes;
  const token = {};
  gallery.token = token;
  drawPager(page, pages);
  let parts;
  try {
    parts = new Map(await Promise.all([...new Set(places.map((i) => Math.floor(i / samples.chunk)))].map(async (chunk) => (
      [chunk, await load(`samples-${String(chunk).padStart(4, "0")}.js`, `details/${chunk}`)]))));
  } catch (error) {
    status.textContent = error.message;
    return;
  }
  if (gallery.token !== token) return; // another page was asked for meanwhile
  cards.replaceChildren(...places.map((i) => card(i, parts.get(Math.floor(i / samples.chunk))[i % samples.chunk])));
  const first = (page - 1) * size + 1;
  status.textContent = places.length ? `${show.count(first)} to ${show.count(first + places.length - 1)} of ${show.count(gallery.order.length)} pictures` : "No picture fits these filters.";
  const { names, base } = REPORT.summary.labels;
  const shown = [...new Set(places.map((i) => samples.classes[samples.columns.class[i]]))].map((name) => names.indexOf(name));
  gallery.nodes.legend.replaceChildren(legend([...shown.sort((a, b) => a - b)]), folded(`Colours of the ${base.length} base classes`, (body) => (
    body.append(legend(base.map((name) => names.indexOf(name)), []))), { class: "numbers" }));
}

function drawPager(page, pages) {
  const go = (text, to, name) => el("button", { type: "button", disabled: to < 1 || to > pages || to === page, "data-go": name, on: { click: () => {
    setState({ page: String(to) });
    gallery.nodes.status.focus({ preventScroll: true });
    gallery.nodes.status.scrollIntoView({ block: "start" });
  } } }, text);
  const jump = el("input", { type: "number", id: "gallery-page", min: 1, max: pages, value: page, on: { change: (event) => setState({ page: event.target.value }) } });
  gallery.nodes.pager.replaceChildren(go("First", 1, "first"), go("Previous", page - 1, "previous"),
    el("label", { for: "gallery-page" }, "Page ", jump, ` of ${show.count(pages)}`), go("Next", page + 1, "next"), go("Last", pages, "last"));
}

function card(i, detail) {
  const { samples } = REPORT.summary;
  const place = samples.columns.dropped ? samples.columns.dropped[i] : null;
  const dropped = place === null ? null : samples.stages[place];
  const number = String(i).padStart(6, "0");
  const stem = `samples/${String(Math.floor(i / samples.per_folder)).padStart(3, "0")}/${number}`;
  const strip = samples.columns.labelled[i] ? `${stem}.png` : null;
  const cells = COLUMNS.map((name, column) => {
    const reached = column === 0 || (strip && (dropped === null || (column < 5 && column <= place)));
    const after = dropped !== null && column === place && column > 0;
    return el("figure", {}, reached ? layered(`${stem}.jpg`, column ? strip : null, column - 1, COLUMNS.length - 1, detail.size, `${detail.id}: ${name}`)
      : el("span", { class: "picture none", css: { "aspect-ratio": `${detail.size[1]} / ${detail.size[0]}` } }, "dropped"),
      el("figcaption", {}, name, after ? " (dropped here)" : ""));
  });
  return el("article", { class: "card sample", id: `sample-${detail.id}`, "aria-labelledby": `name-${i}` },
    el("h3", { id: `name-${i}` }, detail.id, " ", el("span", { class: `tag ${dropped === null ? "kept" : "dropped"}` },
      dropped === null ? "kept" : `dropped at ${STAGE_NAMES[dropped]}`)),
    el("div", { class: "cells" }, cells), el("div", { class: "words" }, el("p", { class: "prompt" }, `“${detail.prompt}”`),
      el("p", { class: "quiet" }, "seed ", el("code", {}, detail.seed)), why(detail)), story(detail),
    folded("All scores by stage", (body) => body.append(scoreTable(i, detail)), { class: "numbers" }));
}

