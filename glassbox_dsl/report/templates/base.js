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
  // 255 colours between the stops of a scale, and a picture of them for the bar.
  palette(stops) {
    const parts = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
    return Array.from({ length: 255 }, (_, step) => {
      const at = (step / 254) * (parts.length - 1), low = Math.min(Math.floor(at), parts.length - 2);
      return [0, 1, 2].map((c) => Math.round(parts[low][c] + (at - low) * (parts[low + 1][c] - parts[low][c])));
    });
  },
  ramp(palette) {
    const canvas = page.make("canvas", { width: palette.length, height: 1 }), context = canvas.getContext("2d");
    const image = context.createImageData(palette.length, 1);
    palette.forEach((colour, i) => image.data.set([...colour, 255], 4 * i));
    context.putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
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
