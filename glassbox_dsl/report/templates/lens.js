// Token grids: other items on demand, and the ranked tokens of a cell under the pointer or the keys.
for (const root of document.querySelectorAll(".lens")) {
  const figure = page.data(root.dataset.figure);
  const table = root.querySelector("table"), chooser = root.querySelector(".chooser");
  let view = figure.views[0];

  const level = (prob) => (prob >= 0 ? Math.min(10, Math.floor(prob * 10 + 0.5)) : 0);
  const head = (i) => {
    const cell = page.make("th", { scope: "col" }, view.xl[i]);
    for (const [name, texts] of [["soft", view.tokens], ["strong", view.labels]]) {
      if (texts[i]) cell.append(page.make("br"), page.make("span", { class: name }, texts[i]));
    }
    return cell;
  };
  const fill = () => {
    const top = table.tHead.rows[0], body = table.tBodies[0];
    while (top.cells.length > 1) top.lastElementChild.remove();
    view.xl.forEach((_, i) => top.append(head(i)));
    body.replaceChildren();
    view.cells.forEach((row, y) => {
      const line = page.make("tr");
      line.append(page.make("th", { scope: "row" }, view.yl[y]));
      for (const cell of row) {
        line.append(cell && cell.length ? page.make("td", { class: "p" + level(cell[1]) }, figure.words[cell[0]]) : page.make("td", { class: "none" }));
      }
      body.append(line);
    });
    root.querySelector(".shown").textContent = view.title;
    root.querySelector(".prompts").replaceChildren(...view.prompts.flatMap(([name, text]) => [page.make("dt", {}, name), page.make("dd", {}, text)]));
    rove();
  };
  const rove = () => {
    const first = table.tBodies[0].querySelector("td");
    if (first) first.tabIndex = 0;
  };
  const lines = (td) => {
    const y = td.parentElement.sectionRowIndex, x = td.cellIndex - 1, cell = view.cells[y][x] || [];
    const found = [`${view.y[y]}, ${view.x[x]}`];
    for (let i = 0; i < cell.length; i += 2) {
      found.push(`${i / 2 + 1}.  ${figure.words[cell[i]]}   ${cell[i + 1] < 0 ? "no value" : page.number(cell[i + 1], 4)}`);
    }
    if (!cell.length) found.push("no value");
    return found;
  };
  table.addEventListener("pointermove", (event) => {
    const td = event.target.closest("td");
    if (td) page.show(lines(td), event.clientX, event.clientY);
    else page.hide();
  });
  table.addEventListener("pointerleave", page.hide);
  table.addEventListener("focusin", (event) => {
    const td = event.target.closest("td");
    if (!td || !td.matches(":focus-visible")) return;
    const box = td.getBoundingClientRect();
    page.show(lines(td), box.right, box.bottom);
    page.speak(lines(td));
  });
  table.addEventListener("focusout", page.hide);
  table.addEventListener("keydown", (event) => {
    const td = event.target.closest("td");
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") page.hide();
    if (!td || !step) return;
    const next = table.tBodies[0].rows[td.parentElement.sectionRowIndex + step[0]]?.cells[td.cellIndex + step[1]];
    event.preventDefault();
    if (!next || next.tagName !== "TD") return;
    td.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  if (chooser) {
    chooser.hidden = false;
    chooser.querySelector("select").addEventListener("change", (event) => {
      view = figure.views[Number(event.target.value)];
      fill();
    });
  }
  rove();
}
