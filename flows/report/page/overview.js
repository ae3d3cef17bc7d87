"use strict";
/* The top of the page: scores, the picture of the chain, predictions, what IIR looks at. */

const MODEL_NAMES = {
  matching: "Prototype matching", teacher: "Teacher", before: "Without synthetic data", after: "With synthetic data", fss: "Few-shot model",
};
const SHORT = { matching: "matching", teacher: "teacher", before: "without", after: "with" };
const KINDS = ["novel", "base", "mean", "harmonic"];

function drawScores(section) {
  const { scores, labels, preview } = REPORT.summary;
  if (preview) { drawPreview(section, preview); return; }
  const there = Object.keys(MODEL_NAMES).filter((name) => scores[name]);
  if (!there.length) {
    section.append(el("p", { class: "note" }, "This run has no scores."));
    return;
  }
  if (scores.fss) {
    section.append(table("Few-shot scores in %", ["model", ["mIoU"], ["FB-IoU"]],
      [[scores.model, show.points(scores.fss.miou), show.points(scores.fss.fb_iou)]]));
    section.append(table("mIoU of each class in %", ["class", ["IoU"]],
      Object.entries(scores.fss.per_class).map(([name, iou]) => [name, show.points(iou)])));
    return;
  }
  if (scores.before && scores.after) section.append(headlines(scores));
  const all = table("mIoU in %", ["model", ...KINDS.map((kind) => [kind])],
    there.map((name) => [MODEL_NAMES[name], ...KINDS.map((kind) => show.points(scores[name][`${kind}_miou`]))]), { caption: true });
  section.append(el("div", { class: "beside" }, all, perClass(scores, there, labels.novel, "IoU of the novel classes in %")));
  section.append(folded(`The ${labels.base.length} base classes and background`, (body) => {
    body.append(perClass(scores, there, ["background", ...labels.base], "IoU of the base classes in %"));
  }));
}

/** Say that this is no whole run, and what that would take. */
function drawPreview(section, preview) {
  section.querySelector("h2").textContent = "Preview";
  section.append(el("p", {}, `A preview: the first ${preview.pictures === 1 ? "picture" : `${show.count(preview.pictures)} pictures`} of each class, labelled. Nothing was trained on them, so there are no scores. `
    + `The whole run wants ${show.count(preview.wanted)} pictures, and will find ${show.count(preview.reused)} of these ${show.count(preview.drawn)} again.`));
  section.append(table("What the whole run has left to do, as estimated when this was made", ["stage", ["shards"], ["left"], ["time"], ["disk"], "estimated from"], [...preview.stages.map((row) => (
    [STAGE_NAMES[row.stage] || row.stage, show.count(row.total), show.count(row.left), show.seconds(row.seconds), show.bytes(row.bytes), row.from])),
  ["all", "", "", show.seconds(preview.seconds), show.bytes(preview.bytes), preview.workers > 1 ? `by one process; ${preview.workers} share it` : "by one process"]], { caption: true }));
  if (preview.gpu_hours !== null) section.append(el("p", {}, `${show.number(preview.gpu_hours)} GPU hours.`));
}

function headlines(scores) {
  return el("ul", { class: "headlines" }, ["novel", "base", "harmonic"].map((kind) => {
    const [before, after] = ["before", "after"].map((name) => scores[name][`${kind}_miou`]);
    const change = after - before;
    return el("li", {}, el("span", { class: "quiet" }, `${kind} mIoU`),
      el("span", { class: "big" }, show.points(after)),
      el("span", { class: change >= 0 ? "up" : "down" }, `${show.change(change)} points`),
      el("span", { class: "quiet" }, `${show.points(before)} without synthetic data`));
  }));
}

function perClass(scores, there, names, caption) {
  const both = scores.before && scores.after;
  const rows = names.map((name) => {
    const values = there.map((model) => scores[model].per_class[name]);
    const row = [name, ...values.map(show.points)];
    if (both) {
      const [before, after] = [scores.before.per_class[name], scores.after.per_class[name]];
      const known = typeof before === "number" && typeof after === "number";
      row.push(known ? [show.change(after - before), " ", bar(Math.abs(after - before), after < before ? "down" : "up")] : "–");
    }
    return row;
  });
  return table(caption, ["class", ...there.map((name) => [SHORT[name]]), ...(both ? [["change"]] : [])], rows, { caption: true });
}

