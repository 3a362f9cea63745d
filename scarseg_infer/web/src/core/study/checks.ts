/** Signs that no image of a heart shows: size.py, rescale.py and label_map.py of scarseg_infer/study. */

import { MAX_STACK_PIXELS, type Pixels } from "../contract";
import { StudyError } from "../errors";
import { fixed } from "../words";

const MAX_SLICES = 200;
const MAX_MAGNITUDE = 1e9;
const MIN_CONTRAST = 1e-6;
const LEVELS = 2 ** 16;

/** Throws StudyError where a stack has too many slices or pixels for LGE. */
export function checkSize(slices: number, rows: number, columns: number, toDo: string): void {
  if (slices > MAX_SLICES || slices * rows * columns > MAX_STACK_PIXELS)
    throw new StudyError(`the stack is too large for LGE (${slices} slices of ${rows} × ${columns})`, toDo);
}

const implausible = (): StudyError => new StudyError(
  "the pixel values after rescale are not those of an MR image (slope or intercept is wrong)",
  "Export the study again from its source, or check the slope and intercept in its header",
);

/** `stored` × slope + intercept; null where a value is not finite. Throws StudyError where values are
 * implausible, or stored ones that differ fall together. */
export function rescaled(
  stored: ArrayLike<number>, slope: number, intercept: number, integers: boolean,
): Float32Array | null {
  const found = new Float32Array(stored.length);
  let low = Infinity, high = -Infinity, storedLow = Infinity, storedHigh = -Infinity, exact = true;
  for (let i = 0; i < stored.length; i++) {
    const raw = stored[i]!;
    const value = raw * slope + intercept;
    if (!Number.isFinite(value)) return null;
    if (value < low) low = value;
    if (value > high) high = value;
    if (raw < storedLow) storedLow = raw;
    if (raw > storedHigh) storedHigh = raw;
    found[i] = value;
    exact &&= found[i] === value;
  }
  const contrast = high - low;
  const largest = Math.max(Math.abs(low), Math.abs(high));
  const flattened = contrast === 0 && storedLow !== storedHigh;
  if (largest > MAX_MAGNITUDE || flattened || (contrast > 0 && contrast < MIN_CONTRAST)) throw implausible();
  if (!(slope === 1 && intercept === 0 && !integers && exact) && contrast) {
    const finest = Math.max(integers ? Math.abs(slope) : 0, contrast / LEVELS);
    if (spacing32(largest) > finest) throw implausible();
  }
  return found;
}

/** Distance to the next larger float32. */
function spacing32(value: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  const here = bits.getFloat32(0);
  bits.setUint32(0, bits.getUint32(0) + 1);
  return bits.getFloat32(0) - here;
}

const MOST_PATCHES = 128;
const PATCHED = 0.8;
const MOST_LABELS = 16;
const SAMPLE = 4096;
const MOST_OF_ONE_VALUE = 0.8;

/** Throws StudyError where a stack has so few different values that it is no image but labels. */
export function checkNoLabelMap(pixels: Pixels): void {
  const { data } = pixels;
  const step = Math.max(1, Math.floor(data.length / SAMPLE));
  const sample = new Set<number>();
  for (let i = 0; i < data.length; i += step) if (sample.add(data[i]!).size > MOST_PATCHES) return;
  const counts = new Map<number, number>();
  for (const value of data) counts.set(value, (counts.get(value) ?? 0) + 1);
  const values = [...counts.keys()];
  const small = data.length < SAMPLE &&
    !values.every((value) => Number.isInteger(value) && value >= 0 && value <= MOST_LABELS);
  const few = values.length > 1 && values.length <= MOST_LABELS && MOST_LABELS < data.length && !small;
  if (few || (values.length > MOST_LABELS && isPatched(pixels, counts)))
    throw new StudyError(
      `the study has ${values.length} different pixel values in all: this looks like a map of labels, ` +
        "not like an LGE image",
      "Pass the image itself; the result of a segmentation is no input",
    );
}

/** A warning where nearly all of a stack is one value, and some is not. */
export function mapWarnings({ data }: Pixels): string[] {
  const step = Math.max(1, Math.floor(data.length / SAMPLE));
  const counts = new Map<number, number>();
  let looked = 0;
  for (let i = 0; i < data.length; i += step, looked++) counts.set(data[i]!, (counts.get(data[i]!) ?? 0) + 1);
  const share = Math.max(...counts.values()) / looked;
  return share >= MOST_OF_ONE_VALUE && share < 1 ? [`${fixed(100 * share, 0)} % of the pixels have one and the same value: this ` +
    "may be a map of probabilities or an image cut out along a mask, where what is found means nothing. Pass the image as " +
    "the scanner made it."] : [];
}

/** True where a stack shows areas of one number each. */
function isPatched({ data, shape }: Pixels, counts: Map<number, number>): boolean {
  const values = [...counts.keys()];
  if (values.length > MOST_PATCHES || !values.every(Number.isInteger)) return false;
  const most = Math.max(...counts.values());
  const commonest = Math.min(...values.filter((value) => counts.get(value) === most));
  let shown = 0, alike = 0;
  for (let i = 0; i + 1 < data.length; i++) {
    if (i % shape[2] === shape[2] - 1) continue;
    if (data[i] === commonest && data[i + 1] === commonest) continue;
    shown++;
    if (data[i] === data[i + 1]) alike++;
  }
  return shown > 0 && alike >= PATCHED * shown;
}
