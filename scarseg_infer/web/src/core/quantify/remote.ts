/** Remote myocardium without a reader: scarseg_runtime/quantify/remote.py, which says why. */

import type { Pixels, Shape } from "../contract";
import { deviation, mean, median, percentile, sorted, extremes, turnOf } from "../numbers";
import { neighbours, type Mask } from "./components";

const SECTORS = 24;
const ARC = 3;
const MIN_ARC_PIXELS = 6;
const MIN_INTERIOR = 0.1;
const REFERENCE_PERCENTILE = 25;
const UNEVEN = 0.2;
const SLICE_SD = 3;
const SECTOR_SD = 1.5;
const OUTLIER_SD = 4;
const MIN_PIXELS = 12;
const TWO_KINDS = 0.85;
const MAD_TO_SD = 1.4826;
const ROUNDING = 1e-6;

export const count = (mask: Mask): number => mask.reduce((n, value) => n + value, 0);

export function inside(values: ArrayLike<number>, mask: Mask): number[] {
  const found: number[] = [];
  for (let i = 0; i < mask.length; i++) if (mask[i]) found.push(values[i]!);
  return found;
}

/** Mean and SD of a remote region of `wall`; null where it is too small. */
export function regionStatistics(pixels: Pixels, wall: Mask, region: Mask): [number, number] | null {
  const values = inside(pixels.data, region);
  if (!values.length || values.length < Math.min(MIN_PIXELS, count(wall))) return null;
  return [mean(values), deviation(values)];
}

/** Remote myocardium; empty where none is found. `scar` is what is known to be scar. */
export function remoteRegion(pixels: Pixels, wall: Mask, scar: Mask): Mask {
  const { shape } = pixels;
  const inner = interior(wall, shape);
  const bright = count(inner) ? percentile(inside(pixels.data, inner), 99) : 0;
  const free = inner.map((value, i) =>
    Number(value && !scar[i] && !neighbours(i, shape).some((at) => at >= 0 && scar[at])));
  if (count(free) >= MIN_PIXELS) return darkest(pixels, wall, free, bright);
  const found = darkest(pixels, wall, inner, bright);
  const scarred = found.reduce((n, value, i) => n + Number(value && scar[i]), 0);
  return 2 * scarred > count(found) ? new Uint8Array(wall.length) : found;
}

/** The wall without the pixels at its borders; all of a wall of which nearly nothing would be left. */
export function interior(wall: Mask, shape: Shape): Mask {
  // First along columns of pixels, then across: what touches the outside with a corner goes too.
  const upright = wall.map((value, i) => {
    const [up, down] = neighbours(i, shape);
    return Number(value && (up < 0 || wall[up]) && (down < 0 || wall[down]));
  });
  const inner = upright.map((value, i) => {
    const [, , left, right] = neighbours(i, shape);
    return Number(value && (left < 0 || upright[left]) && (right < 0 || upright[right]));
  });
  return count(inner) >= MIN_INTERIOR * count(wall) ? inner : wall;
}

interface Arc { level: number; spread: number }

