"use strict";
/* Training curves, and what the run was made of: settings, seeds, versions, weights, lineage, seconds and disk. */

function drawTraining(section) {
  const models = Object.entries(REPORT.summary.curves);
  if (!models.length) {
    section.append(el("p", { class: "note" }, "The trainings of this run kept no log."));
    return;
  }
  const groups = [models.filter(([name]) => ["before", "after"].includes(name)), ...models.filter(([name]) => !["before", "after"].includes(name)).map((one) => [one])];
  for (const group of groups.filter((one) => one.length).reverse()) {
    section.append(el("h3", {}, group.map(([name]) => MODEL_NAMES[name] || name.replace("teacher:", "Teacher:")).join(" and ")));
    const keys = [...new Set(group.flatMap(([, curve]) => Object.keys(curve.series)))];
    section.append(el("div", { class: "charts" }, keys.map((key) => curves(key, group.filter(([, curve]) => curve.series[key]).map(([name, curve], i) => (
      { name: MODEL_NAMES[name] || name, steps: curve.steps, values: curve.series[key], kind: ["one", "two"][group.length > 1 && name === "before" ? 1 : i && 0] }))))));
  }
}

function drawBackground(section) {
  const { work, versions, settings, scores, run } = REPORT.summary;
  const seconds = work.reduce((sum, row) => sum + row.seconds, 0);
  const bytes = work.reduce((sum, row) => sum + row.bytes, 0);
  section.append(el("h3", {}, "Time and disk by stage"),
    table("Time and disk by stage", ["stage", ["shards"], ["time"], ["disk"], ["a shard"]], [...work.map((row) => (
      [STAGE_NAMES[row.stage] || row.stage, show.count(row.shards), [show.seconds(row.seconds), " ", bar(row.seconds / (seconds || 1))],
        [show.bytes(row.bytes), " ", bar(row.bytes / (bytes || 1))], show.seconds(row.seconds / row.shards)])),
    ["all", show.count(work.reduce((sum, row) => sum + row.shards, 0)), show.seconds(seconds), show.bytes(bytes), ""]]));
  section.append(el("p", { class: "quiet" }, "Seconds of work, added up over all processes. Pictures lie in their stage alone, labels in each."));
  section.append(el("h3", {}, "Seeds"), el("p", {}, `Seed of the run: ${scores.seed}. The seed of each picture follows from it, the class, the prompt and the number of the copy; the gallery tells it.`));
  section.append(el("h3", {}, "Models and stage versions"), table("Models and stage versions", ["stage", "version", "model", "weights (hash)", "settings"],
    work.map((row) => [STAGE_NAMES[row.stage] || row.stage, row.version.join(", "), row.model || "–", row.weights.join(", ") || "–",
      Object.entries(row.settings).filter(([, value]) => typeof value !== "object").map(([key, value]) => `${key} ${value}`).join(", ") || "–"])));
  section.append(el("h3", {}, "Library versions"), table("Library versions", ["library", "version"], Object.entries(versions).map(([name, found]) => [name, found.join(", ")])));
  section.append(folded("All settings", (body) => body.append(table("All settings", ["experiment.", "value", "meaning"], settings))));
  section.append(folded("Lineage: every shard with fingerprint and content", drawLineage));
  if (run.missing.length) section.append(folded(`${run.missing.length} shards that the store no longer has`, (body) => body.append(el("ul", {}, run.missing.map((place) => el("li", {}, el("code", {}, place)))))));
}

async function drawLineage(body) {
  body.append(el("p", { class: "quiet" }, "Loading …"));
  try {
    const rows = await load("lineage.js", "lineage");
    body.replaceChildren(paged(rows, (some) => table("Shards", ["stage", "shard", "fingerprint", "content", ["samples"], ["kept"], ["seconds"], ["disk"]], some.map((row) => (
      [row[0], row[1], el("code", {}, row[2]), el("code", {}, row[3]), row[4] ?? "–", row[5] ?? "–", row[6].toFixed(1), show.bytes(row[7])])))));
  } catch (error) {
    body.replaceChildren(el("p", { class: "note" }, error.message));
  }
}
