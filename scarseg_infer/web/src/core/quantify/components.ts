/** Connected components, and the clean-up of labels that builds on them: as
 * scarseg_runtime/quantify/components.py. Voxels connect through faces. */

import { SCAR, VIABLE, isVentricle, isWall, type Labels, type Shape } from "../contract";
import { cut, heartBox, paste } from "../window";

export type Mask = Uint8Array;

export interface Components {
  /** Component number of each voxel, −1 outside, in order of the first voxel of each. */
  of: Int32Array;
  sizes: number[];
}

/** Components of a mask [S, H, W]; those of each slice apart where `planar`. */
export function components(mask: Mask, [slices, rows, columns]: Shape, planar = false): Components {
  const plane = rows * columns;
  const of = new Int32Array(mask.length).fill(-1);
  const sizes: number[] = [];
  const stack = new Int32Array(mask.length);
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || of[first]! >= 0) continue;
    const number = sizes.length;
    let height = 0, size = 0;
    const visit = (at: number): void => {
      if (!mask[at] || of[at]! >= 0) return;
      of[at] = number;
      stack[height++] = at;
    };
    visit(first);
    while (height) {
      const at = stack[--height]!;
      size++;
      const column = at % columns;
      const row = Math.floor(at / columns) % rows;
      if (column > 0) visit(at - 1);
      if (column < columns - 1) visit(at + 1);
      if (row > 0) visit(at - columns);
      if (row < rows - 1) visit(at + columns);
      if (planar) continue;
      if (at >= plane) visit(at - plane);
      if (at < (slices - 1) * plane) visit(at + plane);
    }
    sizes.push(size);
  }
  return { of, sizes };
}

/** Calls back for each of the four neighbours within the slice; −1 beyond the picture. */
export function neighbours(at: number, [, rows, columns]: Shape): [number, number, number, number] {
  const column = at % columns;
  const row = Math.floor(at / columns) % rows;
  return [
    row > 0 ? at - columns : -1,
    row < rows - 1 ? at + columns : -1,
    column > 0 ? at - 1 : -1,
    column < columns - 1 ? at + 1 : -1,
  ];
}

/** Labels with one left ventricle without holes, and without scar specks below `minScarMl`;
 * `voxelMl` is that of a voxel in each slice. */
export function cleanLabels(whole: Labels, minScarMl: number, voxelMl: ArrayLike<number>): Labels {
  const box = heartBox(whole);
  const { data, shape } = cut(whole, box);
  const ventricle = data.map((label) => Number(isVentricle(label)));
  const parts = components(ventricle, shape);
  if (parts.sizes.length > 1) {
    const largest = parts.sizes.indexOf(Math.max(...parts.sizes));
    for (let i = 0; i < data.length; i++) if (parts.of[i]! >= 0 && parts.of[i] !== largest) data[i] = 0;
  }
  fillHoles(data, shape);
  const wall = data.map((label) => Number(isWall(label)));
  const scar = withDarkCores(data.map((label) => Number(label === SCAR)), wall, shape);
  const islands = components(scar, shape);
  const volumes = new Float64Array(islands.sizes.length);
  const plane = shape[1] * shape[2];
  const counts = islands.sizes.map(() => new Float64Array(shape[0]));
  for (let i = 0; i < data.length; i++) {
    if (!scar[i]) continue;
    data[i] = SCAR;
    counts[islands.of[i]!]![Math.floor(i / plane)]!++;
  }
  counts.forEach((count, k) => count.forEach((n, slice) => { volumes[k]! += n * voxelMl[slice]!; }));
  for (let i = 0; i < data.length; i++)
    if (scar[i] && volumes[islands.of[i]!]! < minScarMl) data[i] = VIABLE;
  return paste({ data, shape }, box, whole.shape);
}

/** Scar with what it encloses inside the wall of a slice. Where half of that is `healthy`, it is no
 * core. */
export function withDarkCores(scar: Mask, wall: Mask, shape: Shape, healthy?: Mask): Mask {
  const dark = scar.map((value, i) => Number(wall[i] && !value));
  const parts = components(dark, shape, true);
  const enclosed = new Uint8Array(parts.sizes.length).fill(1);
  const known = new Float64Array(parts.sizes.length);
  for (let i = 0; i < dark.length; i++) {
    if (!dark[i]) continue;
    if (neighbours(i, shape).some((at) => at >= 0 && !wall[at])) enclosed[parts.of[i]!] = 0;
    if (healthy?.[i]) known[parts.of[i]!]!++;
  }
  parts.sizes.forEach((size, k) => { if (healthy && !(2 * known[k]! < size)) enclosed[k] = 0; });
  return scar.map((value, i) => Number(value || (dark[i] && enclosed[parts.of[i]!])));
}

/** Fill, in place, what the ventricle encloses within a slice, with its commonest neighbour label. */
function fillHoles(data: Uint8Array, shape: Shape): void {
  const outside = data.map((label) => Number(!isVentricle(label)));
  const parts = components(outside, shape, true);
  const enclosed = new Uint8Array(parts.sizes.length).fill(1);
  for (let i = 0; i < data.length; i++)
    if (outside[i] && neighbours(i, shape).includes(-1)) enclosed[parts.of[i]!] = 0;
  const holes = new Map<number, number[]>();
  for (let i = 0; i < data.length; i++) {
    const part = parts.of[i]!;
    if (part < 0 || !enclosed[part]) continue;
    if (!holes.has(part)) holes.set(part, []);
    holes.get(part)!.push(i);
  }
  for (const [part, hole] of [...holes].sort(([a], [b]) => a - b)) {
    const rim = new Set(hole.flatMap((i) => neighbours(i, shape).filter((at) => at >= 0 && parts.of[at] !== part)));
    const counts = new Array<number>(8).fill(0);
    for (const at of rim) counts[data[at]!]!++;
    const label = counts.indexOf(Math.max(...counts));
    for (const i of hole) data[i] = label;
  }
}
