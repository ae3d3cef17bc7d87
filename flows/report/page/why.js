"use strict";
/* Why a sample's label is as it is, in the sentences of flows/report/why.py, and all its scores. */

/** Show what every stage did to a sample, in one line. */
function story(detail) {
  return detail.story ? el("p", { class: "quiet story" }, detail.story) : null;
}

/** Show which limits a sample missed, why it was dropped, and by what it is among the worst. */
function why(detail) {
  const lines = detail.why.map(([stage, text, miss]) => el("li", { class: miss ? "miss" : "" }, el("b", {}, `${stage}: `), text));
  return lines.length ? el("ul", { class: "why" }, lines) : el("p", {}, "Reached every limit.");
}

function scoreTable(i, detail) {
  const { samples, limits } = REPORT.summary;
  const rows = samples.scores.filter((score) => samples.columns[score.key]).map((score) => {
    const value = samples.columns[score.key][i];
    const limit = score.limit ? `≥ ${limits[score.limit]} (${score.limit})` : "–";
    return [STAGE_NAMES[score.stage], score.label, show.number(value), limit, value === null ? "not measured" : !score.limit ? "–" : misses(score, value) ? "✗ missed" : "✓ reached"];
  });
  return el("div", {}, table(`Scores of ${detail.id}`, ["stage", "score", ["value"], "limit", "verdict"], rows), el("p", { class: "quiet" }, `Pictures from shard ${detail.shard}.`));
}
