"use strict";
/* Elements, numbers and lazily loaded data. Text from the run only ever becomes a text node. */

window.REPORT = {};

/** Give an element. Attributes that are null or false are left out; children are elements, text, or lists of them. */
function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "path", "text", "title"].includes(tag) && attributes.svg !== false;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false || name === "svg") continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === "css") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const show = {
  percent: (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`),
  points: (value) => (value === null || value === undefined ? "–" : (100 * value).toFixed(1)),
  change: (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)}`,
  count: (value) => value.toLocaleString("en"),
  number: (value) => (value === null || value === undefined ? "–" : Number.isInteger(value) ? String(value) : value.toPrecision(3)),
  bytes(value) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let step = 0;
    while (value >= 1000 && step < 4) { value /= 1000; step += 1; }
    return `${value.toFixed(step ? 1 : 0)} ${units[step]}`;
  },
  seconds(value) {
    if (value < 90) return `${value.toFixed(1)} s`;
    return value < 5400 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
  },
};

/** Give a table. Heads are names, or [name, "number"]; a cell is text, an element, or a list of them. */
function table(caption, heads, rows, options = {}) {
  const number = heads.map((head) => Array.isArray(head));
  const head = heads.map((name, i) => el("th", { scope: "col", class: number[i] && "number" }, [name].flat()[0]));
  const body = rows.map((row) => el("tr", {}, row.map((cell, i) => (
    i === 0 && !options.plain ? el("th", { scope: "row" }, cell) : el("td", { class: number[i] && "number" }, cell)
  ))));
  const inner = el("table", {}, el("caption", { class: options.caption ? "" : "hidden" }, caption),
    el("thead", {}, el("tr", {}, head)), el("tbody", {}, body));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, inner);
}

/** Give a part that is filled when it is first opened. */
function folded(title, fill, options = {}) {
  const body = el("div", {});
  const node = el("details", { class: options.class || "fold", id: options.id }, el("summary", {}, title), body);
  node.addEventListener("toggle", () => {
    if (node.open && !body.hasChildNodes()) fill(body);
  });
  return node;
}

const loading = new Map();

/** Give data that a script of the report holds: loads it once. */
function load(file, key) {
  if (!loading.has(file)) {
    loading.set(file, new Promise((resolve, reject) => {
      const script = el("script", { src: `data/${file}` });
      script.addEventListener("load", () => resolve(REPORT[key]));
      script.addEventListener("error", () => reject(new Error(`data/${file} is missing: syn4seg report builds it anew`)));
      document.head.append(script);
    }));
  }
  return loading.get(file);
}

/** Give a meter: a bar of a share 0..1, for the eye only, since the number stands beside it. */
function bar(share, kind = "") {
  return el("span", { class: `bar ${kind}`, "aria-hidden": "true" }, el("span", { css: { width: `${100 * Math.min(1, Math.max(0, share))}%` } }));
}

let overlay = 0.6;

/** Give a slider of the overlays' opacity; all of them move together. */
function opacitySlider(id) {
  const output = el("output", { for: id }, show.percent(overlay, 0));
  const slider = el("input", { type: "range", id, min: 0, max: 100, step: 5, value: 100 * overlay, class: "opacity" });
  slider.addEventListener("input", () => {
    overlay = slider.value / 100;
    document.documentElement.style.setProperty("--overlay", overlay);
    for (const other of document.querySelectorAll("input.opacity")) {
      other.value = slider.value;
      other.nextElementSibling.textContent = show.percent(overlay, 0);
    }
  });
  return el("label", { class: "field", for: id }, el("span", {}, "Overlay"), el("span", { class: "slide" }, slider, output));
}

/** Give a picture with one part of a strip over it. */
function layered(picture, strip, place, parts, size, label) {
  const layer = strip && el("span", { class: "layer", css: {
    "background-image": `url("${strip}")`, "background-size": `${100 * parts}% 100%`,
    "background-position": `${parts > 1 ? (100 * place) / (parts - 1) : 0}% 0`,
  } });
  return el("span", { class: "picture", role: "img", "aria-label": label, css: { "aspect-ratio": `${size[1]} / ${size[0]}` } },
    el("img", { src: picture, alt: "", loading: "lazy", decoding: "async" }), layer);
}

/** Give the legend of some labels; free and ignored ones are patterns. */
function legend(ids, patterns = ["free", "ignored"]) {
  const { names, colours } = REPORT.summary.labels;
  const items = ids.filter((id) => id > 0 && id < colours.length).map((id) => el("li", {},
    el("span", { class: "swatch", css: { background: colours[id] } }), names[id]));
  const meaning = { free: "free (not decided yet)", ignored: "ignored (255)" };
  items.push(...patterns.map((name) => el("li", {}, el("span", { class: `swatch ${name}` }), meaning[name])));
  return el("ul", { class: "legend", "aria-label": "Legend" }, items);
}
