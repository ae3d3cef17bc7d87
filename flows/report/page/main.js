"use strict";
/* Fills the page. */

(function main() {
  const { summary } = REPORT;
  if (!summary) {
    const warning = document.getElementById("warnings");
    warning.hidden = false;
    warning.textContent = "data/summary.js is missing: syn4seg report RUN builds the report anew.";
    return;
  }
  const { run, scores } = summary;
  document.title = `${run.name} – Syn4Seg report`;
  document.getElementById("title").textContent = run.name;
  document.getElementById("about").textContent = `${run.data}, fold ${scores.fold}, ${scores.shots}-shot, seed ${scores.seed}, ${scores.model}, ${scores.protocol}`;
  const warnings = [];
  if (run.missing.length) warnings.push(`The store no longer has ${run.missing.length} shards of this run: what they held is not shown.`);
  if (summary.looks.note) warnings.push(summary.looks.note);
  if (warnings.length) {
    const box = document.getElementById("warnings");
    box.hidden = false;
    box.textContent = warnings.join(" ");
  }
  const parts = { scores: drawScores, chain: drawChain, classes: drawClasses, gallery: drawGallery, predictions: drawPredictions, maps: drawMaps,
    training: drawTraining, background: drawBackground };
  for (const [id, draw] of Object.entries(parts)) {
    const section = document.getElementById(id);
    draw(section);
    const title = section.querySelector("h2").textContent;
    document.getElementById("nav").append(el("li", {}, el("a", { href: `#${id}` }, title)));
  }
}());
