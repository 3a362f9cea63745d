// The slice browser: draws slices with their overlays, and listens to mouse, wheel and keys.

const MODES = ["fused", "image", "difference", "none"];
const WHEEL_STEP = 40; // touch pads send many small steps
const CLICK_REACH = 4; // pixels a click may move

class Viewer {
  constructor(root, volume, segments) {
    Object.assign(this, { root, volume, segments, segment: null });
    const { grey, start } = volume.packed;
    this.slice = start;
    this.grey = { width: Math.max(grey[1] - grey[0], 1e-6), level: (grey[0] + grey[1]) / 2 };
    this.part = (id) => root.querySelector(`#${id}`);
    this.canvas = this.part("slice");
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.onChoose = () => {};
    this.makeStrip();
    this.makeControls();
    this.listen();
    this.resetWindow();
    this.show(start);
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
  }

  get mode() { return this.root.dataset.mode; }

  // ---- state

  show(slice) {
    this.slice = Math.min(Math.max(slice, 0), this.volume.slices - 1);
    this.part("slice-range").value = this.slice;
    this.part("place").textContent = this.describe(this.slice);
    this.canvas.setAttribute("aria-label", this.describe(this.slice));
    [...this.part("strip").querySelectorAll("button")].forEach((button, index) =>
      button.setAttribute("aria-current", String(index === this.slice)));
    this.redraw();
  }

  setMode(mode) {
    this.root.dataset.mode = mode;
    this.root.querySelector(`input[value="${mode}"]`).checked = true;
    this.redraw(true);
  }

  setWindow(width, level) {
    Object.assign(this, { width: Math.max(width, this.grey.width / 200), level });
    this.volume.setWindow(this.width, this.level);
    for (const name of ["width", "level"]) {
      this.part(name).value = this[name];
      this.part(`${name}-value`).textContent = this.plain(this[name]);
    }
    this.redraw(true);
  }

  resetWindow() { this.setWindow(this.grey.width, this.grey.level); }

  // Outline a segment and go to the slice in which it has most scar.
  chooseSegment(number, travel = true) {
    this.segment = number;
    const slice = number && this.volume.packed.segment_slices[number - 1];
    if (travel && slice != null) this.show(slice);
    this.redraw(true);
    this.onChoose(number);
  }

  // ---- words

  plain(value) { return this.grey.width < 20 ? value.toFixed(2) : value.toFixed(0); }

  describe(index) {
    const slice = this.volume.packed.slices[index], count = this.volume.slices;
    const end = count === 1 ? "" : index === 0 ? " (base)" : index === count - 1 ? " (apex)" : "";
    const alone = slice.image_only_scar_ml.toFixed(1);
    return `Slice ${slice.number}: ${index + 1} of ${count} from the base${end}, ` +
      `${slice.from_base_mm.toFixed(0)} mm. Scar ${slice.scar_ml.toFixed(1)} mL, image alone ${alone} mL.`;
  }

  probe(event) {
    const at = this.voxel(event), words = this.part("probe");
    if (at === null) { words.textContent = ""; return; }
    const { volume } = this, fused = LABEL_NAMES[volume.fused(at)];
    const alone = LABEL_NAMES[volume.imageOnly(at)], number = volume.segments[at];
    const parts = [`Value ${this.plain(volume.value(at))}`, fused];
    if (alone !== fused) parts.push(`image alone: ${alone}`);
    if (number) parts.push(`segment ${number} ${this.segments[number - 1].name}`);
    words.textContent = parts.join(" · ");
  }

  // ---- drawing

