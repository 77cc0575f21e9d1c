// Figures: what is under the pointer (or has the focus) says its numbers; a pair opens with its rows and its curve.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

// A browser's own bubble is slow and cannot be styled: the title moves into an attribute at first sight.
function saysOf(element) {
  const group = element.closest && element.closest("svg g");
  if (!group) return null;
  const title = group.querySelector(":scope > title");
  if (title) { group.dataset.says = title.textContent; group.setAttribute("aria-label", title.textContent); title.remove(); }
  return group.dataset.says || null;
}

function showTip(event) {
  const says = saysOf(event.target);
  tip.hidden = !says;
  if (!says) return;
  tip.textContent = says;
  const box = event.target.getBoundingClientRect();
  const x = event.clientX || box.right, y = event.clientY || box.top;
  tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 6))}px`;
  tip.style.top = `${y + 14 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 10 : y + 14}px`;
}
document.addEventListener("pointerover", showTip);
document.addEventListener("focusin", showTip);
document.addEventListener("scroll", () => { tip.hidden = true; }, true);

const data = JSON.parse(document.getElementById("page-data").textContent);
const box = document.getElementById("pair");
const NS = "http://www.w3.org/2000/svg";

function draw(parent, name, attributes, text) {
  const element = parent.appendChild(document.createElementNS(NS, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Round values between two ends: whole steps, or on a log axis ones, twos and fives.
function roundTicks(low, high, log) {
  const found = [];
  if (log) {
    for (let n = Math.floor(low); n <= high; n += 1) {
      for (const step of [1, 2, 5]) {
        const at = n + Math.log10(step);
        if (at >= low && at <= high) found.push(step * 10 ** n);
      }
    }
    return found.length > 5 ? found.filter((v) => Math.log10(v) % 1 === 0) : found;
  }
  const raw = (high - low) / 4, size = 10 ** Math.floor(Math.log10(raw));
  const step = size * ([1, 2, 5].find((factor) => size * factor >= raw) || 10);
  for (let n = Math.ceil(low / step); n * step <= high; n += 1) found.push(Number((n * step).toPrecision(6)));
  return found;
}

// The pair's validation score under every method with checkpoints, against updates per pair (log axis).
function drawCurves(number) {
  const lines = data.curves.map(({ method, look, updates, scores }) => ({
    method, look, points: updates.map((u, n) => [u, scores[n][number]]).filter(([u, v]) => u > 0 && v !== null),
  })).filter(({ points }) => points.length);
  if (!lines.length) return null;
  const svg = document.createElementNS(NS, "svg");
  svg.setAttribute("viewBox", "0 0 440 250");
  const right = 428 - 6.1 * Math.max(...lines.map(({ method }) => method.length));
  const xs = lines.flatMap(({ points }) => points.map(([u]) => Math.log10(u)));
  const ys = lines.flatMap(({ points }) => points.map(([, v]) => v));
  const span = (values) => {
    const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.08 || 0.05;
    return [low - room, high + room];
  };
  const [x0, x1] = span(xs), [y0, y1] = span(ys);
  const x = (u) => 50 + (Math.log10(u) - x0) / (x1 - x0) * (right - 50);
  const y = (v) => 205 - (v - y0) / (y1 - y0) * 190;
  for (const v of roundTicks(y0, y1, false)) {
    draw(svg, "line", { x1: 50, x2: right, y1: y(v), y2: y(v), class: "grid" });
    draw(svg, "text", { x: 45, y: y(v) + 4, "text-anchor": "end" }, v);
  }
  for (const u of roundTicks(x0, x1, true)) draw(svg, "text", { x: x(u), y: 220, "text-anchor": "middle" }, u);
  draw(svg, "line", { x1: 50, x2: right, y1: 205, y2: 205, class: "axis" });
  draw(svg, "text", { x: 50, y: 241 }, `validation ${data.metric} against updates per pair`);
  for (const { method, look, points } of lines) {
    draw(svg, "polyline", { points: points.map(([u, v]) => `${x(u)},${y(v)}`).join(" "), class: `curve ${look}` });
    for (const [u, v] of points) {
      const group = draw(svg, "g", { class: "kept" });
      draw(group, "title", {}, `${method}\n${v} at ${u} updates per pair`);
      draw(group, "circle", { cx: x(u), cy: y(v), r: 3.2, class: `mark ${look}` });
    }
  }
  // Names stand in a column at the right, pushed apart, each with a line to the end of its curve.
  const ends = lines.map(({ method, points }) => ({ method, at: points[points.length - 1] }));
  ends.sort((one, other) => y(one.at[1]) - y(other.at[1]));
  let last = 0;
  const most = (n) => 203 - 12 * (ends.length - 1 - n);
  ends.forEach(({ method, at: [u, v] }, n) => {
    last = Math.max(last + 12, Math.min(y(v) + 4, most(n)));
    draw(svg, "line", { x1: x(u) + 4, y1: y(v), x2: right + 6, y2: last - 4, class: "leader" });
    draw(svg, "text", { x: right + 9, y: last, class: "point" }, method);
  });
  return svg;
}

function openPair(number, move) {
  const rows = [...document.querySelectorAll(`#pair-table tr[data-pair="${number}"]`)];
  if (!box || !rows.length) return;
  document.querySelectorAll(".chosen").forEach((one) => one.classList.remove("chosen"));
  document.querySelectorAll(`#pair-table tr[data-pair="${number}"], g.cell[data-pair="${number}"]`).forEach((one) => one.classList.add("chosen"));
  box.querySelector("h3").textContent = data.names[number];
  const table = box.querySelector("table");
  table.tHead.innerHTML = "";
  table.tBodies[0].innerHTML = "";
  const keep = [2, 3, 4, 5, 6, 7, 8, 9];  // method, scores, interval, gap, places, note
  const copy = (row, into) => {
    const line = into.insertRow();
    for (const n of keep) { const cell = row.cells[n].cloneNode(true); cell.querySelector(".sort")?.remove(); line.append(cell); }
  };
  copy(document.querySelector("#pair-table thead tr"), table.tHead);
  data.methods.forEach((method) => rows.filter((row) => row.cells[2].textContent === method).forEach((row) => copy(row, table.tBodies[0])));
  const place = box.querySelector(".curve-of-pair");
  place.replaceChildren();
  const svg = drawCurves(number);
  if (svg) place.append(svg);
  // A few captions with what this pair's connectors find for them, where the page has pictures of it.
  const own = (row) => [...row.querySelectorAll(`.lists > div[data-pair="${number}"]`)];
  [...document.querySelectorAll(".caption-row")].filter((row) => own(row).length).slice(0, 3).forEach((row) => {
    place.append(row.querySelector(".asked").cloneNode(true), ...own(row).map((list) => list.cloneNode(true)));
  });
  box.hidden = false;
  box.dataset.pair = number;
  const room = box.closest("details");
  if (room) room.open = true;
  if (move) box.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const found = event.target.closest("[data-pair]");
  if (found && !found.closest("#pair") && !event.target.closest("a, button")) openPair(Number(found.dataset.pair), true);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.dataset && event.target.dataset.pair) openPair(Number(event.target.dataset.pair), true);
  if (event.key === "Escape") { tip.hidden = true; if (box) box.hidden = true; }
});
if (box) box.querySelector("button").onclick = () => { box.hidden = true; };
