"use strict";
/* The pictures, worst first: picture, truth, and what is right, wrong and missed after each stage. */

const A_PAGE = 20;

function drawWorst(section) {
  const { items, classes, told, stages } = REPORT.summary;
  const state = { class: "", sort: "final", shown: A_PAGE };
  const status = el("p", { role: "status", id: "worst-status" });
  const cards = el("div", { class: "cards" });
  const more = el("button", { type: "button", on: { click: () => { state.shown += A_PAGE; draw(); } } }, "Show more");
  const last = stages.length - 1;
  const value = { final: (item) => item.iou[last] ?? 0, gain: (item) => (item.iou[last] ?? 0) - (item.iou[0] ?? 0), first: (item) => item.iou[0] ?? 0,
    suggested: (item) => item.new ?? 0, change: (item) => (item.new ?? 0) - (item.iou[last] ?? 0) };
  const sorts = [["final", "IoU of the final label"], ["first", "IoU of the first label"], ["gain", "what the stages gained"]];
  if (told.sweep && !told.sweep.same) sorts.push(["suggested", "IoU with the suggested setting"], ["change", "what the suggested setting gains"]);
  const draw = () => {
    const found = items.filter((item) => !state.class || classes[item.class] === state.class).sort((a, b) => value[state.sort](a) - value[state.sort](b));
    cards.replaceChildren(...found.slice(0, state.shown).map(worstCard));
    status.textContent = `${show.count(Math.min(state.shown, found.length))} of ${show.count(found.length)} pictures, the worst first`;
    more.hidden = state.shown >= found.length;
  };
  const choose = (key) => (chosen) => { state[key] = chosen; state.shown = A_PAGE; draw(); };
  section.append(el("form", { class: "bar-of-controls", "aria-label": "Filter and sort", on: { submit: (event) => event.preventDefault() } },
    picker("worst-class", "Class", [["", "all"], ...classes.map((name) => [name, name])], "", choose("class")),
    picker("worst-sort", "Sort by", sorts, "final", choose("sort")), opacitySlider("opacity")),
  legend([1, 2, 3]), status, cards, el("p", { class: "pager" }, more));
  draw();
}

function worstCard(item) {
  const { classes, stages, told } = REPORT.summary;
  const stem = `items/${item.stem}`;
  const name = `${classes[item.class]}, ${item.id}`;
  const parts = stages.length + 1;
  const cell = (title, file, place, count, iou) => el("figure", {}, layered(`${stem}.jpg`, file, place, count, item.size, `${name}: ${title}`),
    el("figcaption", {}, title, iou === undefined ? null : el("b", {}, ` ${show.points(iou)}`)));
  const dropped = item.kept.indexOf(0);
  const cells = [cell("picture", null, 0, 1), cell("truth", `${stem}.png`, 0, parts),
    ...stages.map((stage, i) => cell(STAGE_NAMES[stage], `${stem}.png`, i + 1, parts, item.iou[i]))];
  if (told.sweep && !told.sweep.same) cells.push(cell("suggested", `${stem}-new.png`, 0, 1, item.new));
  return el("article", { class: "card", "aria-label": name }, el("h3", {}, `${classes[item.class]} `, el("span", { class: "quiet" }, item.id), " ",
    dropped >= 0 ? el("span", { class: "tag dropped" }, `dropped at ${STAGE_NAMES[stages[dropped]]}`) : null),
  el("div", { class: "cells" }, cells), item.reason ? el("p", { class: "quiet" }, item.reason) : null);
}
