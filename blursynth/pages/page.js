"use strict";

// A slider between two pictures: drag anywhere, or by the arrows; enlarged, drag pans and the handle slides.
for (const stage of document.querySelectorAll(".stage")) {
  const view = stage.querySelector(".view");
  const input = stage.querySelector("input");
  const divider = stage.querySelector(".divider");
  const buttons = stage.parentElement.querySelectorAll(".zooms button");
  const overview = stage.querySelector(".canvas.overview");
  const detail = stage.querySelector(".canvas.detail");
  let canvas = overview;
  let zoom = 0;

  const place = () => {
    const share = Number(input.value) / 100;
    stage.style.setProperty("--at", `${100 * share}%`);
    const edge = zoom ? `${share * view.clientWidth + view.scrollLeft - canvas.offsetLeft}px` : `${100 * share}%`;
    canvas.style.setProperty("--edge", edge);
    input.setAttribute("aria-valuetext", `${Math.round(100 * share)} % ${stage.dataset.before}`);
  };
  const moveTo = (percent) => {
    input.value = String(Math.min(100, Math.max(0, percent)));
    place();
  };
  const resize = (target, x, y) => {
    const before = canvas.getBoundingClientRect();
    const [u, v] = [(x - before.left) / before.width, (y - before.top) / before.height];
    const wasDetail = canvas === detail;
    stage.dataset.zoom = String(target);
    zoom = target;
    canvas = target && detail ? detail : overview;
    overview.hidden = canvas !== overview;
    if (detail) detail.hidden = canvas !== detail;
    const scale = target / window.devicePixelRatio;
    canvas.style.width = target ? `${canvas.dataset.width * scale}px` : "";
    canvas.style.height = target ? `${canvas.dataset.height * scale}px` : "";
    view.tabIndex = target ? 0 : -1;
    const [s, t] = !detail || wasDetail ? [u, v] : [0.5, 0.5];
    view.scrollLeft = s * canvas.offsetWidth - view.clientWidth / 2;
    view.scrollTop = t * canvas.offsetHeight - view.clientHeight / 2;
    for (const button of buttons) button.setAttribute("aria-pressed", String(Number(button.dataset.zoom) === target));
    place();
  };
  const drag = (element, begin) => {
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const move = begin(event);
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      element.setPointerCapture(event.pointerId);
      const end = () => {
        element.removeEventListener("pointermove", move);
        element.removeEventListener("pointerup", end);
        element.removeEventListener("pointercancel", end);
      };
      element.addEventListener("pointermove", move);
      element.addEventListener("pointerup", end);
      element.addEventListener("pointercancel", end);
    });
  };
  const slide = (event) => {
    const box = stage.getBoundingClientRect();
    moveTo((100 * (event.clientX - box.left)) / box.width);
  };

  drag(divider, () => slide);
  drag(view, (down) => {
    if (!zoom) {
      slide(down);
      return slide;
    }
    if (down.pointerType === "touch") return null; // scrolls by itself
    const from = { x: down.clientX + view.scrollLeft, y: down.clientY + view.scrollTop };
    return (event) => view.scrollTo(from.x - event.clientX, from.y - event.clientY);
  });
  view.addEventListener("scroll", place, { passive: true });
  view.addEventListener("dblclick", (event) => resize(zoom ? 0 : 1, event.clientX, event.clientY));
  window.addEventListener("resize", () => (zoom ? resize(zoom, ...middle()) : place()));
  const middle = () => {
    const box = view.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  for (const button of buttons) {
    button.addEventListener("click", () => resize(Number(button.dataset.zoom), ...middle()));
  }
  input.addEventListener("input", place);
  input.addEventListener("keydown", (event) => {
    const signs = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    if (!(event.key in signs) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moveTo(Number(input.value) + signs[event.key] * (event.shiftKey ? 10 : 2));
  });
  place();
}

// A list that is put in order by a number of its items; items without that number come last.
for (const choice of document.querySelectorAll("select[data-sorts]")) {
  const list = document.getElementById(choice.dataset.sorts);
  const status = document.getElementById(choice.dataset.status);
  const sort = () => {
    const option = choice.selectedOptions[0];
    const sign = option.dataset.order === "least" ? 1 : -1;
    const value = (item) => {
      const number = parseFloat(item.dataset[option.value] ?? "");
      return Number.isFinite(number) ? sign * number : Infinity;
    };
    const items = [...list.children].sort((a, b) => value(a) - value(b) || a.dataset.rank - b.dataset.rank);
    list.append(...items);
    status.textContent = `Sorted by ${option.textContent}.`;
  };
  choice.addEventListener("change", sort);
}
