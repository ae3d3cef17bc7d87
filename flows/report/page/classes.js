"use strict";
/* Each novel class: its prompts with similarities and diversity, what the stages kept, similarities with thresholds. */

const STAGE_NAMES = {
  prompts: "prompts", images: "pictures", annotate: "first labels", filter: "APF", relabel: "APR", refine: "SABR", final: "final",
  dataset: "dataset", teacher: "teacher", train: "final models", scores: "scores", fss: "few-shot model",
};

function drawClasses(section) {
  const { classes, samples, scores } = REPORT.summary;
  if (!classes.length) {
    section.append(el("p", { class: "note" }, "This run made no synthetic pictures."));
    return;
  }
  const rows = classes.map((one) => {
    const made = madeOf(one);
    const kept = one.kept[samples.stages[samples.stages.length - 1]] || 0;
    const iou = (model) => (scores[model] ? show.points(scores[model].per_class[one.name]) : "–");
    return [one.name, one.bank ? show.count(one.bank.accepted) : "–", one.bank ? show.count(one.bank.refused) : "–",
      one.bank && one.bank.diversity ? one.bank.diversity.accepted.effective.toFixed(1) : "–", show.count(made), [show.count(kept), " ", bar(made ? kept / made : 0)],
      iou("before"), iou("after"), el("a", { href: galleryLink({ class: one.name, sort: "overall" }), "aria-label": `worst labels of ${one.name}` }, "worst labels")];
  });
  section.append(table("Prompts, pictures and scores of each novel class", ["class", ["prompts"], ["refused"], ["effective prompts"], ["pictures"], ["kept"],
    ["IoU without"], ["IoU with"], "why"], rows));
  section.append(el("p", { class: "quiet" }, "Effective prompts: as how many wholly different sentences the accepted ones count (Vendi score of their text vectors). IoU in %."));
  for (const one of classes) section.append(folded(one.name, (body) => drawClass(body, one), { class: "fold", id: `class-${one.name}` }));
}

function madeOf(one) {
  return Object.values(one.dropped).flatMap((reasons) => Object.values(reasons)).reduce((sum, count) => sum + count, 0)
    + (one.kept[Object.keys(one.kept).length ? lastStage(one) : "images"] || 0);
}

function lastStage(one) {
  return REPORT.summary.samples.stages.filter((stage) => stage in one.kept).pop();
}

function drawClass(body, one) {
  const { samples } = REPORT.summary;
  if (one.bank) body.append(...bankParts(one.bank));
  if (Object.keys(one.kept).length) {
    body.append(el("h4", {}, "What the stages kept"));
    const rows = samples.stages.filter((stage) => stage in one.kept || stage in one.dropped).map((stage) => {
      const reasons = Object.entries(one.dropped[stage] || {}).map(([reason, count]) => `${count} ${reason}`).join("; ");
      const [share, free, ignored] = one.shares[stage] || [];
      return [STAGE_NAMES[stage], show.count(one.kept[stage] || 0), reasons || "–", show.percent(share), show.percent(free), show.percent(ignored)];
    });
    body.append(table(`Stages of ${one.name}`, ["after", ["kept"], "dropped", ["class"], ["free"], ["ignored"]], rows));
  }
  body.append(el("h4", {}, "Similarities and their thresholds"), el("div", { class: "charts" }, classCharts(one)));
}

