/** Slices that lean a little against the others of their stack: scarseg_infer/study/geometry/slight_tilt.py. */

import { median } from "../numbers";
import { fixed } from "../words";
import { PARALLEL_TOLERANCE_DEG, halfExtent, tiltDeg, type Plane } from "./plane";
import { minus, plus, radians, type Vector } from "./vectors";

export const MOST_TILT_DEG = 2;
const HEART_MM = 50;

/** The plane whose axes are the usual ones: nearest to the median of all. */
export function middlePlane(planes: readonly Plane[]): Plane {
  const axes = planes.map((plane) => [...plane.rowDirection, ...plane.columnDirection]);
  const middle = axes[0]!.map((_, k) => median(axes.map((axis) => axis[k]!)));
  const apart = axes.map((axis) => Math.round(1e9 * Math.hypot(...axis.map((value, k) => value - middle[k]!))));
  const least = Math.min(...apart);
  let best = -1;
  apart.forEach((value, i) => {
    if (value === least && (best < 0 || before(axes[i]!, axes[best]!))) best = i;
  });
  return planes[best]!;
}

const before = (one: readonly number[], two: readonly number[]): boolean => {
  const k = one.findIndex((value, i) => value !== two[i]);
  return k >= 0 && one[k]! < two[k]!;
};

/** Centres of the first voxels once every slice is turned about its own centre until it is parallel. */
export function alignedOrigins(planes: readonly Plane[], usual: Plane): Vector[] {
  const middle = halfExtent(usual);
  return planes.map((plane) => plus(plane.origin, minus(halfExtent(plane), middle)));
}

/** A warning that names slices that lean against the others. */
export function tiltWarnings(planes: readonly Plane[], usual: Plane, counted: string): string[] {
  const tilts = planes.map((plane) => tiltDeg(plane, usual));
  const numbers = tilts.flatMap((tilt, i) => (tilt > PARALLEL_TOLERANCE_DEG ? [String(i + 1)] : []));
  if (!numbers.length) return [];
  const most = Math.max(...tilts);
  const which = numbers.length === 1 ? `Slice ${numbers[0]} is`
    : `Slices ${numbers.slice(0, -1).join(", ")} and ${numbers.at(-1)} are`;
  return [`${which} tilted by up to ${fixed(most, 1)}° against the others (${counted}) and read as parallel: ` +
    `${HEART_MM} mm from the centre of the image that is up to ${fixed(HEART_MM * Math.sin(radians(most)), 1)} mm off. ` +
    "The SEG keeps the place of every slice."];
}
