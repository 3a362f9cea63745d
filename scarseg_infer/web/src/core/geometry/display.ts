/** Turning a stack to the standard short-axis display and back, and how far a picture still has to be
 * turned: scarseg_infer/study/geometry/orientation.py and upright.py. */

import { RV_CAVITY, isVentricle, type Labels, type Shape, type Volume } from "../contract";
import { modulo } from "../numbers";
import { stackNormal, type Stack } from "../study/stack";
import { fixed } from "../words";
import { cross, degrees, dot, minus, scaled, unit, type Vector } from "./vectors";

export const BASE_TO_APEX = unit([0.65, -0.6, -0.45]);
const SUPERIOR: Vector = [0, 0, 1];
const ANTERIOR_WALL = unit(minus(SUPERIOR, scaled(BASE_TO_APEX, dot(SUPERIOR, BASE_TO_APEX))));
const LATERAL_WALL = scaled(cross(BASE_TO_APEX, ANTERIOR_WALL), -1);
export const SHORT_AXIS_TRUST_DEG = 45;
export const SHORT_AXIS_LIMIT_DEG = 60;
const ENOUGH_RV_MM2 = 400;
const LIKELY_WITHIN_DEG = 75;

export interface Display {
  reverseSlices: boolean;
  transpose: boolean;
  flipRows: boolean;
  flipColumns: boolean;
  turnDeg: number;
}

const AS_STORED: Display = { reverseSlices: false, transpose: false, flipRows: false, flipColumns: false, turnDeg: 0 };

/** Angle 0–90° between slices with this unit normal and a usual short-axis view. */
export const shortAxisTilt = (normal: Vector): number =>
  degrees(Math.acos(Math.min(1, Math.abs(dot(normal, BASE_TO_APEX)))));

export const countedFrom = (normal: Vector): string =>
  `counted from the ${dot(normal, BASE_TO_APEX) > 0 ? "base" : "apex"}`;

/** Directions of rows downwards and of columns to the right in the display. */
function screenAxes(stack: Stack, display: Display): [Vector, Vector] {
  let down = stack.columnDirection, right = stack.rowDirection;
  if (display.transpose) [down, right] = [right, down];
  return [display.flipRows ? scaled(down, -1) : down, display.flipColumns ? scaled(right, -1) : right];
}

/** Transform that brings a stack to the standard display, from its geometry alone. */
export function displayOf(stack: Stack): Display {
  if (!stack.orientationKnown) return AS_STORED;
  const reverseSlices = dot(stackNormal(stack), BASE_TO_APEX) < 0;
  let best: Display | null = null;
  let most = -Infinity;
  for (let code = 0; code < 8; code++) {
    const display = {
      reverseSlices, transpose: (code & 4) > 0, flipRows: (code & 2) > 0, flipColumns: (code & 1) > 0, turnDeg: 0,
    };
    const [down, right] = screenAxes(stack, display);
    if (dot(cross(right, down), BASE_TO_APEX) >= 0) continue;
    const match = dot(right, LATERAL_WALL) - dot(down, ANTERIOR_WALL);
    if (match > most) { most = match; best = display; }
  }
  return best ?? AS_STORED;
}

export const displaySpacing = (display: Display, [row, column]: readonly [number, number]): [number, number] =>
  display.transpose ? [column, row] : [row, column];

/** Index in the source of each voxel of the display, and the display's shape. */
function order(display: Display, [slices, rows, columns]: Shape): [Int32Array, Shape] {
  const shape: Shape = display.transpose ? [slices, columns, rows] : [slices, rows, columns];
  const found = new Int32Array(slices * rows * columns);
  let at = 0;
  for (let s = 0; s < slices; s++) {
    const slice = (display.reverseSlices ? slices - 1 - s : s) * rows * columns;
    for (let y = 0; y < shape[1]; y++) {
      const down = display.flipRows ? shape[1] - 1 - y : y;
      for (let x = 0; x < shape[2]; x++) {
        const across = display.flipColumns ? shape[2] - 1 - x : x;
        found[at++] = slice + (display.transpose ? across * columns + down : down * columns + across);
      }
    }
  }
  return [found, shape];
}

type Data = Uint8Array | Float32Array;
const empty = <T extends Data>(like: T): T => new (like.constructor as new (n: number) => T)(like.length);

/** Source → display. */
export function toDisplay<T extends Data>(display: Display, volume: Volume<T>): Volume<T> {
  const [from, shape] = order(display, volume.shape);
  const data = empty(volume.data);
  from.forEach((source, i) => { data[i] = volume.data[source]!; });
  return { data, shape };
}

/** Display → source grid of `shape`. */
export function toSource<T extends Data>(display: Display, volume: Volume<T>, shape: Shape): Volume<T> {
  const [from] = order(display, shape);
  const data = empty(volume.data);
  from.forEach((source, i) => { data[source] = volume.data[i]!; });
  return { data, shape };
}

const wrapped = (angle: number): number => modulo(angle + 180, 360) - 180;

/** Degrees clockwise for pictures of `labels` in display order, and warnings. */
export function uprightTurn(stack: Stack, display: Display, labels: Labels): [number, string[]] {
  const found = turnByRv(labels, displaySpacing(display, stack.spacing));
  const expected = stack.orientationKnown ? turnByAxes(stack, display) : null;
  if (found === null || expected === null) return [found || expected || 0, []];
  const apart = Math.abs(wrapped(found - expected));
  if (apart <= LIKELY_WITHIN_DEG) return [found, []];
  return [expected, [
    `The right ventricle was found ${fixed(apart, 0)}° from where the patient axes put it, and the ` +
      "AHA segments follow from it: check that they lie on the right walls.",
  ]];
}

function turnByAxes(stack: Stack, display: Display): number {
  const [down, right] = screenAxes(stack, display);
  const sine = -dot(down, LATERAL_WALL) - dot(right, ANTERIOR_WALL);
  const cosine = dot(right, LATERAL_WALL) - dot(down, ANTERIOR_WALL);
  return degrees(Math.atan2(sine, cosine));
}

function turnByRv({ data, shape }: Labels, [row, column]: readonly [number, number]): number | null {
  const [slices, rows, columns] = shape;
  let x = 0, y = 0, area = 0;
  for (let s = 0; s < slices; s++) {
    const plane = data.subarray(s * rows * columns, (s + 1) * rows * columns);
    let n = 0, down = 0, across = 0;
    const right: number[] = [];
    plane.forEach((label, i) => {
      if (label === RV_CAVITY) right.push(i);
      if (!isVentricle(label)) return;
      n++;
      down += Math.floor(i / columns);
      across += i % columns;
    });
    if (!n || !right.length) continue;
    for (const i of right) {
      const dy = (Math.floor(i / columns) - down / n) * row, dx = ((i % columns) - across / n) * column;
      const distance = Math.max(Math.hypot(dx, dy), 1);
      x += dx / distance;
      y += dy / distance;
    }
    area += right.length * row * column;
  }
  if (area < ENOUGH_RV_MM2 || (!x && !y)) return null;
  return wrapped(180 - degrees(Math.atan2(y, x)));
}
