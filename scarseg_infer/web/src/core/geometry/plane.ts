/** Plane of one slice, and what makes slices a stack: scarseg_infer/study/geometry/slice_plane.py and
 * straight_grid.py. */

import { median } from "../numbers";
import { capital, fixed, rint } from "../words";
import type { Stack } from "../study/stack";
import { cross, degrees, dot, minus, norm, plus, scaled, unit, type Vector } from "./vectors";

const MAX_AXIS_ERROR = 0.01;
export const PARALLEL_TOLERANCE_DEG = 0.2;
const SPACING_TOLERANCE = 1e-3;
export const SAME_POSITION_MM = 0.5;
export const MAX_SLICE_HEIGHT_MM = 50;
export const MIN_SLICE_HEIGHT_MM = 0.7;
export const MAX_COORDINATE_MM = 10_000;
export const MISSING_SLICE_STEP = 1.5;
const WIDE_STEP = 2;
const WIDE_STEP_MM = 20;
const OVERLAPPING = 2.5;
const STRAIGHT_MM = 2;
const MOST_MISSING = 12;
const MOST_MOVED = 4;

export interface Plane {
  rows: number;
  columns: number;
  /** Between rows, then between columns. */
  spacing: [number, number];
  origin: Vector;
  rowDirection: Vector;
  columnDirection: Vector;
}

export const normalOf = (plane: Plane): Vector => cross(plane.rowDirection, plane.columnDirection);

/** True when both slices can belong to one stack. */
export function sameGrid(one: Plane, other: Plane, toleranceDeg = PARALLEL_TOLERANCE_DEG): boolean {
  if (one.rows !== other.rows || one.columns !== other.columns) return false;
  const close = one.spacing.every((value, i) =>
    Math.abs(value - other.spacing[i]!) <= SPACING_TOLERANCE * Math.abs(other.spacing[i]!));
  return close && tiltDeg(one, other) <= toleranceDeg;
}

/** The larger one of the angles between the rows and between the columns of both. */
export function tiltDeg(one: Plane, other: Plane): number {
  const apart = Math.max(
    norm(minus(one.rowDirection, other.rowDirection)), norm(minus(one.columnDirection, other.columnDirection)),
  );
  return degrees(2 * Math.asin(Math.min(1, apart / 2)));
}

/** From the first voxel to the centre of the slice. */
export const halfExtent = (plane: Plane): Vector => plus(
  scaled(plane.columnDirection, ((plane.rows - 1) / 2) * plane.spacing[0]),
  scaled(plane.rowDirection, ((plane.columns - 1) / 2) * plane.spacing[1]),
);

/** True when both show the same slice of the patient, pixel by pixel. */
export const samePlace = (one: Plane, other: Plane): boolean =>
  sameGrid(one, other) && norm(minus(one.origin, other.origin)) < SAME_POSITION_MM;

/** Exactly orthogonal unit vectors from nearly orthogonal ones; null when they are not. */
export function unitAxes(row: Vector, column: Vector): [Vector, Vector] | null {
  const errors = [norm(row) - 1, norm(column) - 1, dot(row, column)];
  if (!errors.every((error) => Math.abs(error) <= MAX_AXIS_ERROR)) return null;
  const first = unit(row);
  return [first, unit(minus(column, scaled(first, dot(column, first))))];
}

export const plausibleSpacing = (spacing: readonly number[]): boolean =>
  spacing.every((value) => value >= 0.1 && value <= 10);

const stepsOf = (positions: readonly number[]): number[] =>
  positions.slice(1).map((at, i) => at - positions[i]!);

/** The usual step of increasing positions: their lower median. */
export function usualStep(positions: readonly number[]): number {
  const steps = stepsOf(positions).sort((a, b) => a - b);
  return steps[Math.floor((steps.length - 1) / 2)]!;
}

/** Warnings about uneven steps of increasing slice positions. */
export function stepWarnings(positions: readonly number[], counted: string): string[] {
  if (positions.length < 3) return [];
  const usual = usualStep(positions);
  return stepsOf(positions).flatMap((step, i) => {
    const one = `${i + 1} and ${i + 2} (${counted})`;
    if (step >= MISSING_SLICE_STEP * usual) {
      const missing = Math.max(1, rint(step / usual) - 1);
      const what = missing === 1 ? "a slice seems" : `${missing} slices seem`;
      return [`${capital(what)} to be missing between slices ${one}: the step is ${fixed(step, 1)} mm where ` +
        `${fixed(usual, 1)} mm is usual; volumes use the real positions.`];
    }
    if (step * MISSING_SLICE_STEP > usual) return [];
    return [`Slices ${one} are only ${fixed(step, 1)} mm apart where ${fixed(usual, 1)} mm is usual; ` +
      "volumes use the real positions."];
  });
}

