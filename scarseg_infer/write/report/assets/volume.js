// The volumes of the page: decoding, grey values, outlines of masks.

const LABEL_NAMES = ["background", "LV cavity", "viable myocardium", "scar", "RV cavity"];
const CAVITY = 1, SCAR = 3;

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

// (value, length) pairs back to one value a voxel.
function unpackRuns(base64, size) {
  const pairs = bytesOf(base64), values = new Uint8Array(size);
  for (let i = 0, at = 0; i < pairs.length; i += 2) {
    values.fill(pairs[i], at, at + pairs[i + 1]);
    at += pairs[i + 1];
  }
  return values;
}

class Volume {
  constructor(packed) {
    const [slices, rows, columns] = packed.shape;
    Object.assign(this, { slices, rows, columns, plane: rows * columns, packed });
    // Little-endian, as every machine with a browser is.
    this.codes = new Uint16Array(bytesOf(packed.pixels).buffer);
    this.labels = unpackRuns(packed.labels, slices * this.plane);
    this.segments = unpackRuns(packed.segments, slices * this.plane);
    this.table = new Uint8ClampedArray(65536);
    this.outlines = new Map();
  }

  value(at) { return this.packed.offset + this.packed.step * this.codes[at]; }
  fused(at) { return this.labels[at] & 7; }
  imageOnly(at) { return this.labels[at] >> 3; }

  // Window (full width) and level (middle), in the values of the source.
  setWindow(width, level) {
    const { offset, step } = this.packed;
    for (let code = 0; code < 65536; code++)
      this.table[code] = 255 * ((offset + step * code - level) / width + 0.5);
  }

  // One slice in grey, a canvas of one pixel a voxel.
  greys(slice) {
    const canvas = this.scratch ??= Object.assign(document.createElement("canvas"), {
      width: this.columns, height: this.rows,
    });
    const context = canvas.getContext("2d"), start = slice * this.plane;
    const image = context.createImageData(this.columns, this.rows);
    const pixels = new Uint32Array(image.data.buffer); // alpha, blue, green, red
    for (let i = 0; i < this.plane; i++)
      pixels[i] = 0xff000000 | (this.table[this.codes[start + i]] * 0x010101);
    context.putImageData(image, 0, 0);
    return canvas;
  }

  // Outline of the voxels of a slice that `inside(index)` accepts, kept by `name`.
  outline(slice, name, inside) {
    const key = `${slice} ${name}`;
    if (!this.outlines.has(key)) {
      const start = slice * this.plane;
      const mask = (row, column) =>
        row >= 0 && column >= 0 && row < this.rows && column < this.columns &&
        inside(start + row * this.columns + column);
      this.outlines.set(key, traced(mask, this.rows, this.columns));
    }
    return this.outlines.get(key);
  }
}

// Where the border of a mask enters and leaves a cell of four voxel centres, inside on the left.
// Edges: 0 top, 1 right, 2 bottom, 3 left. Index: 8 top left, 4 top right, 2 bottom right,
// 1 bottom left. Voxels that touch at a corner only stay apart.
const CROSSINGS = [
  [], [[2, 3]], [[1, 2]], [[1, 3]], [[0, 1]], [[0, 1], [2, 3]], [[0, 2]], [[0, 3]],
  [[3, 0]], [[2, 0]], [[3, 0], [1, 2]], [[1, 0]], [[3, 1]], [[2, 1]], [[3, 2]], [],
];
const EDGE_STEPS = [[0, 1], [1, 2], [2, 1], [1, 0]]; // half voxels down, right

// Closed path(s) around a mask, in voxels; the centre of voxel (row, column) is
// (column + 0.5, row + 0.5). Marching squares, so that a border runs halfway between centres,
// and then corners are cut by an eighth of a voxel at most.
function traced(mask, rows, columns) {
  const wide = 2 * columns + 4, next = new Map();
  for (let row = -1; row < rows; row++)
    for (let column = -1; column < columns; column++) {
      const corners = 8 * mask(row, column) + 4 * mask(row, column + 1) +
        2 * mask(row + 1, column + 1) + mask(row + 1, column);
      for (const [from, to] of CROSSINGS[corners]) {
        const [start, end] = [from, to].map((edge) => {
          const [down, right] = EDGE_STEPS[edge];
          return (2 * row + 2 + down) * wide + 2 * column + 2 + right;
        });
        next.set(start, end);
      }
    }
  const path = new Path2D();
  while (next.size) {
    const points = [];
    let at = next.keys().next().value;
    while (next.has(at)) {
      points.push([(at % wide) / 2 - 0.5, Math.floor(at / wide) / 2 - 0.5]);
      const following = next.get(at);
      next.delete(at);
      at = following;
    }
    addSmoothLoop(path, points);
  }
  return path;
}

// One step of Chaikin's corner cutting.
function addSmoothLoop(path, points) {
  points.forEach(([x, y], i) => {
    const [endX, endY] = points[(i + 1) % points.length];
    for (const share of [0.25, 0.75]) {
      const place = [x + (endX - x) * share, y + (endY - y) * share];
      if (i === 0 && share === 0.25) path.moveTo(...place);
      else path.lineTo(...place);
    }
  });
  path.closePath();
}