  redraw(everything = false) {
    if (everything) this.stripIsOld = true;
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      const side = Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio || 1, 2));
      if (side > 0) this.paint(this.canvas, this.slice, side, this.part("whole").checked);
      if (!this.stripIsOld) return;
      clearTimeout(this.later);
      this.later = setTimeout(() => this.paintStrip(200, 32), 60);
    });
  }

  // Tiles of `side` pixels with numbers of `letters` pixels.
  paintStrip(side, letters) {
    this.stripIsOld = false;
    clearTimeout(this.later);
    this.part("strip").querySelectorAll("canvas").forEach((canvas, index) =>
      this.paint(canvas, index, side, false, letters));
  }

  // Pixels of a millimetre, and the matrix from voxels to the pixels of a square canvas: the middle
  // of what is shown in the middle of the canvas, turned so that the anterior wall is on top.
  view(side, whole) {
    const { rows, columns, packed } = this.volume, [rowMm, columnMm] = packed.spacing_mm;
    const [[top, bottom], [left, right]] = whole ? [[0, rows], [0, columns]] : packed.heart;
    const high = (bottom - top) * rowMm, wide = (right - left) * columnMm;
    const turn = packed.turn_deg * Math.PI / 180;
    const cosine = Math.abs(Math.cos(turn)), sine = Math.abs(Math.sin(turn));
    // The heart's square loses corners when turned; the whole image is to stay whole.
    const extent = whole ? Math.max(wide * cosine + high * sine, wide * sine + high * cosine) : Math.max(high, wide);
    const scale = side / extent;
    const matrix = new DOMMatrix()
      .translateSelf(side / 2, side / 2)
      .rotateSelf(packed.turn_deg)
      .scaleSelf(scale * columnMm, scale * rowMm)
      .translateSelf(-(left + right) / 2, -(top + bottom) / 2);
    return { scale, matrix };
  }

  // A tile has bolder lines and no words but its number.
  paint(canvas, slice, side, whole, letters = 0) {
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const context = canvas.getContext("2d"), view = this.view(side, whole), { matrix } = view;
    context.fillStyle = "#000";
    context.fillRect(0, 0, side, side);
    context.imageSmoothingQuality = "high";
    context.setTransform(matrix);
    context.drawImage(this.volume.greys(slice), 0, 0);
    context.setTransform(1, 0, 0, 1, 0, 0);
    const unit = side / (letters ? 220 : 460); // line widths look alike in every size
    if (this.mode !== "none") this.paintOverlay(context, slice, matrix, unit);
    if (this.part("all-segments").checked) this.paintSegments(context, slice, matrix, unit);
    if (this.segment) this.paintChosen(context, slice, matrix, unit);
    this.paintNumber(context, slice, letters || side / 30);
    if (!letters) this.paintWords(context, side, view);
  }

  paintOverlay(context, slice, matrix, unit) {
    const { volume } = this, mode = this.mode;
    const label = mode === "image" ? (at) => volume.imageOnly(at) : (at) => volume.fused(at);
    const path = (name, inside) => moved(volume.outline(slice, name, inside), matrix);
    const layers = [];
    if (this.part("lines").checked) layers.push(
      ["epicardium", path(`${mode} epi`, (at) => label(at) >= CAVITY && label(at) <= SCAR)],
      ["endocardium", path(`${mode} endo`, (at) => label(at) === CAVITY)]);
    for (const [, outline] of layers) halo(context, outline, 2.4 * unit);
    for (const [name, outline] of layers) line(context, outline, this.colour(name), 1.4 * unit);
    const scar = (at) => volume.fused(at) === SCAR, alone = (at) => volume.imageOnly(at) === SCAR;
    const areas = mode === "difference" ? [
      ["scar", path("both", (at) => scar(at) && alone(at)), 0.5, []],
      ["added", path("added", (at) => scar(at) && !alone(at)), 1.6, []],
      ["image-only", path("removed", (at) => !scar(at) && alone(at)), 1.6, [5 * unit, 3 * unit]],
    ] : [["scar", path(`${mode} scar`, (at) => label(at) === SCAR), 1, []]];
    const opacity = this.part("fill").value / 100;
    for (const [name, outline, strength, dashes] of areas) {
      context.globalAlpha = Math.min(opacity * strength, 1);
      context.fillStyle = this.colour(name);
      context.fill(outline);
      context.globalAlpha = 1;
      if (!this.part("lines").checked) continue;
      halo(context, outline, 2.8 * unit);
      line(context, outline, this.colour(name), 1.8 * unit, dashes);
    }
  }

  paintSegments(context, slice, matrix, unit) {
    const { volume } = this, start = slice * volume.plane;
    const centres = new Map();
    for (let i = 0; i < volume.plane; i++) {
      const number = volume.segments[start + i];
      if (!number) continue;
      const sum = centres.get(number) ?? [0, 0, 0];
      centres.set(number, [sum[0] + (i % volume.columns) + 0.5, sum[1] + Math.floor(i / volume.columns) + 0.5, sum[2] + 1]);
    }
    for (const [number, [x, y, count]] of centres) {
      line(context, this.segmentPath(slice, number, matrix), "#ffffffb0", unit, [2 * unit, 3 * unit]);
      const place = matrix.transformPoint(new DOMPoint(x / count, y / count));
      words(context, String(number), place.x, place.y, 12 * unit, "center");
    }
  }

  paintChosen(context, slice, matrix, unit) {
    const outline = this.segmentPath(slice, this.segment, matrix);
    halo(context, outline, 5 * unit);
    line(context, outline, "#fff", 2.4 * unit);
  }

  segmentPath(slice, number, matrix) {
    const inside = (at) => this.volume.segments[at] === number;
    return moved(this.volume.outline(slice, `segment ${number}`, inside), matrix);
  }

  paintNumber(context, slice, size) {
    const { packed, slices } = this.volume;
    const end = slices > 1 && slice === 0 ? " base" : slices > 1 && slice === slices - 1 ? " apex" : "";
    words(context, `${packed.slices[slice].number}${end}`, size * 0.4, size * 0.8, size, "left");
  }

  paintWords(context, side, view) {
    const size = side / 34;
    words(context, `W ${this.plain(this.width)}  L ${this.plain(this.level)}`, side - size * 0.5, size, size, "right");
    if (this.segment) {
      const name = `${this.segment} ${this.segments[this.segment - 1].name}`;
      words(context, name, size * 0.5, side - size * 0.9, size, "left");
    }
    const bar = 20 * view.scale;
    context.fillStyle = "#fff";
    context.fillRect(side - size * 0.5 - bar, side - size * 0.7, bar, Math.max(2, side / 300));
    words(context, "20 mm", side - size * 0.5, side - size * 1.3, size * 0.9, "right");
    if (!this.wallsKnown) return;
    words(context, "anterior", side / 2, size, size * 0.9, "center");
    words(context, "inferior", side / 2, side - size * 0.8, size * 0.9, "center");
    words(context, "septal", size * 0.5, side / 2, size * 0.9, "left");
    words(context, "lateral", side - size * 0.5, side / 2, size * 0.9, "right");
  }

  // ---- hands

  makeStrip() {
    const items = this.volume.packed.slices.map((slice, index) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", this.describe(index));
      button.append(document.createElement("canvas"));
      button.addEventListener("click", () => this.show(index));
      item.append(button);
      return item;
    });
    this.part("strip").replaceChildren(...items);
  }

  makeControls() {
    const { grey } = this, limits = {
      width: [grey.width / 50, 4 * grey.width],
      level: [grey.level - 1.5 * grey.width, grey.level + 1.5 * grey.width],
    };
    for (const [name, [min, max]] of Object.entries(limits)) Object.assign(this.part(name), { min, max });
    this.part("slice-range").max = this.volume.slices - 1;
    const on = (id, event, act) => this.part(id).addEventListener(event, act);
    on("slice-range", "input", (event) => this.show(Number(event.target.value)));
    on("previous", "click", () => this.show(this.slice - 1));
    on("next", "click", () => this.show(this.slice + 1));
    on("width", "input", (event) => this.setWindow(Number(event.target.value), this.level));
    on("level", "input", (event) => this.setWindow(this.width, Number(event.target.value)));
    on("reset", "click", () => this.resetWindow());
    for (const id of ["lines", "all-segments", "whole"]) on(id, "change", () => this.redraw(true));
    const fill = () => { this.part("fill-value").textContent = `${this.part("fill").value} %`; };
    on("fill", "input", () => { fill(); this.redraw(true); });
    fill();
    this.root.querySelectorAll('input[name="mode"]').forEach((radio) =>
      radio.addEventListener("change", () => this.setMode(radio.value)));
  }

  listen() {
    let travelled = 0, from = null;
    this.canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return; // the browser's zoom
      event.preventDefault();
      travelled += event.deltaMode ? event.deltaY * WHEEL_STEP : event.deltaY;
      const steps = Math.trunc(travelled / WHEEL_STEP);
      if (!steps) return;
      travelled = 0;
      this.show(this.slice + Math.sign(steps)); // one slice a notch, however long the notch
    }, { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.canvas.setPointerCapture(event.pointerId);
      from = { x: event.clientX, y: event.clientY, width: this.width, level: this.level, far: false };
    });
    this.canvas.addEventListener("pointermove", (event) => {
      this.probe(event);
      if (!from) return;
      const x = event.clientX - from.x, y = event.clientY - from.y, step = this.grey.width / 250;
      from.far ||= Math.hypot(x, y) > CLICK_REACH;
      if (from.far) this.setWindow(from.width + x * step, from.level + y * step);
    });
    this.canvas.addEventListener("pointerup", (event) => {
      const at = this.voxel(event);
      if (from && !from.far && at !== null) {
        const number = this.volume.segments[at];
        this.chooseSegment(number && number !== this.segment ? number : null, false);
      }
      from = null;
    });
    this.canvas.addEventListener("pointercancel", () => { from = null; });
    this.part("screen").addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || event.target !== document.body || modified(event)) return;
      event.preventDefault();
      this.show(this.slice + step);
    });
  }

  key(event) {
    if (modified(event)) return;
    const tick = (id) => () => this.part(id).click();
    const last = this.volume.slices - 1, number = Number(event.key);
    const act = {
      ArrowUp: () => this.show(this.slice - 1), ArrowLeft: () => this.show(this.slice - 1),
      ArrowDown: () => this.show(this.slice + 1), ArrowRight: () => this.show(this.slice + 1),
      PageUp: () => this.show(this.slice - 1), PageDown: () => this.show(this.slice + 1),
      Home: () => this.show(0), End: () => this.show(last), Escape: () => this.chooseSegment(null),
      c: tick("lines"), s: tick("all-segments"), w: tick("whole"), r: () => this.resetWindow(),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key]
      ?? (number >= 1 && number <= MODES.length ? () => this.setMode(MODES[number - 1]) : null);
    if (!act) return;
    event.preventDefault();
    act();
  }

  // Index of the voxel under the pointer, or null.
  voxel(event) {
    const box = this.canvas.getBoundingClientRect();
    const { matrix } = this.view(box.width, this.part("whole").checked);
    const place = matrix.inverse().transformPoint(
      new DOMPoint(event.clientX - box.left, event.clientY - box.top));
    const column = Math.floor(place.x), row = Math.floor(place.y);
    const { rows, columns, plane } = this.volume;
    const inside = row >= 0 && column >= 0 && row < rows && column < columns;
    return inside ? this.slice * plane + row * columns + column : null;
  }
}

const modified = (event) => event.ctrlKey || event.metaKey || event.altKey;

function moved(path, matrix) {
  const copy = new Path2D();
  copy.addPath(path, matrix);
  return copy;
}

function line(context, path, colour, width, dashes = []) {
  context.setLineDash(dashes);
  Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
  context.stroke(path);
  context.setLineDash([]);
}

const halo = (context, path, width) => line(context, path, "#000000a0", width);

function words(context, text, x, y, size, align) {
  Object.assign(context, {
    font: `${size}px system-ui, sans-serif`, textAlign: align, textBaseline: "middle",
    lineWidth: size / 3.5, strokeStyle: "#000", fillStyle: "#fff", lineJoin: "round",
  });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}
