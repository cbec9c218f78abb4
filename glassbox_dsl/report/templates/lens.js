// Token grids: other items and colours on demand, the ranked tokens of a cell under the pointer or the keys, one kept.
for (const root of document.querySelectorAll(".lens")) {
  const key = root.dataset.figure, figure = page.data(key);
  const find = (selector) => root.querySelector(selector);
  const table = find("table.tokens"), body = table.tBodies[0], pane = find(".cell"), state = find(".state");
  const views = find("select.view"), colours = find("select.colour");
  let at = 0, colour = figure.colour, locked = null;
  const view = () => figure.views[at];

  // A cell is [[word, probability, logit, ...], other numbers ...].
  const has = (cell) => Boolean(cell && cell[0].length);
  const number = (cell, which) => (which === 0 ? cell[0][1] : cell[which]);
  // As `Tint.level` of report/tints.py.
  function step(value) {
    const tint = figure.tints[colour];
    if (value === null) return "p0";
    if (tint.signed) {
      const level = Math.round(10 * Math.max(-1, Math.min(1, value / tint.high)));
      return level < 0 ? `m${-level}` : `p${level}`;
    }
    const [low, high, now] = [tint.low, tint.high, value].map((v) => (tint.log ? Math.log(Math.max(v, 1)) : v));
    const part = Math.max(0, Math.min(1, (now - low) / (high > low ? high - low : 1)));
    return `p${Math.floor(10 * (tint.log ? 1 - part : part) + 0.5)}`;
  }
  const head = (i) => {
    const cell = page.make("th", { scope: "col" }, view().xl[i]);
    for (const [name, texts] of [["soft", view().tokens], ["strong", view().labels]]) {
      if (texts[i]) cell.append(page.make("br"), page.make("span", { class: name }, texts[i]));
    }
    return cell;
  };
  function fill() {
    const top = table.tHead.rows[0];
    while (top.cells.length > 1) top.lastElementChild.remove();
    view().xl.forEach((_, i) => top.append(head(i)));
    const rows = view().cells.map((row, y) => {
      const line = page.make("tr");
      line.append(page.make("th", { scope: "row" }, view().yl[y]));
      for (const cell of row) line.append(has(cell) ? page.make("td", { class: step(number(cell, colour)) }, figure.words[cell[0][0]]) : page.make("td", { class: "none" }));
      return line;
    });
    body.replaceChildren(...rows);
    find(".shown").textContent = view().title;
    find(".prompts").replaceChildren(...view().prompts.flatMap(([name, text]) => [page.make("dt", {}, name), page.make("dd", {}, text)]));
    const tint = figure.tints[colour];
    find(".key").replaceChildren(page.make("span", {}, tint.name + (tint.unit && tint.unit !== tint.name ? `, ${tint.unit}` : "")), ...tint.key.map(([name, text]) => page.make("span", { class: name }, text)));
    begin();
  }
  const begin = () => {
    const first = body.querySelector("td");
    if (first) first.tabIndex = 0;
  };
  const place = (td) => [td.parentElement.sectionRowIndex, td.cellIndex - 1];
  const cellAt = (y, x) => body.rows[y]?.cells[x + 1];
  function lines(td) {
    const [y, x] = place(td), cell = view().cells[y][x], found = [`${view().y[y]}, ${view().x[x]}`];
    if (!has(cell)) return [...found, "no value"];
    for (let i = 0; i < cell[0].length; i += 3) found.push(`${i / 3 + 1}.  ${figure.words[cell[0][i]]}   ${page.number(cell[0][i + 1], 4)}`);
    if (colour) found.push(`${figure.tints[colour].name} ${page.number(cell[colour], 4)}`);
    return found;
  }
  // The numbers of a cell in full, beside the grid.
  function detail(y, x) {
    const cell = view().cells[y]?.[x];
    find(".which").textContent = `${view().y[y]}, ${view().x[x]}`;
    const rows = [];
    for (let i = 0; has(cell) && i < cell[0].length; i += 3) {
      const row = page.make("tr");
      row.append(page.make("td", { class: "number" }, String(i / 3 + 1)), page.make("td", {}, figure.words[cell[0][i]]));
      for (const value of [cell[0][i + 1], cell[0][i + 2]]) row.append(page.make("td", { class: "number" }, page.number(value)));
      rows.push(row);
    }
    find(".cell tbody").replaceChildren(...rows);
    const others = figure.tints.slice(1).flatMap((tint, i) => [page.make("dt", {}, tint.name), page.make("dd", {}, page.number(has(cell) ? cell[i + 1] : null) + (tint.unit && tint.unit !== "rank" ? ` ${tint.unit}` : ""))]);
    find(".numbers").replaceChildren(...others);
  }
  function address() {
    const parts = [`y${locked[0]}x${locked[1]}`];
    if (at) parts.push(`v${at}`);
    if (colour !== figure.colour) parts.push(`c${colour}`);
    return `#${key}-${parts.join("-")}`;
  }
  function mark() {
    body.querySelector("td.kept")?.classList.remove("kept");
    state.hidden = !locked;
    if (!locked) return;
    detail(...locked);
    cellAt(...locked)?.classList.add("kept");
    state.firstElementChild.textContent = "Kept.";
    find(".link").setAttribute("href", address());
    history.replaceState(null, "", address());
  }
  function keep(td) {
    locked = place(td);
    mark();
  }
  function free() {
    locked = null;
    mark();
    page.hide();
  }
  function all() {
    fill();
    if (locked && !cellAt(...locked)) locked = null;
    if (!locked) detail(0, view().xl.length - 1);
    mark();
  }
  table.addEventListener("pointermove", (event) => {
    const td = event.target.closest("td");
    if (!td) return page.hide();
    page.show(lines(td), event.clientX, event.clientY);
    if (!locked) detail(...place(td));
  });
  table.addEventListener("pointerleave", page.hide);
  table.addEventListener("click", (event) => event.target.closest("td") && keep(event.target.closest("td")));
  table.addEventListener("focusin", (event) => {
    const td = event.target.closest("td");
    if (!td || !td.matches(":focus-visible")) return;
    const box = td.getBoundingClientRect();
    page.show(lines(td), box.right, box.bottom);
    page.speak(lines(td));
    if (!locked) detail(...place(td));
  });
  table.addEventListener("focusout", page.hide);
  table.addEventListener("keydown", (event) => {
    const td = event.target.closest("td");
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Enter" && td) keep(td);
    if (!td || !step) return;
    const next = cellAt(place(td)[0] + step[0], place(td)[1] + step[1]);
    event.preventDefault();
    if (!next || next.tagName !== "TD") return;
    td.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  root.addEventListener("keydown", (event) => event.key === "Escape" && free());
  find(".free").addEventListener("click", free);
  views?.addEventListener("change", () => { at = Number(views.value); all(); });
  colours?.addEventListener("change", () => { colour = Number(colours.value); all(); });

  function follows(hash) {
    const [, y, x, v, c] = new RegExp(`^#${key}-y(\\d+)x(\\d+)(?:-v(\\d+))?(?:-c(\\d+))?$`).exec(hash) ?? [];
    if (y === undefined || !figure.views[v ?? 0]?.cells[y]?.[x] || !figure.tints[c ?? figure.colour]) return false;
    [at, colour, locked] = [Number(v ?? 0), Number(c ?? figure.colour), [Number(y), Number(x)]];
    return true;
  }
  for (const part of root.querySelectorAll(".controls, .cell, .help")) part.hidden = false;
  follows(location.hash);
  if (views) views.value = at;
  if (colours) colours.value = colour;
  all();
  window.addEventListener("hashchange", () => follows(location.hash) && all());
}
