// The attention viewer: all heads small, one head large, its tokens, and its largest weights. What is shown is computed
// here from the recorded weights: minus another view, without the first key, weighed, rows scaled, heads in common.
for (const root of document.querySelectorAll(".attention")) {
  const key = root.dataset.figure, figure = page.data(key);
  const find = (selector) => root.querySelector(selector);
  const small = find(".heads svg"), large = find(".head svg"), state = find(".state");
  const views = find("select.view"), minus = find("select.minus"), turn = find("select.turn");
  const checks = Object.fromEntries(["hide", "share", "weigh"].map((name) => [name, find(`input.${name}`)]));
  const on = (name) => Boolean(checks[name]?.checked);
  const digits = figure.exact ? 7 : 3;
  let at = 0, less = figure.minus[0], focus = { layer: 0, head: 0 }, locked = false, query = null, kept = false;
  const view = () => unpacked(at);
  let made = new Map(), low = 0, high = 1, palette = [];

  // ---- numbers (little-endian, as all browsers' machines are)
  const halves = [];
  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, part = bits & 1023;
    if (power === 31) return NaN;
    return sign * (power ? (1 + part / 1024) * 2 ** (power - 15) : part * 2 ** -24);
  }
  function unpacked(index) {
    const packed = figure.views[index];
    if (packed.at) return packed;
    packed.at = reader(packed, packed.weights);
    packed.heavy = packed.weighed && reader(packed, packed.weighed, packed.largest);
    packed.weights = packed.weighed = null;
    return packed;
  }
  function reader(packed, text, unit = 1) {
    const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const numbers = figure.exact ? new Float32Array(raw.buffer) : Float32Array.from(new Uint16Array(raw.buffer), (bits) => halves[bits] ?? (halves[bits] = half(bits)));
    const n = packed.query.length, m = packed.key.length, heads = packed.heads.length, size = packed.causal ? (n * (n + 1)) / 2 : n * m;
    return (layer, head, q, k) => {
      if (packed.causal && k > q) return NaN;
      return unit * numbers[(layer * heads + head) * size + (packed.causal ? (q * (q + 1)) / 2 + k : q * m + k)];
    };
  }
  function weights(one, layer, head) {
    const n = one.query.length, m = one.key.length, out = new Float32Array(n * m), read = (on("weigh") && one.heavy) || one.at;
    for (let q = 0; q < n; q++) {
      let sum = 0;
      for (let k = 0; k < m; k++) {
        let weight = on("hide") && k === 0 ? NaN : read(layer, head, q, k);
        if (on("weigh") && one.sizes) weight *= one.sizes[(layer * one.heads.length + head) * m + k];
        out[q * m + k] = weight;
        if (weight === weight) sum += weight;
      }
      if (on("share")) for (let k = 0; k < m; k++) out[q * m + k] = sum > 0 ? out[q * m + k] / sum : NaN;
    }
    return out;
  }
  // The matrix of a head, or of what the heads of a layer have in common.
  function matrixOf(layer, column) {
    const name = `${layer} ${column}`, heads = view().heads.length;
    if (made.has(name)) return made.get(name);
    let out;
    if (column < heads) {
      out = weights(view(), layer, column);
      if (less !== null) weights(unpacked(less), layer, column).forEach((weight, i) => (out[i] -= weight));
    } else {
      out = new Float32Array(view().query.length * view().key.length).fill(NaN);
      const all = view().heads.map((_, head) => matrixOf(layer, head));
      for (let i = 0; i < out.length; i++) {
        let sum = 0, count = 0, far = NaN;
        for (const one of all) {
          if (one[i] !== one[i]) continue;
          sum += one[i];
          count++;
          if (!(Math.abs(one[i]) <= Math.abs(far))) far = one[i];
        }
        if (count) out[i] = column === heads ? sum / count : far;
      }
    }
    made.set(name, out);
    return out;
  }
  // The tokens along an axis: of both prompts where what is subtracted has another one there.
  function texts(axis) {
    const other = less === null ? null : figure.views[less][axis];
    return view()[axis].map((text, i) => (other && other[i] !== text ? `${text} / ${other[i]}` : text));
  }
  const columns = () => view().heads.length + (view().heads.length > 1 ? 2 : 0);
  const nameOf = (column) => view().heads[column] ?? (column === view().heads.length ? "mean" : "max");
  const inWords = (column) => (column < view().heads.length ? `head ${nameOf(column)}` : `${nameOf(column)} of all heads`);
  const value = (q, k) => matrixOf(focus.layer, focus.head)[q * view().key.length + k];
  function rescale() {
    made = new Map();
    [low, high] = [0, 0];
    for (let layer = 0; layer < view().layers.length; layer++)
      for (let head = 0; head < view().heads.length; head++)
        for (const weight of matrixOf(layer, head)) {
          if (weight > high) high = weight;
          else if (weight < low) low = weight;
        }
    if (low < 0) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
    high ||= 1;
    palette = page.palette(low < 0 ? figure.signed : figure.amount);
  }

  // ---- pictures
  function paint(width, height, at) {
    const canvas = page.make("canvas", { width, height }), context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let y = 0, i = 0; y < height; y++)
      for (let x = 0; x < width; x++, i += 4) {
        const found = at(y, x);
        if (found !== found) continue;
        const colour = palette[Math.round((254 * (found - low)) / (high - low))];
        image.data[i] = colour[0];
        image.data[i + 1] = colour[1];
        image.data[i + 2] = colour[2];
        image.data[i + 3] = 255;
      }
    context.putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
  }
  const rowOf = (layer) => view().layers.length - 1 - layer;
  const place = (image) => Object.fromEntries(["x", "y", "width", "height"].map((n) => [n, Number(image.getAttribute(n))]));
  function drawHeads() {
    const n = view().query.length, m = view().key.length;
    const picture = paint(columns() * (m + 1), view().layers.length * (n + 1), (y, x) => {
      const q = y % (n + 1), k = x % (m + 1);
      return q === n || k === m ? NaN : matrixOf(rowOf(Math.floor(y / (n + 1))), Math.floor(x / (m + 1)))[q * m + k];
    });
    small.querySelector("image").setAttribute("href", picture);
    find(".heads h3").textContent = view().title + (less === null ? "" : ` − ${figure.views[less].title}`);
    ["low", "middle", "high"].forEach((name, i) => (find(`.bar .${name}`).textContent = page.number(low + (i / 2) * (high - low), 3)));
    find(".bar image").setAttribute("href", page.ramp(palette));
    find(".bar > span").textContent = (less === null ? "attention" : "difference of attention") + (on("weigh") ? ", times the size of the value" : "");
    nameHeads();
  }
  // Another model has other heads: the picture keeps its place, its numbers change.
  function nameHeads() {
    const ticks = small.querySelector(".ticks"), area = place(small.querySelector("image.cells"));
    const across = area.width / columns(), down = area.height / view().layers.length;
    ticks.querySelectorAll("text:not(.name)").forEach((text) => text.remove());
    view().heads.forEach((head, i) => i % Math.ceil(16 / across) || ticks.append(page.make("text", { x: area.x + across * (i + 0.5), y: area.y + area.height + 13, "text-anchor": "middle" }, head)));
    for (let i = view().heads.length; i < columns(); i++) {
      const x = area.x + across * (i + 0.5) + 3, y = area.y + area.height + 12;
      ticks.append(page.make("text", { x, y, class: "strong", "text-anchor": "end", transform: `rotate(-55 ${x} ${y})` }, nameOf(i)));
    }
    view().layers.forEach((layer, i) => i % Math.ceil(12 / down) || ticks.append(page.make("text", { x: area.x - 5, y: area.y + down * (rowOf(i) + 0.5) + 4, "text-anchor": "end" }, layer)));
  }
  const cut = (text) => (text.length > 14 ? text.slice(0, 13) + "…" : text);
  function drawHead() {
    const { layers } = view(), queries = texts("query"), keys = texts("key"), n = queries.length, m = keys.length, top = 4;
    const side = Math.max(1.2, Math.min(22, 400 / Math.max(n, m))), longest = (texts) => texts.reduce((most, t) => Math.max(most, cut(t).length), 1);
    const left = 7 * longest(queries) + 42, width = left + m * side + 12, height = top + n * side + 6 * longest(keys) + 34;
    for (const [name, size] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height })) large.setAttribute(name, size);
    large.setAttribute("aria-label", `weights of layer ${layers[focus.layer]}, ${inWords(focus.head)}. Arrow keys read them.`);
    const area = { x: left, y: top, width: m * side, height: n * side };
    const image = { ...area, class: "cells", preserveAspectRatio: "none", href: paint(m, n, value) };
    large.replaceChildren(page.make("image", image), page.make("rect", { ...area, class: "frame" }), axes(side, left, top, height));
    find(".which").textContent = `layer ${layers[focus.layer]}, ${inWords(focus.head)}`;
    query = query === null || query >= n ? n - 1 : query;
    follow();
    list();
  }
  function axes(side, left, top, height) {
    const queries = texts("query"), keys = texts("key"), n = queries.length, m = keys.length, every = Math.ceil(12 / side), ticks = page.make("g", { class: "ticks" });
    for (let q = 0; q < n; q += every) ticks.append(page.make("text", { x: left - 5, y: top + side * (q + 0.5) + 4, "text-anchor": "end" }, cut(queries[q])));
    for (let k = 0; k < m; k += every) {
      const x = left + side * (k + 0.5) + 3, y = top + n * side + 10;
      ticks.append(page.make("text", { x, y, "text-anchor": "end", transform: `rotate(-55 ${x} ${y})` }, cut(keys[k])));
    }
    const middle = top + (n * side) / 2;
    ticks.append(page.make("text", { x: left + (m * side) / 2, y: height - 3, "text-anchor": "middle", class: "name" }, "key"));
    ticks.append(page.make("text", { x: 11, y: middle, "text-anchor": "middle", class: "name", transform: `rotate(-90 11 ${middle})` }, "query"));
    return ticks;
  }
  // The marked query: a line in the matrix, and the tokens shaded by what it looks at (or what looks at it).
  function follow() {
    const area = place(large.querySelector("image.cells")), side = area.height / view().query.length;
    large.querySelector(".row")?.remove();
    large.append(page.make("rect", { class: "row", x: area.x, y: area.y + query * side, width: area.width, height: side }));
    strip();
  }
  function strip() {
    const back = turn.value === "queries", marked = back ? Math.min(query, view().key.length - 1) : query;
    const [shown, own] = back ? [texts("query"), texts("key")] : [texts("key"), texts("query")];
    const parts = shown.map((token, i) => {
      const [q, k] = back ? [i, marked] : [marked, i], weight = value(q, k);
      const far = weight === weight ? Math.min(10, Math.round((10 * Math.abs(weight)) / high)) : 0;
      const shade = weight === weight ? ` ${weight < 0 ? "m" : "p"}${far}` : "", self = i === marked && token === own[marked];
      const part = page.make("button", { type: "button", class: "token" + shade + (self ? " query" : ""), "aria-pressed": self }, token);
      part.addEventListener("click", () => { if (i < own.length) { keepQuery(i); find(".strip").children[i].focus(); } });
      part.addEventListener("pointerenter", (event) => page.show(describe(q, k), event.clientX, event.clientY));
      part.addEventListener("pointerleave", page.hide);
      return part;
    });
    find(".strip").replaceChildren(...parts);
  }
  const describe = (q, k) => [`query ${q} ${texts("query")[q]}`, `key ${k} ${texts("key")[k]}`, page.number(value(q, k), digits)];
  function list() {
    const found = [], m = view().key.length;
    matrixOf(focus.layer, focus.head).forEach((weight, i) => weight === weight && found.push([weight, Math.floor(i / m), i % m]));
    found.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
    const rows = found.slice(0, 8).map(([weight, q, k]) => {
      const row = page.make("tr");
      row.append(page.make("td", {}, `${q} ${texts("query")[q]}`), page.make("td", {}, `${k} ${texts("key")[k]}`), page.make("td", { class: "number" }, page.number(weight, digits)));
      return row;
    });
    find("table.top tbody").replaceChildren(...rows);
  }

  // ---- what is kept, and its address
  function select(layer, head) {
    focus = { layer, head };
    drawHead();
  }
  function keep(layer, head) {
    locked = true;
    select(layer, head);
    mark();
  }
  function keepQuery(q) {
    query = q;
    kept = locked = true;
    follow();
    mark();
  }
  function free() {
    locked = kept = false;
    mark();
  }
  function address() {
    const parts = [`L${view().layers[focus.layer]}${focus.head < view().heads.length ? "H" : ""}${nameOf(focus.head)}`];
    if (kept) parts.push(`q${query}`);
    if (at) parts.push(`v${at}`);
    if (less !== figure.minus[at]) parts.push(`m${less ?? ""}`);
    return `#${key}-` + [...parts, ...Object.keys(checks).filter(on)].join("-");
  }
  function mark() {
    small.querySelector(".locked")?.remove();
    state.hidden = !locked;
    large.querySelector(".row")?.classList.toggle("kept", kept);
    if (!locked) return;
    const area = place(small.querySelector("image.cells")), width = area.width / columns(), height = area.height / view().layers.length;
    small.append(page.make("rect", { class: "locked", x: area.x + focus.head * width, y: area.y + rowOf(focus.layer) * height, width, height }));
    state.firstElementChild.textContent = `Kept: ${find(".which").textContent}${kept ? `, query ${query} ${texts("query")[query]}` : ""}.`;
    find(".link").setAttribute("href", address());
    history.replaceState(null, "", address());
  }
  function all() {
    rescale();
    focus.layer = Math.min(focus.layer, view().layers.length - 1);
    focus.head = Math.min(focus.head, columns() - 1);
    drawHeads();
    drawHead();
    mark();
  }
  // What can be subtracted: views of the same model with as many tokens.
  function offer() {
    if (!minus) return;
    const one = view(), same = (a, b) => a.length === b.length && a.every((part, i) => part === b[i]);
    const fits = figure.views.map((other, i) => [other, i]).filter(([other, i]) => i !== at && other.model === one.model && same(other.layers, one.layers) && same(other.heads, one.heads) && other.query.length === one.query.length && other.key.length === one.key.length);
    minus.replaceChildren(page.make("option", { value: "" }, "nothing"), ...fits.map(([other, i]) => page.make("option", { value: i }, other.title)));
    if (!fits.some(([, i]) => i === less)) less = null;
    minus.value = less ?? "";
    minus.parentElement.hidden = !fits.length;
  }
  function choose(index, other = figure.minus[index]) {
    at = index;
    less = other;
    if (views) views.value = index;
    offer();
  }

  matrix(
    small,
    () => [view().layers.length, columns()],
    (row, column) => [`layer ${view().layers[rowOf(row)]}, ${inWords(column)}`],
    (row, column) => locked || (focus.layer === rowOf(row) && focus.head === column) || select(rowOf(row), column),
    (row, column) => keep(rowOf(row), column),
  );
  matrix(
    large,
    () => [view().query.length, view().key.length],
    describe,
    (q) => { if (!kept && q !== query) { query = q; follow(); } },
    (q) => keepQuery(q),
  );
  root.addEventListener("keydown", (event) => event.key === "Escape" && free());
  find(".free").addEventListener("click", free);
  turn.addEventListener("change", strip);
  for (const check of Object.values(checks)) check?.addEventListener("change", all);
  views?.addEventListener("change", () => { choose(Number(views.value)); all(); });
  minus?.addEventListener("change", () => { less = minus.value === "" ? null : Number(minus.value); all(); });
  for (const part of root.querySelectorAll(".controls, .head, .help")) part.hidden = false;

  // ---- from an address to a view
  function follows(hash) {
    if (!hash.startsWith(`#${key}-`)) return false;
    const parts = hash.slice(key.length + 2).split("-"), number = (letter) => parts.map((p) => new RegExp(`^${letter}(\\d*)$`).exec(p)).find(Boolean)?.[1];
    if (figure.views[number("v") ?? 0]) choose(Number(number("v") ?? 0));
    if (number("m") !== undefined) choose(at, number("m") === "" ? null : Number(number("m")));
    for (const [name, check] of Object.entries(checks)) if (check) check.checked = parts.includes(name);
    const [, layer, head] = /^L(\d+)(?:H)?(\d+|mean|max)$/.exec(parts[0]) ?? [];
    const found = { layer: view().layers.indexOf(layer), head: Array.from({ length: columns() }, (_, i) => nameOf(i)).indexOf(head) };
    if (found.layer < 0 || found.head < 0) return false;
    focus = found;
    locked = true;
    const q = number("q");
    if (q && Number(q) < view().query.length) [query, kept] = [Number(q), true];
    return true;
  }
  // A pattern begins at the last layer, a difference where it is largest.
  function begin() {
    choose(0);
    rescale();
    checks.share.parentElement.hidden = less === null && low < 0; // scores and written differences have no such sum
    focus.layer = view().layers.length - 1;
    if (less === null) return;
    const far = (layer, head) => matrixOf(layer, head).reduce((most, weight) => (Math.abs(weight) > most ? Math.abs(weight) : most), 0);
    view().layers.forEach((_, layer) => view().heads.forEach((_, head) => far(layer, head) > far(focus.layer, focus.head) && (focus = { layer, head })));
  }
  begin();
  follows(location.hash);
  all();
  window.addEventListener("hashchange", () => follows(location.hash) && all());
}
