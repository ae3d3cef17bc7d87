"use strict";
/* What the stages make of labelled pictures: the mean over classes, and each class. */

const STAGE_NAMES = { annotate: "first labels", filter: "APF", relabel: "APR", refine: "SABR" };
const MEASURE_NAMES = {
  kept: "pictures kept", labelled: "pixels labelled", precision: "precision", recall: "recall", iou: "IoU", boundary_iou: "boundary IoU",
  kept_iou: "IoU of kept pictures", correct_kept: "right pixels kept",
};

/** Give a list to choose from, with its label. */
function picker(id, label, options, chosen, change) {
  const select = el("select", { id }, options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  select.addEventListener("change", () => change(select.value));
  return el("label", { class: "field", for: id }, el("span", {}, label), select);
}

function rowsOf(name) {
  const { told, stages } = REPORT.summary;
  return stages.map((stage) => told.rows.find((row) => row.class === name && row.stage === stage));
}

function drawStages(section) {
  const { measures, told } = REPORT.summary;
  const rows = rowsOf("mean");
  const last = rows[rows.length - 1];
  section.append(el("ul", { class: "headlines" }, ["iou", "boundary_iou", "precision", "recall"].map((key) => el("li", {},
    el("span", { class: "quiet" }, `${MEASURE_NAMES[key]} of the final labels`), el("span", { class: "big" }, show.points(last[key])),
    el("span", { class: last[key] >= rows[0][key] ? "up" : "down" }, `${show.change(last[key] - rows[0][key])} points`),
    el("span", { class: "quiet" }, `${show.points(rows[0][key])} of the first labels`)))));
  section.append(table("Mean over classes after each stage, in %", ["after", ...measures.map((key) => [MEASURE_NAMES[key]])],
    rows.map((row) => [STAGE_NAMES[row.stage], ...measures.map((key) => show.points(row[key]))]), { caption: true }));
  section.append(el("p", { class: "quiet" }, `${show.count(last.pictures)} labelled pictures of ${Object.keys(told.pictures).length} novel classes went through the stages as if they had no labels. `
    + "Pixels are added up over the pictures of a class. IoU is over all pictures: a dropped one has found nothing. A pixel that is free or ignored is not labelled; one whose truth is unknown counts nowhere."));
}

function drawClasses(section) {
  const { measures, stages, classes, told } = REPORT.summary;
  const place = el("div", {});
  const draw = (key) => place.replaceChildren(table(`${MEASURE_NAMES[key]} by class and stage, in %`,
    ["class", ["pictures"], ...stages.map((stage) => [STAGE_NAMES[stage]]), ["change"]], classes.map((name) => {
      const values = rowsOf(name).map((row) => row[key]);
      const change = values[values.length - 1] - values[0];
      const known = values[0] !== null && values[values.length - 1] !== null;
      return [name, show.count(told.pictures[name]), ...values.map(show.points),
        known ? [show.change(change), " ", bar(Math.abs(change), change < 0 ? "down" : "up")] : "–"];
    }), { caption: true }));
  section.append(el("div", { class: "bar-of-controls" }, picker("measure", "Figure", measures.map((key) => [key, MEASURE_NAMES[key]]), "iou", draw)), place);
  draw("iou");
  section.append(folded("All figures by class and stage", (body) => body.append(table("All figures in %", ["class", "after", ...measures.map((key) => [MEASURE_NAMES[key]])],
    classes.flatMap((name) => rowsOf(name).map((row) => [name, STAGE_NAMES[row.stage], ...measures.map((key) => show.points(row[key]))]))))));
}
