/** Slices whose signal does not fit the others of their stack: scarseg_infer/study/slice_signal.py. */

import { countedFrom } from "../geometry/display";
import { cross } from "../geometry/vectors";
import { usualStep } from "../geometry/plane";
import { extremes, percentile } from "../numbers";
import { slicePositions, type Stack } from "./stack";

const MOST_RATIO = 3;
const MOST_SHIFT = 0.4;
const SMOOTHER = 0.25;
const MOST_STEP = 2.4;
const STEP = 2;

/** Warnings that name such slices, and one where slices were not taken but put in between. */
export function signalWarnings(stack: Stack): string[] {
  return [...unlike(stack), ...repeated(stack), ...putIn(stack)];
}

function unlike(stack: Stack): string[] {
  const { data, shape: [slices, rows, columns] } = stack.pixels;
  const all = Array.from({ length: slices }, (_, s) => data.subarray(s * rows * columns, (s + 1) * rows * columns));
  const facts = all.map((slice) => {
    const some: number[] = [];
    for (let r = 0; r < rows; r += STEP) for (let c = 0; c < columns; c += STEP) some.push(slice[r * columns + c]!);
    const [least, most] = extremes(slice);
    return { blank: least === most, range: percentile(some, 98) - percentile(some, 2), middle: percentile(some, 50) };
  });
  const shown = facts.filter((fact) => !fact.blank);
  if (shown.length < 2) return [];
  const usual = ofSome(shown.map((fact) => fact.range)), middle = ofSome(shown.map((fact) => fact.middle));
  const isOther = (fact: (typeof facts)[number]): boolean => {
    const ratio = fact.range / usual;
    return !fact.blank && usual > 0 &&
      (ratio > MOST_RATIO || ratio < 1 / MOST_RATIO || Math.abs(fact.middle - middle) / usual > MOST_SHIFT);
  };
  const named = (is: (fact: (typeof facts)[number]) => boolean): string => namedSlices(facts.map(is), stack);
  return [
    ...(facts.some((fact) => fact.blank) ? [`${named((fact) => fact.blank)} of one value throughout: nothing can be ` +
      "found there, and volumes lack what lies there."] : []),
    ...(shown.length > 2 && facts.some(isOther) ? [`${named(isOther)} of another scale or brightness than the others: ` +
      "scar may be missed or invented there; check RescaleSlope, PhotometricInterpretation and the export."] : []),
  ];
}

function namedSlices(which: readonly boolean[], stack: Stack): string {
  const counted = stack.orientationKnown ? countedFrom(cross(stack.rowDirection, stack.columnDirection)) : "in the file's order";
  const numbers = which.flatMap((is, i) => (is ? [String(i + 1)] : []));
  return numbers.length === 1 ? `Slice ${numbers[0]} (${counted}) is`
    : `Slices ${numbers.slice(0, -1).join(", ")} and ${numbers.at(-1)} (${counted}) are`;
}

/** A warning about slices whose pixels are all those of another one. */
function repeated(stack: Stack): string[] {
  const { data, shape: [slices, rows, columns] } = stack.pixels;
  const all = Array.from({ length: slices }, (_, s) => data.subarray(s * rows * columns, (s + 1) * rows * columns));
  const shown = all.map((slice) => { const [least, most] = extremes(slice); return least < most; });
  const again = all.map((slice, s) => shown[s]! && all.slice(0, s).some((other) => other.every((value, i) => value === slice[i])));
  return again.some(Boolean) ? [`${namedSlices(again, stack)} the picture of another slice once more: volumes count what ` +
    "it shows twice. Pass the slices as the scanner made them."] : [];
}

/** A warning where slices follow from those beside them, as in a volume that was resampled. */
function putIn(stack: Stack): string[] {
  const { data, shape: [slices, rows, columns] } = stack.pixels;
  const top = Math.floor(rows / 4), left = Math.floor(columns / 4);
  const ends = [slices, Math.min(rows, 3 * top + 3), Math.min(columns, 3 * left + 3)] as const;
  const starts = [0, top, left] as const, strides = [rows * columns, columns, 1] as const;
  if (ends.some((end, k) => end - starts[k]! < 3)) return [];
  const bends = [0, 1, 2].map((axis) => {
    const last = ends.map((end, k) => end - (k === axis ? 2 : 0)), stride = strides[axis]!;
    let total = 0, count = 0;
    for (let s = starts[0]; s < last[0]!; s++)
      for (let r = starts[1]; r < last[1]!; r++)
        for (let c = starts[2]; c < last[2]!; c++, count++) {
          const at = s * strides[0] + r * columns + c;
          total += Math.abs(data[at]! - 2 * data[at + stride]! + data[at + 2 * stride]!);
        }
    return total / count;
  }) as [number, number, number];
  const step = usualStep(slicePositions(stack)) / Math.min(...stack.spacing);
  const least = SMOOTHER * Math.min(Math.max(step, 1), MOST_STEP);
  if (bends[0] === 0 || bends[0] >= least * Math.min(bends[1], bends[2])) return [];
  return ["The slices change so little from one to the next that a program seems to have put some in between (a " +
    "resampled volume): scar and volumes may be too large. Pass the slices as the scanner made them."];
}

/** Median that is one of the values: half of a stack on another scale would move the mean of two. */
const ofSome = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
