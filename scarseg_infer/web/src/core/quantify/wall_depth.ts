/** Depth of a voxel in the wall, 0 at the endocardium and 1 at the epicardium; NaN outside:
 * scarseg_runtime/quantify/wall_depth.py. */

import { CAVITY, isVentricle, isWall, type Labels } from "../contract";
import { rint } from "../words";

export function wallDepth(labels: Labels, spacing: readonly [number, number]): Float64Array {
  const [slices, rows, columns] = labels.shape;
  const size = rows * columns;
  const depth = new Float64Array(labels.data.length).fill(NaN);
  const half = 0.5 * Math.min(...spacing);
  for (let slice = 0; slice < slices; slice++) {
    const plane = labels.data.subarray(slice * size, (slice + 1) * size);
    const wall: number[] = [];
    plane.forEach((label, i) => { if (isWall(label)) wall.push(i); });
    if (!wall.length) continue;
    let inner = rim(plane, columns, (label) => label === CAVITY);
    if (!inner.length) {
      const row = rint(wall.reduce((n, i) => n + Math.floor(i / columns), 0) / wall.length);
      const column = rint(wall.reduce((n, i) => n + (i % columns), 0) / wall.length);
      inner = [row * columns + column];
    }
    const outer = rim(plane, columns, (label) => !isVentricle(label));
    for (const i of wall) {
      const near = Math.max(distance(i, inner, columns, spacing) - half, 0);
      const far = Math.max(distance(i, outer, columns, spacing) - half, 0);
      const total = near + far;
      depth[slice * size + i] = total > 0 ? near / total : 0.5;
    }
  }
  return depth;
}

/** Pixels of an area that touch the wall. */
function rim(plane: Uint8Array, columns: number, isArea: (label: number) => boolean): number[] {
  const found: number[] = [];
  plane.forEach((label, i) => {
    if (!isArea(label)) return;
    const column = i % columns;
    const beside = [i - columns, i + columns];
    if (column > 0) beside.push(i - 1);
    if (column < columns - 1) beside.push(i + 1);
    if (beside.some((at) => at >= 0 && at < plane.length && isWall(plane[at]!))) found.push(i);
  });
  return found;
}

function distance(at: number, border: readonly number[], columns: number, [row, column]: readonly [number, number]): number {
  const y = Math.floor(at / columns), x = at % columns;
  let least = Infinity;
  for (const i of border) {
    const square = ((Math.floor(i / columns) - y) * row) ** 2 + (((i % columns) - x) * column) ** 2;
    if (square < least) least = square;
  }
  return Math.sqrt(least);
}
