/** Pixels and labels of a result, packed for the page's slice browser:
 * scarseg_infer/write/report/volumes.py. */

import { SCAR, SEGMENT_COUNT, isVentricle, type Labels, type Shape } from "../contract";
import { displaySpacing, toDisplay } from "../geometry/display";
import { extremes, percentile } from "../numbers";
import { sliceHeights } from "../quantify/quantities";
import type { Result } from "../result";
import { slicePositions } from "../study/stack";
import { cut, type Window } from "../window";
import { fixed, rint } from "../words";

const MAX_VOXELS = 700_000;
const MARGINS_MM = [45, 18] as const;
const MARGIN_MM = 18;
const MAX_CROPPED_VOXELS = 2_500_000;
const CODES = 65_535;

/** Volumes as the browser needs them, in JSON values. */
export function packedVolumes(result: Result): Record<string, unknown> {
  const { display, stack } = result;
  const labels = toDisplay(display, result.labels), imageOnly = toDisplay(display, result.imageOnlyLabels);
  const segments = toDisplay(display, result.segments), pixels = toDisplay(display, stack.pixels);
  const spacing = displaySpacing(display, stack.spacing);
  const ventricle: Labels = {
    shape: labels.shape,
    data: labels.data.map((label, i) => (isVentricle(label) ? label : imageOnly.data[i]!)),
  };
  const [window, every] = shown(ventricle, spacing);
  const heart = clipped(heartWindow(ventricle, spacing, MARGIN_MM), labels.shape).map(([first, last], axis) => [
    Math.max(first, window[axis]![0]) - window[axis]![0], Math.min(last, window[axis]![1]) - window[axis]![0],
  ]) as Window;
  const view = cut(pixels, window, every);
  const { codes, offset, step } = quantised(view.data);
  const seen = heart.map(([first, last]) => [Math.floor(first / every), Math.max(Math.floor(last / every), 1)]) as Window;
  const greys = cut(view, seen, 1).data;
  const both = labels.data.map((label, i) => label | (imageOnly.data[i]! << 3));
  const heights = sliceHeights(slicePositions(stack), stack.sliceThicknessMm);
  if (display.reverseSlices) heights.reverse();
  return {
    shape: view.shape,
    spacing_mm: spacing.map((mm) => mm * every),
    thinned: every,
    turn_deg: display.turnDeg,
    heart: heart.map((ends) => ends.map((end) => end / every)),
    pixels: base64(new Uint8Array(codes.buffer)),
    offset, step,
    grey: [percentile(greys, 1), percentile(greys, 99)],
    labels: runLengths(cut({ data: both, shape: labels.shape }, window, every).data),
    segments: runLengths(cut(segments, window, every).data),
    slices: slicesOf(result, labels, imageOnly, heights),
    segment_slices: segmentSlices(labels, imageOnly, segments, heights),
    start: startOf(labels, imageOnly, ventricle),
  };
}

/** Codes 0–65535 of pixels of any scale, and offset and step that lead back. */
function quantised(values: Float32Array): { codes: Uint16Array; offset: number; step: number } {
  const coded = (code: (value: number) => number): Uint16Array => new Uint16Array(values.length).map((_, i) => code(values[i]!));
  let [low, high] = extremes(values);
  if (high - low <= CODES && values.every(Number.isInteger))
    return { codes: coded((value) => value - low), offset: low, step: 1 };
  const every = values.length > 100_000 ? 7 : 1;
  const sample = values.filter((_, i) => i % every === 0);
  const usual = [percentile(sample, 0.5), percentile(sample, 99.5)] as const;
  const reach = 4 * (usual[1] - usual[0]);
  if (reach > 0) {
    low = Math.max(low, usual[0] - reach);
    high = Math.min(high, usual[1] + reach);
  }
  const step = (high - low) / CODES || 1;
  return { codes: coded((value) => rint((Math.min(Math.max(value, low), high) - low) / step)), offset: low, step };
}

