// A matrix that answers to pointer and keys. `shape()` gives [rows, columns], `describe(row, column)` lines of text;
// `enter` and `pick` (optional) are told where the reader is and what is chosen.
function matrix(svg, shape, describe, enter, pick) {
  const at = { row: 0, column: 0 };
  const box = () => {
    const image = svg.querySelector("image.cells");
    return Object.fromEntries(["x", "y", "width", "height"].map((n) => [n, Number(image.getAttribute(n))]));
  };
  const mark = () => {
    let cursor = svg.querySelector(".cursor");
    if (!cursor) svg.append((cursor = page.make("rect", { class: "cursor" })));
    const [rows, columns] = shape(), area = box();
    const width = area.width / columns, height = area.height / rows;
    cursor.setAttribute("x", area.x + at.column * width);
    cursor.setAttribute("y", area.y + at.row * height);
    cursor.setAttribute("width", width);
    cursor.setAttribute("height", height);
    return cursor;
  };
  const clear = () => {
    svg.querySelector(".cursor")?.remove();
    page.hide();
  };
  const find = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const [rows, columns] = shape(), area = box();
    const column = Math.floor(((point.x - area.x) / area.width) * columns);
    const row = Math.floor(((point.y - area.y) / area.height) * rows);
    return row >= 0 && column >= 0 && row < rows && column < columns ? { row, column } : null;
  };
  const go = (row, column) => {
    at.row = row;
    at.column = column;
    const cursor = mark();
    if (enter) enter(row, column);
    return cursor;
  };
  const byKey = () => {
    const place = go(at.row, at.column).getBoundingClientRect();
    const lines = describe(at.row, at.column);
    page.show(lines, place.right, place.bottom);
    page.speak(lines);
  };
  svg.addEventListener("pointermove", (event) => {
    const found = find(event);
    if (!found) return clear();
    go(found.row, found.column);
    page.show(describe(found.row, found.column), event.clientX, event.clientY);
  });
  svg.addEventListener("pointerleave", clear);
  svg.addEventListener("click", (event) => {
    const found = find(event);
    if (found && pick) pick(found.row, found.column);
  });
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && byKey());
  svg.addEventListener("blur", clear);
  svg.addEventListener("keydown", (event) => {
    const [rows, columns] = shape();
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") return clear();
    if (event.key === "Enter" && pick) pick(at.row, at.column);
    else if (event.key === "Home") at.column = 0;
    else if (event.key === "End") at.column = columns - 1;
    else if (step) {
      at.row = Math.min(rows - 1, Math.max(0, at.row + step[0]));
      at.column = Math.min(columns - 1, Math.max(0, at.column + step[1]));
    } else return;
    event.preventDefault();
    byKey();
  });
}

for (const svg of document.querySelectorAll(".kind-heatmap svg.panel")) {
  const figure = page.data(svg.dataset.figure);
  const panel = figure.panels[Number(svg.dataset.panel)];
  matrix(svg, () => [panel.y.length, panel.x.length], (row, column) => {
    const i = row * panel.x.length + column;
    const lines = [`${panel.y[row]}, ${panel.x[column]}`, panel.values ? `${figure.name} ${page.number(panel.values[i])}` : "ask the database for the number"];
    if (panel.low && panel.low[i] !== null) {
      lines.push(`95% interval ${page.number(panel.low[i], 4)} to ${page.number(panel.high[i], 4)}`);
    }
    if (panel.n && panel.n[i] !== null) lines.push(`n = ${panel.n[i]}`);
    return lines;
  });
}
