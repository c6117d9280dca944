"use strict";
// The confusion matrix: drawn on a canvas, so that 400 classes are as quick as 12; read out in a line below the buttons.

(() => {
  const canvas = document.getElementById("matrix");
  const room = canvas.parentElement;
  const status = document.getElementById("matrix-status");
  const data = JSON.parse(document.getElementById("data").textContent);
  const context = canvas.getContext("2d");
  const LABEL = 11; // pixels: of a name, and the least of a cell that has one beside it
  const COUNT = 20; // pixels: the least cell with its count in it
  const LARGEST = 60; // pixels: of a cell
  const WIDEST = 860; // pixels: of names and cells together
  const isolated = (name) => `\u2068${name}\u2069`; // whatever the direction of its script

  // What is shown: names of rows and columns in their order, and per row the counts by column.
  function classes() {
    const rows = data.names.map(() => new Map());
    for (let i = 0; i < data.cells.length; i += 3) rows[data.cells[i]].set(data.cells[i + 1], data.cells[i + 2]);
    return { names: data.names, groups: data.groups, similar: data.similar, rows };
  }

  function grouped(from) {
    const keys = from.names.map((name, place) => from.groups[place] || name);
    const names = [...new Set(keys)];
    const of = keys.map((key) => names.indexOf(key));
    const rows = names.map(() => new Map());
    from.rows.forEach((row, place) => {
      const into = rows[of[place]];
      for (const [column, count] of row) into.set(of[column], (into.get(of[column]) ?? 0) + count);
    });
    const similar = [...new Set(from.similar.map((place) => of[place]))];
    return { names, groups: names.map(() => ""), similar, rows };
  }

  function orderOf(shown, how) {
    const places = shown.names.map((_, place) => place);
    const key = (place) => shown.groups[place] || shown.names[place];
    if (how === "similar") return shown.similar;
    if (how === "listed") return places;
    const compare = (a, b) => a.localeCompare(b);
    return places.sort((a, b) => compare(key(a), key(b)) || compare(shown.names[a], shown.names[b]));
  }

  let shown, order, placeOf, cell, left, top, side, origin, selected;

  function rebuild() {
    const level = document.getElementById("matrix-level");
    shown = level && level.value === "groups" ? grouped(classes()) : classes();
    shown.totals = shown.rows.map((row) => [...row.values()].reduce((sum, count) => sum + count, 0));
    order = orderOf(shown, document.getElementById("matrix-order").value);
    placeOf = new Map(order.map((which, place) => [which, place]));
    selected = null;
    fit();
    say();
  }

  function fit() {
    const width = Math.min(room.clientWidth, WIDEST);
    context.font = `${LABEL}px system-ui, sans-serif`;
    const longest = Math.max(...shown.names.map((name) => context.measureText(name.slice(0, 60)).width));
    left = Math.ceil(Math.min(longest + 10, width * 0.32, 230));
    top = Math.ceil(Math.min(longest + 10, 230));
    side = Math.min(width - left - 1, order.length * LARGEST);
    const ratio = window.devicePixelRatio || 1;
    for (const [extent, length] of [["width", left + side + 1], ["height", top + side + 1]]) {
      canvas.style[extent] = `${length}px`;
      canvas[extent] = Math.round(length * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    whole();
  }

  const least = () => side / order.length;

  function whole() {
    cell = least();
    origin = [0, 0]; // the row and column, perhaps in parts of a cell, at the upper left corner
    canvas.style.touchAction = "pan-x pan-y";
    draw();
  }

  function zoom(factor, x = left + side / 2, y = top + side / 2) {
    const at = [origin[0] + (y - top) / cell, origin[1] + (x - left) / cell];
    cell = Math.min(Math.max(cell * factor, least()), LARGEST);
    origin = [at[0] - (y - top) / cell, at[1] - (x - left) / cell];
    canvas.style.touchAction = cell > least() ? "none" : "pan-x pan-y";
    draw();
  }

  function clipped(text, width) {
    if (context.measureText(text).width <= width) return text;
    let fits = 0;
    for (let most = text.length; fits < most; ) {
      const middle = Math.ceil((fits + most) / 2);
      if (context.measureText(text.slice(0, middle) + "…").width <= width) fits = middle;
      else most = middle - 1;
    }
    return text.slice(0, fits) + "…";
  }

  function nameAt(place, vertical, strong, colours) {
    const centre = (place - origin[vertical ? 1 : 0] + 0.5) * cell + (vertical ? left : top);
    context.save();
    if (vertical) {
      context.translate(centre, top - 4);
      context.rotate(-Math.PI / 2);
    } else context.translate(left - 4, centre);
    context.font = `${strong ? "bold " : ""}${LABEL}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    context.textAlign = vertical ? "left" : "right";
    const text = clipped(shown.names[order[place]], (vertical ? top : left) - 8);
    if (strong) {
      const width = context.measureText(text).width;
      context.fillStyle = colours.paper;
      context.fillRect(vertical ? -2 : -width - 2, -LABEL * 0.75, width + 4, LABEL * 1.5);
    }
    context.fillStyle = strong ? colours.ink : colours.faint;
    context.fillText(text, 0, 0);
    context.restore();
  }

  function draw() {
    const most = Math.max(0, order.length - side / cell);
    origin = origin.map((value) => Math.min(Math.max(value, 0), most));
    const style = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(
      ["paper", "ink", "faint", "line", "panel", "s0", "s1"].map((name) => [name, style.getPropertyValue(`--${name}`)]),
    );
    context.clearRect(0, 0, left + side + 1, top + side + 1);
    context.fillStyle = colours.panel;
    context.fillRect(left, top, side, side);
    const [first, last] = [0, 1].map((axis) => [
      Math.floor(origin[axis]),
      Math.min(order.length, Math.ceil(origin[axis] + side / cell)),
    ]).reduce(([a, b], [c, d]) => [[a, c], [b, d]]);
    context.save();
    context.beginPath();
    context.rect(left, top, side, side);
    context.clip();
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = `${LABEL}px system-ui, sans-serif`;
    for (let row = first[0]; row < last[0]; row++) {
      const which = order[row];
      for (const [column, count] of shown.rows[which]) {
        const place = placeOf.get(column);
        if (place < first[1] || place >= last[1]) continue;
        const share = count / shown.totals[which];
        const [x, y] = [left + (place - origin[1]) * cell, top + (row - origin[0]) * cell];
        context.globalAlpha = 0.15 + 0.85 * Math.sqrt(share); // so that a few of many can be seen
        context.fillStyle = column === which ? colours.s0 : colours.s1;
        context.fillRect(x, y, Math.max(cell - (cell > 6 ? 1 : 0), 0.75), Math.max(cell - (cell > 6 ? 1 : 0), 0.75));
        context.globalAlpha = 1;
        if (cell >= COUNT) {
          context.fillStyle = share > 0.2 ? colours.paper : colours.ink;
          context.fillText(String(count), x + cell / 2, y + cell / 2);
        }
      }
    }
    drawGroups(colours);
    if (selected) {
      const [x, y] = [left + (selected[1] - origin[1]) * cell, top + (selected[0] - origin[0]) * cell];
      context.globalAlpha = 0.35;
      context.fillStyle = colours.faint;
      if (cell < LABEL) {
        context.fillRect(left, y + cell / 2 - 0.5, side, 1);
        context.fillRect(x + cell / 2 - 0.5, top, 1, side);
      }
      context.globalAlpha = 1;
      context.strokeStyle = colours.ink;
      context.lineWidth = 2;
      context.strokeRect(x, y, Math.max(cell - 1, 2), Math.max(cell - 1, 2));
    }
    context.restore();
    if (cell >= LABEL) {
      for (let row = first[0]; row < last[0]; row++) if (seen(row, 0)) nameAt(row, false, false, colours);
      for (let column = first[1]; column < last[1]; column++) if (seen(column, 1)) nameAt(column, true, false, colours);
    }
    if (selected) {
      if (seen(selected[0], 0)) nameAt(selected[0], false, true, colours);
      if (seen(selected[1], 1)) nameAt(selected[1], true, true, colours);
    }
  }

  const seen = (place, axis) => place + 0.5 >= origin[axis] && (place + 0.5 - origin[axis]) * cell <= side;

  function drawGroups(colours) {
    if (document.getElementById("matrix-order").value !== "name") return;
    context.strokeStyle = colours.faint;
    context.lineWidth = 1;
    for (let start = 0; start < order.length; ) {
      const group = shown.groups[order[start]];
      let end = start + 1;
      while (group && end < order.length && shown.groups[order[end]] === group) end++;
      if (end - start > 1) {
        const at = (axis) => (start - origin[axis]) * cell + (axis ? left : top);
        context.strokeRect(at(1), at(0), (end - start) * cell, (end - start) * cell);
      }
      start = end;
    }
  }

  function say() {
    if (!selected) return (status.textContent = "Point at a cell, or walk to it with the arrow keys.");
    const [row, column] = [order[selected[0]], order[selected[1]]];
    const [count, total] = [shown.rows[row].get(column) ?? 0, shown.totals[row]];
    const name = isolated(shown.names[row]);
    const share = total ? ` (${((100 * count) / total).toFixed(1)} %)` : "";
    const what = row === column ? `${name}: right` : `${name}, taken for ${isolated(shown.names[column])}`;
    status.textContent = `${what}: ${count} of ${total}${share}`;
  }

  function select(row, column) {
    const bounded = (place) => Math.min(Math.max(place, 0), order.length - 1);
    selected = [bounded(row), bounded(column)];
    draw();
    say();
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => {
    dragged = { from: at(event), origin };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => (dragged = null));
  canvas.addEventListener("pointercancel", () => (dragged = null));
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (dragged && cell > least()) {
      origin = [dragged.origin[0] - (y - dragged.from[1]) / cell, dragged.origin[1] - (x - dragged.from[0]) / cell];
      return draw();
    }
    const [row, column] = [Math.floor(origin[0] + (y - top) / cell), Math.floor(origin[1] + (x - left) / cell)];
    if (x > left && y > top && row < order.length && column < order.length) select(row, column);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 400), ...at(event));
    },
    { passive: false },
  );

  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      if (selected) select(selected[0] + move[0], selected[1] + move[1]);
      else select(Math.ceil(origin[0]), Math.ceil(origin[1]));
      reveal();
    } else if (event.key === "+" || event.key === "=") zoomAtSelected(1.5);
    else if (event.key === "-") zoomAtSelected(1 / 1.5);
    else if (event.key === "0") whole();
    else return;
    event.preventDefault();
  });

  function reveal() {
    const room = side / cell - 1;
    origin = origin.map((value, axis) => Math.min(Math.max(value, selected[axis] - room), selected[axis]));
    draw();
  }

  function zoomAtSelected(factor) {
    if (!selected) return zoom(factor);
    zoom(factor, left + (selected[1] + 0.5 - origin[1]) * cell, top + (selected[0] + 0.5 - origin[0]) * cell);
    reveal();
  }

  document.getElementById("matrix-in").addEventListener("click", () => zoomAtSelected(1.5));
  document.getElementById("matrix-out").addEventListener("click", () => zoomAtSelected(1 / 1.5));
  document.getElementById("matrix-all").addEventListener("click", whole);
  for (const id of ["matrix-order", "matrix-level"]) {
    document.getElementById(id)?.addEventListener("change", rebuild);
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  let width = room.clientWidth;
  new ResizeObserver(() => {
    if (room.clientWidth === width) return; // its height is our own doing
    width = room.clientWidth;
    fit();
  }).observe(room);
  rebuild();
})();
