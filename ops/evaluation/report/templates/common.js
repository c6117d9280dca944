"use strict";
// What every page has: tables that sort and filter, players of frames. Without scripts the page still shows all.

function sortBy(table, column, falling) {
  const kind = table.tHead.rows[0].cells[column].dataset.kind;
  const body = table.tBodies[0];
  const valueOf = (row) => {
    const cell = row.cells[column];
    const value = cell.dataset.value ?? cell.textContent.trim();
    return kind === "number" ? (value === "" ? NaN : Number(value)) : value;
  };
  const rows = [...body.rows].map((row, place) => ({ row, place, value: valueOf(row) }));
  const missing = (value) => kind === "number" && Number.isNaN(value);
  rows.sort((a, b) => {
    if (missing(a.value) || missing(b.value)) return missing(a.value) - missing(b.value) || a.place - b.place;
    const order = kind === "number" ? a.value - b.value : a.value.localeCompare(b.value);
    return (falling ? -order : order) || a.place - b.place;
  });
  body.append(...rows.map(({ row }) => row));
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    head.setAttribute("aria-sort", place !== column ? "none" : falling ? "descending" : "ascending");
  });
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.kind === "number"; // of numbers the largest first
      sortBy(table, column, now === "none" ? first : now === "ascending");
    });
  });
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  const table = document.getElementById(input.dataset.filters);
  const count = document.querySelector(`[data-counts="${input.dataset.filters}"]`);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    count.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length}` : "";
  });
}

const MILLISECONDS = 250; // a frame

function equip(player) {
  const frames = Number(player.dataset.frames);
  const [image, slider, button] = ["img", "input", "button.play"].map((what) => player.querySelector(what));
  let timer = null;
  const show = (frame) => {
    slider.value = frame;
    image.style.transform = `translateX(${(-100 * (frame - 1)) / frames}%)`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶";
    button.setAttribute("aria-pressed", "false");
  };
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    button.textContent = "❚❚";
    button.setAttribute("aria-pressed", "true");
    timer = setInterval(() => show((Number(slider.value) % frames) + 1), MILLISECONDS);
  });
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  image.addEventListener("error", () => {
    stop();
    player.classList.add("missing");
    player.textContent = `no frames: ${image.getAttribute("src")} is not there any more`;
  });
}

document.querySelectorAll(".player[data-frames]").forEach(equip);
