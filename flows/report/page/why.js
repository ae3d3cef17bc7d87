"use strict";
/* Why a sample's label is as it is: what each stage did, which limits it missed, where it is among the worst. */

const TENTH = 0.1;
const tenths = new Map();

function scoreOf(key, i) {
  const column = REPORT.summary.samples.columns[key];
  return column ? column[i] : null;
}

/** Give the value that a tenth of a class's pictures does not beat, by a score; null where they hardly differ. */
function worstTenth(score, place) {
  const key = `${place}/${score.key}`;
  if (!tenths.has(key)) {
    const { columns } = REPORT.summary.samples;
    const values = columns[score.key].filter((value, i) => value !== null && columns.class[i] === place).sort((a, b) => a - b);
    if (score.worst === "high") values.reverse();
    const edge = values[Math.floor(values.length * TENTH)];
    tenths.set(key, values.length >= 10 && edge !== values[values.length - 1] ? edge : null);
  }
  return tenths.get(key);
}

/** Tell what every stage did to a sample, in one line. */
function story(i) {
  const value = (key) => scoreOf(key, i);
  const parts = [];
  if (value("found") !== null) parts.push(`First label on ${show.percent(value("found"), 0)}, mean probability ${show.number(value("certainty"))}`);
  if (value("apf_freed") !== null) parts.push(`APF kept ${value("apf_kept")} parts, freed ${show.percent(value("apf_freed"), 0)}`);
  if (value("apr_claimed") !== null) parts.push(`APR gave back ${show.percent(value("apr_claimed"), 0)}`);
  if (value("sabr_changed") !== null) parts.push(`SABR changed ${show.percent(value("sabr_changed"), 0)}`);
  if (value("class_share") !== null) parts.push(`in the end ${show.percent(value("class_share"), 0)} class, ${show.percent(value("ignored_share"), 0)} ignored`);
  return parts.length ? el("p", { class: "quiet story" }, `${parts.join(" → ")} (of the picture).`) : null;
}

/** Say in sentences which limits a sample missed, why it was dropped, and by what it is among the worst. */
function why(i, detail, dropped) {
  const { samples, limits } = REPORT.summary;
  const value = (key) => scoreOf(key, i);
  const lines = [];
  const line = (stage, text, miss = true) => lines.push(el("li", { class: miss ? "miss" : "" }, el("b", {}, `${stage}: `), text));
  if (dropped !== null) line(STAGE_NAMES[dropped], `dropped, ${detail.reason}`);
  for (const score of samples.scores) {
    const found = value(score.key);
    if (misses(score, found)) line(STAGE_NAMES[score.stage], `${score.label} is ${show.number(found)}, the limit ${score.limit} is ${limits[score.limit]}`);
  }
  if (value("sabr_skipped") > 0) line("SABR", `SAM saw something else in ${value("sabr_skipped")} of ${value("sabr_regions")} regions, which stayed as they were`);
  const place = samples.columns.class[i];
  const worst = samples.scores.filter((score) => {
    const found = value(score.key);
    if (found === null || !samples.columns[score.key]) return false;
    const edge = worstTenth(score, place);
    return edge !== null && (score.worst === "high" ? found > edge : found < edge);
  });
  if (worst.length) {
    line(`Worst tenth of ${samples.classes[place]}`, worst.map((score) => `${STAGE_NAMES[score.stage]} ${score.label} (${show.number(value(score.key))})`).join("; "), false);
  }
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
