"use strict";
// The map of embeddings, and tables on a phone. All else on the page works without it.

// The map shows the image of a point, hides classes, comes closer.
document.querySelectorAll(".map").forEach((map) => {
  const data = JSON.parse(map.querySelector("script").textContent);
  const drawing = map.querySelector(".map-drawing");
  const box = map.querySelector(".map-box");
  const tooltip = map.querySelector(".tooltip");
  const words = tooltip.querySelector(".words");
  const thumb = tooltip.querySelector(".thumb");
  const ring = map.querySelector(".ring");
  const said = map.querySelector(".map-said");
  const points = [...map.querySelectorAll(".points use")];
  const places = data.places;
  const shape = data.height / data.width;
  const hidden = new Set();
  const NEAR = 22; // pixels of the screen
  let current = -1;
  const whole = { x: 0, y: 0, width: data.width };
  let view = whole;
  map.classList.add("live");

  const scale = () => drawing.getBoundingClientRect().width / view.width;
  const shown = (n) => !data.labels || !hidden.has(data.labels[n]);
  const inView = ([x, y]) =>
    x >= view.x &&
    x <= view.x + view.width &&
    y >= view.y &&
    y <= view.y + view.width * shape;

  function describe(n) {
    const name = data.labels ? data.names[data.labels[n]] + ", " : "";
    const file = data.files ? `${data.files[n]}, ` : "";
    return `${file}${name}image ${data.indices[n]}`;
  }

  function show(n) {
    current = n;
    const [x, y] = places[n];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    const side = data.thumbnail;
    const column = n % data.columns;
    const row = Math.floor(n / data.columns);
    thumb.setAttribute("viewBox", `${column * side} ${row * side} ${side} ${side}`);
    words.textContent = describe(n);
    tooltip.hidden = false;
    place(x, y);
  }

  function place(x, y) {
    // Within the box, at the side where there is room.
    const k = scale();
    const left = (x - view.x) * k;
    const top = (y - view.y) * k;
    const width = tooltip.offsetWidth;
    const height = tooltip.offsetHeight;
    const right = left + 16 + width <= box.clientWidth;
    const wanted = right ? left + 16 : left - 16 - width;
    const highest = Math.max(0, box.clientHeight - height);
    tooltip.style.left = `${Math.max(0, Math.min(wanted, box.clientWidth - width))}px`;
    tooltip.style.top = `${Math.max(0, Math.min(top - height / 2, highest))}px`;
  }

  function hide() {
    current = -1;
    tooltip.hidden = true;
    ring.setAttribute("cx", -99);
  }

  function nearest(event, reach) {
    const frame = drawing.getBoundingClientRect();
    const k = scale();
    const x = view.x + (event.clientX - frame.left) / k;
    const y = view.y + (event.clientY - frame.top) / k;
    let best = -1;
    let least = (reach / k) ** 2;
    places.forEach(([px, py], n) => {
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least && shown(n)) {
        best = n;
        least = distance;
      }
    });
    return best;
  }

  function look(next) {
    const width = Math.min(data.width, Math.max(data.width / 16, next.width));
    view = {
      x: Math.min(Math.max(next.x, 0), data.width - width),
      y: Math.min(Math.max(next.y, 0), data.height - width * shape),
      width,
    };
    drawing.setAttribute("viewBox", `${view.x} ${view.y} ${width} ${width * shape}`);
    drawing.classList.toggle("closer", width < data.width);
    // Points grow more slowly than the map, or coming closer would part nothing.
    const shrink = data.scale * (width / data.width) ** 0.75;
    points.forEach((point, n) => {
      const [x, y] = places[n];
      point.setAttribute("transform", `translate(${x} ${y}) scale(${shrink})`);
    });
    ring.setAttribute("r", 9 * shrink);
    ring.setAttribute("stroke-width", 2 * shrink);
    if (current >= 0 && inView(places[current])) show(current);
    else hide();
  }

  const centre = () => [view.x + view.width / 2, view.y + (view.width * shape) / 2];

  function closer(factor, [x, y] = centre()) {
    const width = Math.min(data.width, view.width / factor);
    const share = width / view.width;
    look({ x: x - (x - view.x) * share, y: y - (y - view.y) * share, width });
  }

  let drag = null;
  drawing.addEventListener("pointermove", (event) => {
    if (drag && view.width < data.width && event.buttons) {
      const k = scale();
      look({
        x: drag.x - (event.clientX - drag.clientX) / k,
        y: drag.y - (event.clientY - drag.clientY) / k,
        width: view.width,
      });
      return;
    }
    const n = nearest(event, NEAR);
    if (n >= 0 && n !== current) show(n);
    else if (n < 0) hide();
  });
  drawing.addEventListener("pointerdown", (event) => {
    drag = { clientX: event.clientX, clientY: event.clientY, x: view.x, y: view.y };
    const n = nearest(event, NEAR);
    if (n >= 0) show(n);
  });
  window.addEventListener("pointerup", () => { drag = null; });
  drawing.addEventListener("pointerleave", (event) => {
    // A finger that is lifted leaves, too, and its image is to stay.
    if (event.pointerType === "mouse") hide();
  });
  drawing.addEventListener("dblclick", (event) => {
    const frame = drawing.getBoundingClientRect();
    const k = scale();
    const x = view.x + (event.clientX - frame.left) / k;
    closer(2, [x, view.y + (event.clientY - frame.top) / k]);
  });
  drawing.addEventListener("blur", hide);

  const STEPS = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  };
  drawing.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    if (event.key === "+") return closer(1.6);
    if (event.key === "-") return closer(1 / 1.6);
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    const next = current < 0 ? middle() : neighbour(STEPS[event.key]);
    if (next < 0) return;
    show(next);
    if (!inView(places[next])) {
      const [x, y] = places[next];
      const [across, down] = centre();
      look({ x: view.x + x - across, y: view.y + y - down, width: view.width });
      show(next);
    }
    said.textContent = describe(next);
  });

  function middle() {
    const frame = drawing.getBoundingClientRect();
    return nearest(
      { clientX: frame.left + frame.width / 2, clientY: frame.top + frame.height / 2 },
      Infinity
    );
  }

  function neighbour([dx, dy]) {
    // The nearest one within an eighth of a turn to either side.
    const [x, y] = places[current];
    let best = -1;
    let least = Infinity;
    places.forEach(([px, py], n) => {
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy - (py - y) * dx);
      if (n === current || along <= 0 || aside > along || !shown(n)) return;
      const distance = along ** 2 + aside ** 2;
      if (distance < least) {
        best = n;
        least = distance;
      }
    });
    return best;
  }

  map.querySelectorAll("[data-zoom]").forEach((button) => {
    const factor = { in: 1.6, out: 1 / 1.6, all: 0 }[button.dataset.zoom];
    button.addEventListener("click", () => {
      if (factor) closer(factor);
      else look(whole);
    });
  });
  map.querySelectorAll("[data-label]").forEach((button) => {
    const label = Number(button.dataset.label);
    button.addEventListener("click", () => {
      const on = hidden.delete(label);
      if (!on) hidden.add(label);
      button.setAttribute("aria-pressed", String(on));
      points.forEach((point, n) => point.classList.toggle("away", !shown(n)));
      if (current >= 0 && !shown(current)) hide();
    });
  });
});

// On a phone a row of a table becomes a list, each number beside the head of its column.
document.querySelectorAll("table").forEach((table) => {
  const heads = [...table.querySelectorAll("thead th")].map((th) => th.textContent.trim());
  table.querySelectorAll("tbody td").forEach((td) => {
    td.dataset.head = heads[td.cellIndex] ?? "";
  });
  table.classList.add("listed");
});