/** A warning where wide gaps between slices count as if they had been imaged, or slices would lie in each other. */
export function gapWarnings(positions: readonly number[], thicknessMm: number | null): string[] {
  if (positions.length < 2) return [];
  const usual = usualStep(positions);
  if (thicknessMm !== null && thicknessMm > OVERLAPPING * usual)
    return [`The slices are ${fixed(thicknessMm, 0)} mm thick and only ${fixed(usual, 1)} mm apart: check the unit of ` +
      "their positions, which volumes follow."];
  const thin = thicknessMm !== null && usual > WIDE_STEP * thicknessMm;
  if (!thin && usual <= WIDE_STEP_MM) return [];
  const thick = thin ? ` and ${fixed(thicknessMm, 0)} mm thick` : "";
  return [`The slices are ${fixed(usual, 0)} mm apart${thick}: volumes count what lies between them, which was not ` +
    "imaged, as the slices beside it."];
}

export const medianStep = (positions: readonly number[]): number => {
  const steps = stepsOf(positions);
  const usual = usualStep(positions);
  return median(steps.filter((step) => step < MISSING_SLICE_STEP * usual));
};

/** Warnings about slices that do not lie on the straight line of the others. */
export function besideWarnings(origins: readonly Vector[], row: Vector, column: Vector, counted: string): string[] {
  if (origins.length < 3) return [];
  const normal = cross(row, column);
  const along = origins.map((origin) => dot(origin, normal));
  const [first, second] = [row, column].map((axis) => offLine(along, origins.map((origin) => dot(origin, axis))));
  const beside = first!.map((value, i) => Math.hypot(value, second![i]!));
  const far = beside.flatMap((value, i) => (value > STRAIGHT_MM ? [String(i + 1)] : []));
  if (!far.length) return [];
  const which = far.length === 1 ? `Slice ${far[0]} lies` : `Slices ${far.slice(0, -1).join(", ")} and ${far.at(-1)} lie`;
  return [`${which} up to ${fixed(Math.max(...beside), 0)} mm in plane beside the straight line of the others ` +
    `(${counted}): the heart jumps there from image to image; check labels and walls in the pictures.`];
}

/** Distance from the line that most slices follow (the median of all slopes). */
function offLine(along: readonly number[], across: readonly number[]): number[] {
  const slopes: number[] = [];
  for (let i = 0; i < along.length; i++)
    for (let k = i + 1; k < along.length; k++) slopes.push((across[k]! - across[i]!) / (along[k]! - along[i]!));
  const slope = median(slopes);
  const rest = across.map((value, i) => value - slope * along[i]!);
  const middle = median(rest);
  return rest.map((value) => Math.abs(value - middle));
}

/** Warnings about what a NIfTI file of labels could not hold of a stack: the page writes none, but
 * its result is to say the same as that of the command line. */
export function gridWarnings(stack: Stack): string[] {
  const axes = [stack.columnDirection, stack.rowDirection, cross(stack.rowDirection, stack.columnDirection)];
  const [down, right, along] = axes.map((axis) => stack.origins.map((origin) => dot(origin, axis))) as [number[], number[], number[]];
  const [places, firstMm, stepMm] = evenSteps(along, stack.sliceThicknessMm);
  const middle = [median(down), median(right)] as const;
  const far = down.map((value, i) => Math.hypot(value - middle[0], right[i]! - middle[1]));
  const nearest = far.indexOf(Math.min(...far));
  let off = 0, leftMm = 0;
  down.forEach((value, i) => {
    let moved = false;
    const left = [value - down[nearest]!, right[i]! - right[nearest]!].map((mm, k) => {
      const most = Math.floor(stack.pixels.shape[k + 1]! / MOST_MOVED);
      const pixels = Math.min(Math.max(rint(mm / stack.spacing[k]!), -most), most);
      moved ||= pixels !== 0;
      return mm - pixels * stack.spacing[k]!;
    });
    off += Number(moved);
    leftMm = Math.max(leftMm, Math.hypot(...left, along[i]! - (firstMm + places[i]! * stepMm)));
  });
  const empty = places.at(-1)! + 1 - places.length;
  if (!empty && !off && leftMm < SAME_POSITION_MM) return [];
  const done = [
    ...(empty ? [`${empty > 1 ? `${empty} empty slices fill gaps` : "an empty slice fills a gap"} (it may hold less volume than result.json says)`] : []),
    ...(off ? [`${off > 1 ? `${off} slices are` : "a slice is"} moved in plane`] : []),
    `its labels lie up to ${fixed(leftMm, 1)} mm from their place`,
  ];
  return [`NIfTI knows straight and even stacks only: ${done.join(", ")}. The ` +
    "DICOM outputs keep the place of every slice."];
}

/** Number of each slice on an even grid, the position of number 0, and the step. */
function evenSteps(along: readonly number[], thicknessMm: number | null): [number[], number, number] {
  if (along.length === 1) return [[0], along[0]!, thicknessMm ?? 1];
  const usual = usualStep(along);
  const places = [0];
  for (const step of stepsOf(along))
    places.push(places.at(-1)! + Math.min(Math.max(rint(step / usual), 1), MOST_MISSING + 1));
  const n = along.length;
  const x = places.reduce((a, b) => a + b) / n, y = along.reduce((a, b) => a + b) / n;
  let xy = 0, xx = 0;
  places.forEach((place, i) => { xy += (place - x) * (along[i]! - y); xx += (place - x) ** 2; });
  const stepMm = xy / xx;
  return [places, y - stepMm * x, stepMm];
}
