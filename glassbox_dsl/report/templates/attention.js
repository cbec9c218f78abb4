// The attention viewer: all heads small, one head large, its tokens, and its largest weights.
for (const root of document.querySelectorAll(".attention")) {
  const figure = page.data(root.dataset.figure), key = root.dataset.figure;
  const small = root.querySelector(".heads svg"), large = root.querySelector(".head svg");
  const controls = root.querySelector(".controls"), hide = controls.querySelector(".hide"), share = controls.querySelector(".share"), state = controls.querySelector(".state");
  const palette = colours(figure.stops);
  let view = unpack(figure.views[0]), focus = { layer: 0, head: 0 }, locked = false, query = null;
  focus.layer = view.layers.length - 1;

  function colours(stops) {
    const parts = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
    return Array.from({ length: 255 }, (_, step) => {
      const at = (step / 254) * (parts.length - 1), low = Math.min(Math.floor(at), parts.length - 2);
      return [0, 1, 2].map((c) => Math.round(parts[low][c] + (at - low) * (parts[low + 1][c] - parts[low][c])));
    });
  }
  function unpack(packed) {
    if (packed.weight) return packed;
    const raw = Uint8Array.from(atob(packed.weights), (c) => c.charCodeAt(0));
    const bytes = new DataView(raw.buffer), n = packed.query.length, m = packed.key.length;
    const size = packed.causal ? (n * (n + 1)) / 2 : n * m, heads = packed.heads.length;
    packed.weight = (layer, head, q, k) => {
      if (packed.causal && k > q) return null;
      const i = (layer * heads + head) * size + (packed.causal ? (q * (q + 1)) / 2 + k : q * m + k);
      if (figure.exact) {
        const value = bytes.getFloat32(4 * i, true);
        return Number.isNaN(value) ? null : value;
      }
      const step = bytes.getUint8(i);
      return step ? figure.low + ((step - 1) / 254) * (figure.high - figure.low) : null;
    };
    return packed;
  }
  let sums = new Map();
  const unhidden = (layer, head, q, k) => (hide.checked && k === 0 ? null : view.weight(layer, head, q, k));
  function rowSum(layer, head, q) {
    const row = (layer * view.heads.length + head) * view.query.length + q;
    if (!sums.has(row)) sums.set(row, view.key.reduce((sum, _, k) => sum + (unhidden(layer, head, q, k) ?? 0), 0));
    return sums.get(row);
  }
  function visible(layer, head, q, k) {
    const weight = unhidden(layer, head, q, k);
    if (weight === null || !share.checked) return weight;
    const sum = rowSum(layer, head, q);
    return sum > 0 ? weight / sum : null;
  }
  const range = () => {
    if (figure.low < 0) return [figure.low, figure.high];
    let high = 0;
    for (let l = 0; l < view.layers.length; l++)
      for (let h = 0; h < view.heads.length; h++)
        for (let q = 0; q < view.query.length; q++)
          for (let k = 0; k < view.key.length; k++) high = Math.max(high, visible(l, h, q, k) ?? 0);
    return [0, high || 1];
  };
  let [low, high] = range();
  const colour = (value) => palette[Math.round(254 * Math.min(1, Math.max(0, (value - low) / (high - low))))];

  function paint(width, height, value) {
    const canvas = page.make("canvas", { width, height }), context = canvas.getContext("2d"), image = context.createImageData(width, height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const found = value(y, x);
        if (found !== null) image.data.set([...colour(found), 255], 4 * (y * width + x));
      }
    context.putImageData(image, 0, 0);
    return canvas.toDataURL("image/png");
  }
  const rowOf = (layer) => view.layers.length - 1 - layer;
  function drawHeads() {
    const n = view.query.length, m = view.key.length;
    const source = paint(view.heads.length * (m + 1), view.layers.length * (n + 1), (y, x) => {
      const q = y % (n + 1), k = x % (m + 1);
      return q === n || k === m ? null : visible(rowOf(Math.floor(y / (n + 1))), Math.floor(x / (m + 1)), q, k);
    });
    small.querySelector("image").setAttribute("href", source);
    root.querySelector(".heads h3").textContent = view.title;
    ["low", "middle", "high"].forEach((name, i) => {
      root.querySelector(`.bar .${name}`).textContent = page.number(low + (i / 2) * (high - low), 3);
    });
  }
  function drawHead() {
    const n = view.query.length, m = view.key.length;
    const side = Math.max(3, Math.min(22, 380 / Math.max(n, m))), wide = 7 * Math.min(14, Math.max(...view.query.map((t) => t.length))) + 34;
    const tall = 7 * Math.min(14, Math.max(...view.key.map((t) => t.length))) * 0.85 + 28, top = 4;
    const left = wide + 8, cut = (t) => (t.length > 14 ? t.slice(0, 13) + "…" : t);
    const width = left + m * side + 12, height = top + n * side + tall;
    large.setAttribute("viewBox", `0 0 ${width} ${height}`);
    large.setAttribute("width", width);
    large.setAttribute("height", height);
    large.setAttribute("aria-label", `weights of layer ${view.layers[focus.layer]}, head ${view.heads[focus.head]}. Arrow keys read them.`);
    large.replaceChildren();
    const area = { x: left, y: top, width: m * side, height: n * side };
    large.append(
      page.make("image", { ...area, class: "cells", preserveAspectRatio: "none", href: paint(m, n, (q, k) => visible(focus.layer, focus.head, q, k)) }),
      page.make("rect", { ...area, class: "frame" }),
    );
    const every = Math.ceil(11 / side), ticks = page.make("g", { class: "ticks" });
    for (let q = 0; q < n; q += every) ticks.append(page.make("text", { x: left - 5, y: top + side * (q + 0.5) + 4, "text-anchor": "end" }, cut(view.query[q])));
    for (let k = 0; k < m; k += every) {
      const x = left + side * (k + 0.5) + 3, y = top + n * side + 10;
      ticks.append(page.make("text", { x, y, "text-anchor": "end", transform: `rotate(-55 ${x} ${y})` }, cut(view.key[k])));
    }
    ticks.append(page.make("text", { x: left + (m * side) / 2, y: height - 3, "text-anchor": "middle", class: "name" }, "key"));
    const middle = top + (n * side) / 2;
    ticks.append(page.make("text", { x: 11, y: middle, "text-anchor": "middle", class: "name", transform: `rotate(-90 11 ${middle})` }, "query"));
    large.append(ticks);
    root.querySelector(".which").textContent = `layer ${view.layers[focus.layer]}, head ${view.heads[focus.head]}`;
    query = query === null || query >= n ? n - 1 : query;
    strip();
    list();
  }
  function strip() {
    const line = root.querySelector(".strip");
    line.replaceChildren();
    view.key.forEach((token, k) => {
      const weight = visible(focus.layer, focus.head, query, k);
      const shade = weight === null ? "" : " p" + Math.round(10 * Math.min(1, Math.max(0, (weight - low) / (high - low))));
      const part = page.make("button", { type: "button", class: "token" + shade + (k === query && view.query[k] === token ? " query" : "") }, token);
      part.addEventListener("click", () => { if (k < view.query.length) { query = k; strip(); line.children[k].focus(); } });
      part.addEventListener("pointerenter", (event) => page.show([`${k} ${token}`, `attended to by ${query} ${view.query[query]}: ${page.number(weight, figure.exact ? 7 : 3)}`], event.clientX, event.clientY));
      part.addEventListener("pointerleave", page.hide);
      line.append(part);
    });
  }
  function list() {
    const found = [];
    for (let q = 0; q < view.query.length; q++)
      for (let k = 0; k < view.key.length; k++) {
        const weight = visible(focus.layer, focus.head, q, k);
        if (weight !== null) found.push([weight, q, k]);
      }
    found.sort((a, b) => b[0] - a[0]);
    const body = root.querySelector("table.top tbody");
    body.replaceChildren();
    for (const [weight, q, k] of found.slice(0, 8)) {
      const row = page.make("tr");
      row.append(page.make("td", {}, `${q} ${view.query[q]}`), page.make("td", {}, `${k} ${view.key[k]}`), page.make("td", { class: "number" }, page.number(weight, figure.exact ? 7 : 3)));
      body.append(row);
    }
  }
  function outline() {
    small.querySelector(".locked")?.remove();
    state.textContent = locked ? "kept: press Esc to let go" : "";
    if (!locked) return;
    const image = small.querySelector("image.cells"), side = (name) => Number(image.getAttribute(name));
    const width = side("width") / view.heads.length, height = side("height") / view.layers.length;
    small.append(page.make("rect", { class: "locked", x: side("x") + focus.head * width, y: side("y") + rowOf(focus.layer) * height, width, height }));
  }
  function select(layer, head) {
    focus = { layer, head };
    drawHead();
  }
  function keep(layer, head) {
    locked = true;
    select(layer, head);
    outline();
    history.replaceState(null, "", `#${key}-L${view.layers[layer]}H${view.heads[head]}`);
  }
  function all() {
    sums = new Map();
    [low, high] = range();
    drawHeads();
    drawHead();
  }
  matrix(
    small,
    () => [view.layers.length, view.heads.length],
    (row, column) => [`layer ${view.layers[rowOf(row)]}, head ${view.heads[column]}`],
    (row, column) => locked || (focus.layer === rowOf(row) && focus.head === column) || select(rowOf(row), column),
    (row, column) => keep(rowOf(row), column),
  );
  matrix(
    large,
    () => [view.query.length, view.key.length],
    (q, k) => [`query ${q} ${view.query[q]}`, `key ${k} ${view.key[k]}`, page.number(visible(focus.layer, focus.head, q, k), figure.exact ? 7 : 3)],
    (q) => { if (q !== query) { query = q; strip(); } },
  );
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    locked = false;
    outline();
  });
  hide.addEventListener("change", all);
  share.addEventListener("change", all);
  share.parentElement.hidden = figure.low < 0; // signed values, such as a difference, have no such sum
  controls.querySelector("select")?.addEventListener("change", (event) => {
    view = unpack(figure.views[Number(event.target.value)]);
    focus.layer = Math.min(focus.layer, view.layers.length - 1);
    focus.head = Math.min(focus.head, view.heads.length - 1);
    resize();
    all();
    outline();
  });
  function resize() {
    // Another model may have other heads: the picture keeps its place, its numbers change.
    const ticks = small.querySelector(".ticks"), image = small.querySelector("image.cells");
    const area = Object.fromEntries(["x", "y", "width", "height"].map((n) => [n, Number(image.getAttribute(n))]));
    ticks.querySelectorAll("text:not(.name)").forEach((text) => text.remove());
    const across = area.width / view.heads.length, down = area.height / view.layers.length;
    view.heads.forEach((head, i) => i % Math.ceil(16 / across) === 0 && ticks.append(page.make("text", { x: area.x + across * (i + 0.5), y: area.y + area.height + 13, "text-anchor": "middle" }, head)));
    view.layers.forEach((layer, i) => i % Math.ceil(12 / down) === 0 && ticks.append(page.make("text", { x: area.x - 5, y: area.y + down * (rowOf(i) + 0.5) + 4, "text-anchor": "end" }, layer)));
  }
  controls.hidden = false;
  root.querySelector(".head").hidden = false;
  const link = new RegExp(`^#${key}-L(\\d+)H(\\d+)$`).exec(location.hash);
  const layer = link ? view.layers.indexOf(link[1]) : -1, head = link ? view.heads.indexOf(link[2]) : -1;
  if (layer >= 0 && head >= 0) keep(layer, head);
  else drawHead();
}
