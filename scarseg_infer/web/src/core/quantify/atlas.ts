/** The AHA 17-segment model: names, territories, and segments for a cleaned wall. */

import { isWall, type Labels } from "../contract";
import { neighbours } from "./components";

export const SEGMENT_NAMES = [
  "basal anterior", "basal anteroseptal", "basal inferoseptal", "basal inferior",
  "basal inferolateral", "basal anterolateral", "mid anterior", "mid anteroseptal",
  "mid inferoseptal", "mid inferior", "mid inferolateral", "mid anterolateral",
  "apical anterior", "apical septal", "apical inferior", "apical lateral", "apex",
] as const;

const TERRITORIES: [string, number[]][] = [
  ["LAD", [1, 2, 7, 8, 13, 14, 17]],
  ["RCA", [3, 4, 9, 10, 15]],
  ["LCx", [5, 6, 11, 12, 16]],
];

/** Usual coronary territory of a segment. */
export const territoryOf = (number: number): string =>
  TERRITORIES.find(([, numbers]) => numbers.includes(number))![0];

/** Segments for exactly the wall of `labels`: wall that has none takes that of its neighbours. */
export function segmentsOn(labels: Labels, segments: Labels): Labels {
  const { shape } = labels;
  const data = segments.data.map((number, i) => (isWall(labels.data[i]!) ? number : 0));
  let bare: number[] = [];
  labels.data.forEach((label, i) => { if (isWall(label) && !data[i]) bare.push(i); });
  while (bare.length) {
    const near = bare.map((i) => Math.max(...neighbours(i, shape).map((at) => (at < 0 ? 0 : data[at]!))));
    if (!near.some(Boolean)) break;
    bare.forEach((i, k) => { data[i] = near[k]!; });
    bare = bare.filter((i) => !data[i]);
  }
  return { data, shape };
}
