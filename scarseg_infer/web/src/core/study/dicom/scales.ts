/** Scales of slices against each other: scarseg_infer/study/dicom/scales.py, of which the page looks at RescaleSlope and
 * RescaleIntercept alone. */

import { percentile } from "../../numbers";
import type { Header } from "./parse";
import { photometricOf } from "./samples";

const SAME_SCALE = 0.01;
const LESS_ALIKE = 1.5;
const UNLIKE = "signals may not compare between slices";

/** Warnings about slopes and intercepts that differ between slices, or invert them. `data`: slices of `size` pixels. */
export function scaleWarnings(headers: readonly Header[], data: Float32Array, size: number, counted: string): string[] {
  const ends = headers.map((_, s) => {
    const slice = data.subarray(s * size, (s + 1) * size);
    return [percentile(slice, 2), percentile(slice, 98)] as Ends;
  });
  const found = slopes(headers, ends);
  const inverted = headers.some((header) =>
    (header.number("RescaleSlope") || 1) < 0 && photometricOf(header) !== "MONOCHROME1");
  return [
    ...(found.length ? found : someSlopes(headers, ends, counted)),
    ...(inverted ? ["RescaleSlope is negative, so that what is stored as bright is read as dark: check in the pictures that " +
      "scar is bright."] : []),
  ];
}

/** Low and high end of the signals of a slice. */
type Ends = [number, number];

/** A scale on some slices only, or slopes after which slices are less alike than before. */
function slopes(headers: readonly Header[], ends: readonly Ends[]): string[] {
  const known = headers.flatMap((header) => header.number("RescaleSlope") ?? []);
  if (known.length && known.length < headers.length) {
    if (known.every((slope) => slope === 1)) return [];
    return [`Only ${known.length} of ${headers.length} slices have a RescaleSlope: the others are read as they are stored, ` +
      `and ${UNLIKE}.`];
  }
  const sizes = known.map(Math.abs);
  if (!sizes.length || Math.min(...sizes) <= 0 || Math.max(...sizes) <= (1 + SAME_SCALE) * Math.min(...sizes)) return [];
  const ranges = ends.map(([low, high]) => high - low);
  const spread = (values: readonly number[]): number => Math.max(...values) / Math.min(...values);
  if (ranges.some((range) => range <= 0) || spread(ranges) <= LESS_ALIKE * spread(ranges.map((range, i) => range / sizes[i]!)))
    return [];
  return ["The slices have unlike values of RescaleSlope and are less alike with them than without: " +
    `${UNLIKE}. Check the export.`];
}

/** The few slices whose slope or intercept is not that of the others and does not bring them nearer to those beside them. */
function someSlopes(headers: readonly Header[], ends: readonly Ends[], counted: string): string[] {
  const maps = headers.map((header) =>
    [header.number("RescaleSlope") || 1, header.number("RescaleIntercept") || 0] as const);
  const counts = new Map<string, number>();
  for (const map of maps) counts.set(map.join(" "), (counts.get(map.join(" ")) ?? 0) + 1);
  const most = Math.max(...counts.values());
  if (most === maps.length || 2 * most <= maps.length) return [];
  const isUsual = maps.map((map) => counts.get(map.join(" ")) === most);
  const [slope, intercept] = maps[isUsual.indexOf(true)]!;
  const odd = maps.flatMap((own, i) => {
    if (isUsual[i]) return [];
    const beside = [isUsual.lastIndexOf(true, i), isUsual.indexOf(true, i)].filter((at) => at >= 0).map((at) => ends[at]!);
    const middle = [0, 1].map((k) => beside.reduce((sum, one) => sum + one[k]!, 0) / beside.length);
    const sign = photometricOf(headers[i]!) === "MONOCHROME1" ? -1 : 1;
    const asOthers = ends[i]!.map((value) => sign * (((sign * value - own[1]) / own[0]) * slope + intercept));
    const apart = (of: readonly number[]): number =>
      [...of].sort((a, b) => a - b).reduce((sum, value, k) => sum + Math.abs(value - middle[k]!), 0);
    return apart(ends[i]!) >= apart(asOthers) ? [String(i + 1)] : [];
  });
  if (!odd.length) return [];
  const named = odd.length === 1 ? `Slice ${odd[0]}` : `Slices ${odd.slice(0, -1).join(", ")} and ${odd.at(-1)}`;
  return [`${named} (${counted}) ${odd.length === 1 ? "has" : "have"} another RescaleSlope or RescaleIntercept than most and ` +
    `${odd.length === 1 ? "is" : "are"} no more like the others with it: ${UNLIKE}. Check the export.`];
}
