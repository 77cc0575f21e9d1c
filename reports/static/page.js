// Rooms open where a link leads; one view at a time; on paper everything is open.
function reach() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let room = target.closest("details"); room; room = room.parentElement.closest("details")) room.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reach);
document.querySelectorAll("nav.rooms a").forEach((link) => link.addEventListener("click", () => setTimeout(reach)));
reach();

// The table of methods under a view: what depends on it changes, the rest is as run and grey.
const methodRows = [...document.querySelectorAll("#methods-table tbody tr")].map((row, n) => ({
  method: data.methods[n], cells: [...row.cells].map((cell) => ({ cell, text: cell.textContent, head: cell.dataset.head })),
}));
const asRun = [...document.querySelectorAll("#methods-table thead th")].flatMap((th) => {
  const walk = document.createTreeWalker(th, NodeFilter.SHOW_TEXT), found = [];
  while (walk.nextNode()) if (walk.currentNode.data.includes("as run")) found.push([walk.currentNode, walk.currentNode.data]);
  return found;
});

function showMethods(name) {
  const named = (text) => (name === "as_run" ? text : text.replace("as run", name.replaceAll("_", " ")));
  for (const [node, text] of asRun) node.data = named(text);
  for (const { method, cells } of methodRows) {
    const said = data.views[name] && data.views[name][method];
    cells.forEach(({ cell, text, head }, n) => {
      const changed = said && said[data.columns[n]];
      cell.textContent = changed ?? text;
      cell.dataset.head = named(head);
      cell.classList.toggle("still", name !== "as_run" && n > 0 && changed === undefined);
    });
  }
}

const views = [...document.querySelectorAll("[data-view]")];
const bars = [...document.querySelectorAll(".switch")];
const cuts = [...document.querySelectorAll("g[data-cut]")];
if (bars.length && views.length) {
  const show = (name) => {
    views.forEach((view) => { view.hidden = view.dataset.view !== name; });
    cuts.forEach((ring) => ring.toggleAttribute("hidden", ring.dataset.cut !== name));
    bars.forEach((bar) => bar.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", button.value === name)));
    showMethods(name);
  };
  for (const bar of bars) {
    for (const name of new Set(views.map(({ dataset: { view } }) => view))) {
      const button = bar.appendChild(document.createElement("button"));
      button.type = "button";
      button.value = name;
      button.textContent = name.replaceAll("_", " ");
      button.onclick = () => show(name);
    }
    bar.hidden = false;
  }
  show(views[0].dataset.view);
}

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((room) => { room.open = true; });
});
addEventListener("afterprint", () => closed.forEach((room) => { room.open = false; }));
