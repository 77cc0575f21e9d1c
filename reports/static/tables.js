// Tables: a click on a heading sorts; tables of pairs get filters made of their own columns.
const SI = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18, Z: 1e21 };
const UNITS = { ms: 0.001, s: 1, min: 60, h: 3600 };

// "3.19 TFLOP", "4 min 10 s", "1,204", "0.401 [0.34, 0.46]" -> a number; NaN for words and dashes.
function measured(text) {
  const duration = [...text.matchAll(/([\d.,]+) (ms|s|min|h)\b/g)];
  if (duration.length) return duration.reduce((sum, [, n, unit]) => sum + parseFloat(n.replaceAll(",", "")) * UNITS[unit], 0);
  const found = text.match(/^[-−]?[\d.,]+(e[+-]?\d+)?/);
  if (!found) return NaN;
  const prefix = text.slice(found[0].length).match(/^ ([kMGTPEZ])(FLOP)?\b/);
  return parseFloat(found[0].replaceAll(",", "").replace("−", "-")) * (prefix ? SI[prefix[1]] : 1);
}

function sortBy(table, column, down) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => {
    const text = row.cells[column].textContent.trim();
    return { row, text, value: measured(text) };
  });
  const numbers = rows.some(({ value }) => !Number.isNaN(value));
  rows.sort((a, b) => {
    if (numbers) {
      if (Number.isNaN(a.value) || Number.isNaN(b.value)) return Number.isNaN(a.value) - Number.isNaN(b.value);
      return down ? b.value - a.value : a.value - b.value;
    }
    return (down ? -1 : 1) * a.text.localeCompare(b.text, undefined, { numeric: true });
  });
  body.append(...rows.map(({ row }) => row));
  [...table.tHead.rows[0].cells].forEach((th, n) => {
    if (n === column) th.setAttribute("aria-sort", down ? "descending" : "ascending");
    else th.removeAttribute("aria-sort");
  });
}

for (const table of document.querySelectorAll("main table")) {
  [...(table.tHead.rows[0]?.cells || [])].forEach((th, column) => {
    const button = document.createElement("button");
    button.className = "sort";
    button.textContent = "↕";
    button.setAttribute("aria-label", `sort by ${th.textContent.trim()}`);
    button.onclick = () => {
      const down = th.getAttribute("aria-sort") !== "descending";
      sortBy(table, column, down);
      button.textContent = down ? "↓" : "↑";
    };
    th.append(button);
  });
}

// Filters of the table of pairs; they dim the cells of the heatmaps too.
const pairTable = document.getElementById("pair-table");
const chosen = {};

function filterPairs() {
  const words = (chosen.words || "").toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const alive = new Set();
  for (const row of pairTable.tBodies[0].rows) {
    const [image, text, method] = [0, 1, 2].map((n) => row.cells[n].textContent);
    const line = `${image} ${text} ${method} ${row.cells[row.cells.length - 1].textContent}`.toLowerCase();
    const inside = (!chosen.image || image === chosen.image) && (!chosen.text || text === chosen.text)
      && words.every((word) => line.includes(word));
    if (inside) alive.add(row.dataset.pair);
    row.hidden = !(inside && (!chosen.method || method === chosen.method));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${pairTable.tBodies[0].rows.length} rows`;
  for (const cell of document.querySelectorAll("g.cell")) cell.classList.toggle("off", !alive.has(cell.dataset.pair));
  for (const panel of document.querySelectorAll("#pairs .panel[data-method]")) {
    panel.hidden = Boolean(chosen.method) && panel.dataset.method !== chosen.method;
  }
}

if (pairTable) {
  const form = document.getElementById("filters");
  for (const [n, name] of ["image", "text", "method"].entries()) {
    const values = [...new Set([...pairTable.tBodies[0].rows].map((row) => row.cells[n].textContent))];
    const select = form.querySelector(`select[name=${name}]`);
    for (const value of values) select.append(new Option(value, value));
  }
  form.hidden = false;
  form.oninput = (event) => { chosen[event.target.name] = event.target.value; filterPairs(); };
  form.onsubmit = (event) => event.preventDefault();
  form.onreset = () => { for (const name of Object.keys(chosen)) delete chosen[name]; setTimeout(filterPairs); };
  filterPairs();
}