/** Base64 of (value, length 1–255) byte pairs. */
function runLengths(values: Uint8Array): string {
  const pairs: number[] = [];
  for (let at = 0; at < values.length; ) {
    let end = at + 1;
    while (end < values.length && end - at < 255 && values[end] === values[at]) end++;
    pairs.push(values[at]!, end - at);
    at = end;
  }
  return base64(Uint8Array.from(pairs));
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** Rows and columns to embed, and how many pixels to skip to for one that is kept. */
function shown(ventricle: Labels, spacing: readonly [number, number]): [Window, number] {
  const { shape } = ventricle;
  const windows: Window[] = [
    [[0, shape[1]], [0, shape[2]]],
    ...MARGINS_MM.map((margin) => clipped(heartWindow(ventricle, spacing, margin), shape)),
  ];
  const voxels = (window: Window): number => shape[0] * window.reduce((n, [first, last]) => n * (last - first), 1);
  const fits = windows.find((window) => voxels(window) <= MAX_VOXELS);
  if (fits) return [fits, 1];
  const last = windows.at(-1)!;
  return [last, Math.ceil(Math.sqrt(voxels(last) / MAX_CROPPED_VOXELS))];
}

const clipped = (window: Window, shape: Shape): Window =>
  window.map(([first, last], axis) => [Math.min(first, shape[axis + 1]!), Math.min(last, shape[axis + 1]!)]) as Window;

/** The ventricle with a margin, the same square for all slices; everything where there is none. */
function heartWindow({ data, shape }: Labels, spacing: readonly [number, number], marginMm: number): Window {
  const ends: Window = [[Infinity, -Infinity], [Infinity, -Infinity]];
  data.forEach((label, i) => {
    if (!isVentricle(label)) return;
    [Math.floor(i / shape[2]) % shape[1], i % shape[2]].forEach((at, axis) => {
      ends[axis]![0] = Math.min(ends[axis]![0], at);
      ends[axis]![1] = Math.max(ends[axis]![1], at);
    });
  });
  if (!Number.isFinite(ends[0][0])) return [[0, shape[1]], [0, shape[2]]];
  const half = Math.max(...ends.map(([first, last], axis) => (last - first) * spacing[axis]!)) / 2 + marginMm;
  return ends.map(([first, last], axis) => {
    const centre = (first + last) / 2;
    return [Math.max(0, Math.trunc(centre - half / spacing[axis]!)), Math.trunc(centre + half / spacing[axis]!) + 1];
  }) as Window;
}

const countIn = ({ data, shape }: Labels, slice: number, is: (label: number) => boolean): number => {
  const plane = shape[1] * shape[2];
  return data.subarray(slice * plane, (slice + 1) * plane).reduce((n, label) => n + Number(is(label)), 0);
};
const isScar = (label: number): boolean => label === SCAR;

/** Number in the stack's own order, place and scar of each slice. */
function slicesOf({ stack, display }: Result, labels: Labels, imageOnly: Labels, heights: readonly number[]): Record<string, number>[] {
  const count = labels.shape[0];
  const positions = slicePositions(stack);
  const shownAt = display.reverseSlices ? [...positions].reverse().map((at) => -at) : positions;
  return heights.map((height, i) => {
    const ml = (height * stack.spacing[0] * stack.spacing[1]) / 1000;
    return {
      number: display.reverseSlices ? count - i : i + 1,
      from_base_mm: Number(fixed(shownAt[i]! - shownAt[0]!, 2)),
      scar_ml: Number(fixed(countIn(labels, i, isScar) * ml, 4)),
      image_only_scar_ml: Number(fixed(countIn(imageOnly, i, isScar) * ml, 4)),
    };
  });
}

/** For each segment the slice in which it has most scar; without any, most that the image alone saw;
 * without that, most wall; null where it is not imaged. */
function segmentSlices(labels: Labels, imageOnly: Labels, segments: Labels, heights: readonly number[]): (number | null)[] {
  const plane = labels.shape[1] * labels.shape[2];
  const found = new Array<number | null>(SEGMENT_COUNT + 1).fill(null);
  const tests: ((i: number) => boolean)[] = [
    () => true, (i) => imageOnly.data[i] === SCAR, (i) => labels.data[i] === SCAR,
  ];
  for (const test of tests) {
    const volume = heights.map(() => new Float64Array(SEGMENT_COUNT + 1));
    segments.data.forEach((number, i) => {
      if (number && test(i)) volume[Math.floor(i / plane)]![number]! += heights[Math.floor(i / plane)]!;
    });
    for (let number = 1; number <= SEGMENT_COUNT; number++) {
      const most = Math.max(...volume.map((one) => one[number]!));
      if (most > 0) found[number] = volume.findIndex((one) => one[number] === most);
    }
  }
  return found.slice(1);
}

/** The slice to open with: most scar, else the middle of the ventricle, else of the stack. */
function startOf(labels: Labels, imageOnly: Labels, ventricle: Labels): number {
  const slices = Array.from({ length: labels.shape[0] }, (_, i) => i);
  for (const one of [labels, imageOnly]) {
    const areas = slices.map((slice) => countIn(one, slice, isScar));
    if (areas.some(Boolean)) return areas.indexOf(Math.max(...areas));
  }
  const seen = slices.filter((slice) => countIn(ventricle, slice, isVentricle) > 0);
  return seen.length ? seen[Math.floor(seen.length / 2)]! : Math.floor(slices.length / 2);
}

