/** Slices whose signal does not fit the others of their stack: scarseg_infer/study/slice_signal.py. */

import { countedFrom } from "../geometry/display";
import { cross } from "../geometry/vectors";
import { extremes, percentile } from "../numbers";
import type { Stack } from "./stack";

const MOST_RATIO = 3;
const MOST_SHIFT = 0.4;
const STEP = 2;

/** Warnings that name such slices. */
export function signalWarnings(stack: Stack): string[] {
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
  const counted = stack.orientationKnown ? countedFrom(cross(stack.rowDirection, stack.columnDirection)) : "in the file's order";
  const named = (is: (fact: (typeof facts)[number]) => boolean): string => {
    const numbers = facts.flatMap((fact, i) => (is(fact) ? [String(i + 1)] : []));
    return numbers.length === 1 ? `Slice ${numbers[0]} (${counted}) is`
      : `Slices ${numbers.slice(0, -1).join(", ")} and ${numbers.at(-1)} (${counted}) are`;
  };
  return [
    ...(facts.some((fact) => fact.blank) ? [`${named((fact) => fact.blank)} of one value throughout: nothing can be ` +
      "found there, and volumes lack what lies there."] : []),
    ...(shown.length > 2 && facts.some(isOther) ? [`${named(isOther)} of another scale or brightness than the others: ` +
      "scar may be missed or invented there; check RescaleSlope, PhotometricInterpretation and the export."] : []),
  ];
}

/** Median that is one of the values: half of a stack on another scale would move the mean of two. */
const ofSome = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