function drawChain(section) {
  const { chain, scores } = REPORT.summary;
  if (!chain.length) {
    section.append(el("p", { class: "note" }, "This run made no synthetic pictures."));
    return;
  }
  section.append(el("ol", { class: "chain" }, chain.map((step) => {
    const reasons = Object.entries(step.dropped);
    const gone = step.in - step.kept;
    return el("li", { class: "step" },
      el("h3", {}, step.title, " ", el("span", { class: "tag" }, step.method)),
      el("p", { class: "big" }, show.count(step.kept)),
      el("p", { class: "quiet" }, step.stage === "train" ? step.unit : `of ${show.count(step.in)} ${step.unit}`),
      step.stage === "train" ? null : bar(step.in ? step.kept / step.in : 0),
      gone > 0 && el("p", {}, `${show.count(gone)} ${step.verb}`),
      reasons.length > 0 && el("ul", { class: "reasons" }, reasons.map(([reason, count]) => el("li", {}, el("b", {}, show.count(count)), ` ${reason}`))),
      step.shares && el("dl", { class: "shares" }, Object.entries(step.shares).map(([name, share]) => (
        [el("dt", {}, name), el("dd", {}, show.percent(share))]))));
  }), scores.after && el("li", { class: "step" }, el("h3", {}, "Scores"), el("p", { class: "big" }, show.points(scores.after.novel_miou)),
    el("p", { class: "quiet" }, "novel mIoU in %, with synthetic data"), bar(scores.after.novel_miou))));
  section.append(el("p", { class: "quiet" }, "Shares are of the pixels of the pictures that a stage kept: the prompted class, free pixels (not decided yet), ignored ones."));
}

function drawPredictions(section) {
  const { looks } = REPORT.summary;
  if (!looks.predictions || !looks.predictions.length) {
    section.append(el("p", { class: "note" }, looks.note || "This run has no models or validation pictures to show."));
    return;
  }
  const parts = looks.models.length + 1;
  const present = [...new Set(looks.predictions.flatMap((row) => row.present))].sort((a, b) => a - b);
  section.append(el("p", { class: "quiet" }, "Validation pictures that show a novel class, chosen by lot. The numbers are the IoU of this class in this picture in %: "
    + looks.models.map((name) => MODEL_NAMES[name].toLowerCase()).join(", ") + "."),
    el("div", { class: "bar-of-controls" }, opacitySlider("opacity-predictions")), legend(present, present.includes(255) ? ["ignored"] : []));
  section.append(el("div", { class: "cards two" }, looks.predictions.map((row) => {
    const stem = `looks/${row.file}`;
    const cells = [["picture", null], ["truth", 0], ...looks.models.map((name, i) => [SHORT[name], i + 1, row.iou[name]])];
    return el("article", { class: "card" }, el("h3", {}, row.class), el("div", { class: "cells", css: { "--across": parts + 1 } }, cells.map(([name, place, iou]) => (
      el("figure", {}, layered(`${stem}.jpg`, place !== null && `${stem}.png`, place, parts, row.size, `${row.class}: ${name}`),
        el("figcaption", {}, name, iou === undefined ? null : el("b", {}, ` ${show.points(iou)}`)))))));
  })));
}

function drawMaps(section) {
  const { looks } = REPORT.summary;
  if (!looks.maps || !looks.maps.length) {
    section.append(el("p", { class: "note" }, looks.note || "This run has no GFSS model to look into; there are maps of IIR and I2R alone."));
    return;
  }
  section.append(el("p", { class: "quiet" }, `For each novel class its first support, and a validation picture as query, seen by the model ${MODEL_NAMES[looks.mapped].toLowerCase()}. `
    + "The CAM above the threshold τ splits the support's object into a core and a local part. The query's cells above τ are matched with the core, the others with the local part; this gives the prior."));
  section.append(el("div", { class: "bar-of-controls" }, opacitySlider("opacity-maps")),
    el("ul", { class: "legend", "aria-label": "Legend" }, el("li", {}, el("span", { class: "swatch core" }), "core / above τ"),
      el("li", {}, el("span", { class: "swatch local" }), "local"), el("li", {}, el("span", { class: "swatch heat" }), "0 to 1")));
  section.append(el("div", { class: "cards two" }, looks.maps.map((row) => {
    const stem = `looks/${row.file}`;
    const cells = [
      ["support", "support", null, 0], ["its CAM", "support", "support.png", 0, 1], ["core and local part", "support", "support-parts.png", 0, 1],
      ["query", "query", null, 0], ["its CAM", "query", "query.png", 0, 3], ["above τ", "query", "query-parts.png", 0, 1],
      ["prior", "query", "query.png", 1, 3], ["probability of the class", "query", "query.png", 2, 3],
    ];
    return el("article", { class: "card" }, el("h3", {}, row.class, el("span", { class: "quiet" }, ` τ = ${row.threshold}`)),
      el("div", { class: "cells", css: { "--across": 4 } }, cells.map(([name, end, file, place, count]) => el("figure", {},
        layered(`${stem}-${end}.jpg`, file && `${stem}-${file}`, place, count, row[end], `${row.class}, ${end}: ${name}`),
        el("figcaption", {}, name)))));
  })));
}
