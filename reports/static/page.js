// Rooms open where a link leads; one view of the cost ratios at a time; on paper everything is open.
function reach() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let room = target.closest("details"); room; room = room.parentElement.closest("details")) room.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", reach);
document.querySelectorAll("nav.rooms a").forEach((link) => link.addEventListener("click", () => setTimeout(reach)));
reach();

const views = [...document.querySelectorAll("[data-view]")];
const bar = document.querySelector(".switch");
if (bar && views.length) {
  const show = (name) => {
    views.forEach((view) => { view.hidden = view.dataset.view !== name; });
    bar.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", button.value === name));
  };
  for (const { dataset: { view } } of views) {
    const button = bar.appendChild(document.createElement("button"));
    button.type = "button";
    button.value = view;
    button.textContent = view.replaceAll("_", " ");
    button.onclick = () => show(view);
  }
  bar.hidden = false;
  show(views[0].dataset.view);
}

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((room) => { room.open = true; });
});
addEventListener("afterprint", () => closed.forEach((room) => { room.open = false; }));