function bankParts(bank) {
  const limit = REPORT.summary.limits["prompts.max_similarity"];
  const facts = [["offered", show.count(bank.offered)], ["accepted", show.count(bank.accepted)], ["refused", show.count(bank.refused)]];
  const measures = [["mean_cosine", "mean cosine of two prompts", 3], ["nearest_cosine", "mean cosine to the nearest prompt", 3], ["effective", "effective prompts (Vendi)", 1]];
  for (const [key, name, digits] of bank.diversity ? measures : []) {
    const [kept, first] = ["accepted", "unfiltered"].map((who) => bank.diversity[who] && bank.diversity[who][key].toFixed(digits));
    facts.push([name, first ? `${kept} (unfiltered ${first})` : kept]);
  }
  for (const warning of bank.warnings) facts.push(["warning", warning]);
  const { low, high, accepted, refused } = bank.histogram;
  const series = [{ name: "accepted", counts: accepted, kind: "one", low, high }, { name: "refused", counts: refused, kind: "two", low, high }];
  return [el("h4", {}, "Prompts"), el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    el("div", { class: "charts" }, histogram("Cosine to the nearest accepted prompt", low, high, series, { value: limit, name: "prompts.max_similarity" }, "sentences"),
      Object.entries(bank.attributes).map(([attribute, values]) => attributeChart(attribute, values, bank.accepted))),
    folded(`Sentences: ${show.count(bank.accepted)} accepted, ${show.count(bank.refused)} refused`, (body) => drawSentences(body, bank))];
}

function attributeChart(attribute, values, total) {
  return el("div", { class: "chart" }, el("p", { class: "figcaption" }, `Attribute: ${attribute}`), el("ul", { class: "counts" },
    Object.entries(values).map(([value, count]) => el("li", {}, el("span", {}, value), bar(count / total), el("span", { class: "number" }, String(count))))));
}

async function drawSentences(body, bank) {
  body.append(el("p", { class: "quiet" }, "Loading …"));
  try {
    const lists = await load(`prompts-${String(bank.file).padStart(3, "0")}.js`, `prompts/${bank.file}`);
    const cut = Math.max(bank.accepted, bank.refused) > bank.listed ? `The first ${show.count(bank.listed)} of each.` : "";
    body.replaceChildren(el("p", { class: "quiet" }, cut),
      paged(lists.accepted, (rows) => table("Accepted prompts", ["accepted", ["cosine"]], rows.map(([text, value]) => [text, value > -1 ? value.toFixed(3) : "–"]))),
      paged(lists.refused, (rows) => table("Refused prompts", ["refused", ["cosine"], "why", "nearest accepted"],
        rows.map(([text, value, why, near]) => [text, value > -1 ? value.toFixed(3) : "–", why.split("(")[0], near]))));
  } catch (error) {
    body.replaceChildren(el("p", { class: "note" }, error.message));
  }
}

/** Show rows by twenty, with a button for more. */
function paged(rows, draw, step = 20) {
  let shown = step;
  const place = el("div", {});
  const more = el("button", { type: "button", on: { click: () => { shown += 5 * step; fill(); } } }, "Show more");
  const fill = () => {
    place.replaceChildren(draw(rows.slice(0, shown)));
    more.hidden = shown >= rows.length;
  };
  fill();
  return el("div", {}, place, more);
}

function classCharts(one) {
  const { samples, limits, looks } = REPORT.summary;
  const charts = [];
  const measured = looks.similarities && looks.similarities[one.name];
  for (const [stage, title, limit] of [["filter", "APF: cosine of a part of the first label to the supports", "filter.min_similarity"],
    ["relabel", "APR: cosine of a freed pixel to the blended prototype", "relabel.min_similarity"]]) {
    const found = measured && measured[stage];
    if (found) {
      charts.push(histogram(`${title} (${found.pictures} pictures)`, found.low, found.high, [{ name: "count", counts: found.counts, kind: "one", low: found.low, high: found.high }],
        { value: limits[limit], name: limit }, stage === "filter" ? "parts" : "pixels"));
    }
  }
  const place = samples.classes.indexOf(one.name);
  const mine = samples.columns.class ? samples.columns.class.flatMap((value, i) => (value === place ? [i] : [])) : [];
  for (const score of samples.scores) {
    const column = samples.columns[score.key];
    if (!column || !["certainty", "apf_best", "sabr_overlap", "agreement"].includes(score.key)) continue;
    const values = mine.map((i) => column[i]).filter((value) => value !== null);
    if (values.length) {
      const found = binned(values);
      charts.push(histogram(`${STAGE_NAMES[score.stage]}: ${score.label}`, found.low, found.high, [{ name: "pictures", kind: "one", ...found }],
        score.limit && { value: limits[score.limit], name: score.limit }, "pictures"));
    }
  }
  return charts;
}
