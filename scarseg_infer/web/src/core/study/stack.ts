/** Stack that every study reader yields: scarseg_infer/study/stack.py. */

import type { Pixels } from "../contract";
import { cross, dot, type Vector } from "../geometry/vectors";
import type { Moment } from "../moment";

export type ImageKind = "PSIR" | "magnitude" | "phase" | "unknown type";

/** One LGE short-axis stack on its source grid, slices ordered along row × column direction. */
export interface Stack {
  pixels: Pixels;
  /** Between rows, then between columns, mm. */
  spacing: [number, number];
  origins: Vector[];
  rowDirection: Vector;
  columnDirection: Vector;
  sliceThicknessMm: number | null;
  source: "dicom" | "nifti";
  orientationKnown: boolean;
  acquired: Moment | null;
  dateOnly: boolean;
  imageKind: ImageKind;
  studyUid: string | null;
  seriesUids: string[];
  /** For the comparison with that of the ECG alone: never shown. */
  patientId: string | null;
  warnings: string[];
}

export const stackNormal = (stack: Stack): Vector => cross(stack.rowDirection, stack.columnDirection);

/** Position of each slice along the normal, strictly increasing. */
export const slicePositions = (stack: Stack): number[] => {
  const normal = stackNormal(stack);
  return stack.origins.map((origin) => dot(origin, normal));
};
