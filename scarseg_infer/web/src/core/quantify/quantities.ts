/** From labels to volumes, mass, burden and transmurality: scarseg_runtime/quantify/quantities.py. */

import { CAVITY, SCAR, SEGMENT_COUNT, isVentricle, isWall, type Labels } from "../contract";
import { StudyError } from "../errors";
import { median, turnOf } from "../numbers";
import { SEGMENT_NAMES, territoryOf } from "./atlas";

export const MYOCARDIUM_G_PER_ML = 1.05;
const CLASS_ENDS: [number, string][] = [[0, "0"], [0.25, "1-25"], [0.5, "26-50"], [0.75, "51-75"], [1, "76-100"]];

/** Keys as in the result document. */
export interface SegmentQuantities {
  number: number;
  name: string;
  territory: string;
  myocardium_ml: number;
  scar_ml: number;
  burden: number | null;
  transmurality: number | null;
  transmurality_class: string | null;
}

export interface Quantities {
  myocardium_ml: number;
  myocardium_g: number;
  scar_ml: number;
  scar_g: number;
  scar_percent_of_lv_mass: number | null;
  lv_cavity_ml: number;
  segments: SegmentQuantities[];
}

/** Height in mm that each slice stands for. */
export function sliceHeights(positions: readonly number[], thicknessMm: number | null): number[] {
  if (positions.length === 1) {
    if (thicknessMm === null || !(thicknessMm > 0))
      throw new StudyError(
        "the study has one slice of unknown thickness, so no volume can be given",
        "Use a whole short-axis stack",
      );
    return [thicknessMm];
  }
  const steps = positions.slice(1).map((at, i) => Math.abs(at - positions[i]!));
  const usual = median(steps);
  const halves = [usual, ...steps, usual].map((step) => step / 2);
  return positions.map((_, i) => halves[i]! + halves[i + 1]!);
}

/** mL of a voxel in each slice. */
export const voxelMl = (heights: readonly number[], [row, column]: readonly [number, number]): number[] =>
  heights.map((height) => (height * row * column) / 1000);

/** Quantities of one labelled stack. */
export function quantify(
  labels: Labels, segments: Labels, spacing: readonly [number, number], heights: readonly number[],
): Quantities {
  const volume = voxelMl(heights, spacing);
  const plane = labels.shape[1] * labels.shape[2];
  const bins = SEGMENT_COUNT + 1;
  const wallMl = new Float64Array(bins), scarMl = new Float64Array(bins);
  let cavityMl = 0;
  labels.data.forEach((label, i) => {
    const ml = volume[Math.floor(i / plane)]!;
    if (label === CAVITY) cavityMl += ml;
    if (!isWall(label)) return;
    wallMl[segments.data[i]!]! += ml;
    if (label === SCAR) scarMl[segments.data[i]!]! += ml;
  });
  const depth = transmurality(labels, segments, spacing);
  const total = wallMl.reduce((a, b) => a + b), scar = scarMl.reduce((a, b) => a + b);
  return {
    myocardium_ml: total,
    myocardium_g: total * MYOCARDIUM_G_PER_ML,
    scar_ml: scar,
    scar_g: scar * MYOCARDIUM_G_PER_ML,
    scar_percent_of_lv_mass: total > 0 ? (100 * scar) / total : null,
    lv_cavity_ml: cavityMl,
    segments: SEGMENT_NAMES.map((name, k) => {
      const number = k + 1, seen = wallMl[number]! > 0;
      return {
        number,
        name,
        territory: territoryOf(number),
        myocardium_ml: wallMl[number]!,
        scar_ml: scarMl[number]!,
        burden: seen ? scarMl[number]! / wallMl[number]! : null,
        transmurality: seen ? depth[number]! : null,
        transmurality_class: seen ? CLASS_ENDS.find(([end]) => depth[number]! <= end)?.[1] ?? "76-100" : null,
      };
    }),
  };
}

/** Transmurality by segment number: mean share of the chords with scar that is scar. */
function transmurality(labels: Labels, segments: Labels, spacing: readonly [number, number]): number[] {
  const [slices, rows, columns] = labels.shape;
  const bins = SEGMENT_COUNT + 1;
  const shares = Array.from({ length: bins }, (): number[] => []);
  for (let slice = 0; slice < slices; slice++) {
    const plane = labels.data.subarray(slice * rows * columns, (slice + 1) * rows * columns);
    let count = 0, row = 0, column = 0;
    plane.forEach((label, i) => {
      if (!isVentricle(label)) return;
      count++;
      row += Math.floor(i / columns);
      column += i % columns;
    });
    if (!count) continue;
    const pixels: { at: number; turn: number; radius: number }[] = [];
    plane.forEach((label, i) => {
      if (!isWall(label)) return;
      const y = (Math.floor(i / columns) - row / count) * spacing[0];
      const x = ((i % columns) - column / count) * spacing[1];
      pixels.push({ at: i, turn: turnOf(y, x), radius: Math.max(Math.hypot(x, y), Math.min(...spacing)) });
    });
    if (!pixels.length) continue;
    const middle = pixels.reduce((total, pixel) => total + pixel.radius, 0) / pixels.length;
    const chords = Math.ceil((2 * Math.PI * middle) / Math.max(...spacing));
    const wall = new Map<number, number>(), scar = new Map<number, number>();
    for (const { at, turn, radius } of pixels) {
      const segment = segments.data[slice * rows * columns + at]!;
      const key = Math.trunc(turn * chords) * bins + segment;
      wall.set(key, (wall.get(key) ?? 0) + 1 / radius);
      if (plane[at] === SCAR) scar.set(key, (scar.get(key) ?? 0) + 1 / radius);
    }
    for (const [key, amount] of scar) shares[key % bins]!.push(Math.min(amount / wall.get(key)!, 1));
  }
  return shares.map((found) => found.reduce((a, b) => a + b, 0) / Math.max(found.length, 1));
}