function darkest(pixels: Pixels, wall: Mask, inner: Mask, bright: number): Mask {
  const [slices, rows, columns] = pixels.shape;
  const plane = rows * columns;
  const remote = new Uint8Array(wall.length);
  const where: number[] = [];
  inner.forEach((value, i) => { if (value) where.push(i); });
  if (!where.length) return remote;
  const centres = wallCentres(wall, pixels.shape);
  const values = where.map((i) => pixels.data[i]!);
  const sliceOf = where.map((i) => Math.floor(i / plane));
  const sector = where.map((i, k) => {
    const [row, column] = centres[sliceOf[k]!]!;
    const turn = turnOf((Math.floor(i / columns) % rows) - row, (i % columns) - column);
    return Math.trunc(turn * SECTORS) % SECTORS;
  });
  const n = new Float64Array(slices * SECTORS), total = n.slice(), squares = n.slice();
  where.forEach((_, k) => {
    const key = sliceOf[k]! * SECTORS + sector[k]!;
    n[key]!++;
    total[key]! += values[k]!;
    squares[key]! += values[k]! ** 2;
  });
  const arcs = Array.from({ length: slices }, (_, s) => darkestArc(s, n, total, squares));
  const seen = arcs.filter((arc): arc is Arc => arc !== null);
  if (!seen.length) return remote;
  const levels = seen.map((arc) => arc.level);
  const reference = sorted(levels)[Math.floor((REFERENCE_PERCENTILE / 100) * (levels.length - 1))]!;
  const usual = median(levels);
  const sd = median(seen.filter((arc) => arc.level <= usual).map((arc) => arc.spread));
  const uneven = UNEVEN * Math.max(bright - reference, 0);
  const [low, high] = extremes(values);
  const rounding = ROUNDING * (Math.abs(reference) + (high - low));
  const healthy = (arc: Arc | null | undefined): arc is Arc =>
    !!arc && arc.level <= reference + Math.max(SLICE_SD * sd, uneven) + rounding;
  let chosen = where.map((_, k) => {
    const arc = arcs[sliceOf[k]!];
    if (!healthy(arc)) return false;
    const key = sliceOf[k]! * SECTORS + sector[k]!;
    return total[key]! / n[key]! <= arc.level + Math.max(SECTOR_SD * sd, uneven) + rounding;
  });
  const beyond = where.map((_, k) => values[k]! - (arcs[sliceOf[k]!]?.level ?? NaN));
  const end = endOfDarkerKind(beyond.filter((_, k) => chosen[k]), uneven);
  chosen = chosen.map((value, k) => value && beyond[k]! <= end);
  const kept = values.filter((_, k) => chosen[k]);
  const [middle, robust] = robustSpread(kept);
  where.forEach((i, k) => {
    if (chosen[k] && !(robust > 0 && Math.abs(values[k]! - middle) > OUTLIER_SD * robust)) remote[i] = 1;
  });
  return remote;
}

/** Median, and SD by the median distance from it, without pixels at the lowest value: of nulled wall that is cut
 * off at zero half of them are. */
function robustSpread(values: readonly number[]): [number, number] {
  const middle = median(values), [low] = extremes(values);
  const above = values.filter((value) => value > low);
  return [middle, above.length ? MAD_TO_SD * median(above.map((value) => Math.abs(value - middle))) : 0];
}

/** Middle (row, column) of the wall of each slice. */
function wallCentres(wall: Mask, [slices, rows, columns]: Shape): [number, number][] {
  return Array.from({ length: slices }, (_, slice) => {
    let n = 0, row = 0, column = 0;
    for (let i = 0; i < rows * columns; i++) {
      if (!wall[slice * rows * columns + i]) continue;
      n++;
      row += Math.floor(i / columns);
      column += i % columns;
    }
    return [row / Math.max(n, 1), column / Math.max(n, 1)];
  });
}

function darkestArc(slice: number, n: Float64Array, total: Float64Array, squares: Float64Array): Arc | null {
  const of = (values: Float64Array, sector: number): number => {
    let found = 0;
    for (let k = 0; k < ARC; k++) found += values[slice * SECTORS + ((sector + k) % SECTORS)]!;
    return found;
  };
  let all = 0;
  for (let k = 0; k < SECTORS; k++) all += n[slice * SECTORS + k]!;
  const least = Math.min(MIN_ARC_PIXELS, all);
  let best = -1, level = Infinity;
  for (let k = 0; k < SECTORS; k++) {
    const pixels = of(n, k);
    if (!(pixels >= least && pixels > 0)) continue;
    const here = of(total, k) / pixels;
    if (here < level) { level = here; best = k; }
  }
  if (best < 0) return null;
  return { level, spread: Math.sqrt(Math.max(of(squares, best) / of(n, best) - level ** 2, 0)) };
}

/** End of the darker of two kinds of pixels; infinity where they are of one kind. */
function endOfDarkerKind(values: readonly number[], least: number): number {
  const order = sorted(values), size = order.length;
  if (size < 2) return Infinity;
  const total = order.reduce((a, b) => a + b);
  let sums = 0, best = -1, most = -Infinity, gap = 0;
  for (let k = 1; k < size; k++) {
    sums += order[k - 1]!;
    const apart = sums / k - (total - sums) / (size - k);
    const between = (k * (size - k) * apart ** 2) / size ** 2;
    if (between > most) { most = between; best = k - 1; gap = apart; }
  }
  if (most <= TWO_KINDS * deviation(order) ** 2) return Infinity;
  return -gap > least ? order[best]! : Infinity;
}
