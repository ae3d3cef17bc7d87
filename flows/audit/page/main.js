"use strict";
/* Fills the page. */

(function main() {
  const { summary } = REPORT;
  const warnings = document.getElementById("warnings");
  if (!summary) {
    warnings.hidden = false;
    warnings.textContent = "data/summary.js is missing: syn4seg audit makes the page anew.";
    return;
  }
  const { told, name } = summary;
  document.title = `${name} – Syn4Seg audit`;
  document.getElementById("title").textContent = name;
  document.getElementById("about").textContent = `${told.dataset}, fold ${told.fold}, ${told.shots}-shot, seed ${told.seed}`;
  if (told.reported) {
    warnings.hidden = false;
    warnings.textContent = `${told.reported} of these pictures are among those that scores are reported on: with a setting chosen here, report scores on other pictures.`;
  }
  const parts = { stages: drawStages, classes: drawClasses, sweep: drawSweep, worst: drawWorst,
    settings: (section) => section.append(folded("All settings", (body) => body.append(table("All settings", ["experiment.", "value", "meaning"], summary.settings)))) };
  for (const [id, draw] of Object.entries(parts)) {
    const section = document.getElementById(id);
    draw(section);
    document.getElementById("nav").append(el("li", {}, el("a", { href: `#${id}` }, section.querySelector("h2").textContent)));
  }
}());
