// What all figures share: their data, a tip that follows the pointer, and words for screen readers.
// Text enters the page through textContent only, positions through element properties.
"use strict";
const page = {
  data(key) {
    return JSON.parse(document.getElementById(key + "-data").textContent);
  },
  make(tag, attributes, text) {
    const svg = ["rect", "image", "text", "g"].includes(tag);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  },
  number(value, digits) {
    if (value === null || value === undefined || Number.isNaN(value)) return "no value";
    if (typeof value === "string") return value;
    return String(Number(value.toPrecision(digits || 7))).replace("-", "−");
  },
  tip: document.querySelector(".tip"),
  show(lines, x, y) {
    const tip = page.tip;
    tip.textContent = lines.join("\n");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, window.innerWidth - box.width - 8)) + "px";
    tip.style.top = (y + 18 + box.height > window.innerHeight ? Math.max(4, y - box.height - 10) : y + 18) + "px";
  },
  hide() {
    page.tip.hidden = true;
  },
  speak(lines) {
    document.querySelector(".spoken").textContent = lines.join(", ");
  },
};
