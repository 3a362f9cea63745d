/** Order of bytes and of pixels, told by the picture: scarseg_infer/study/pixel_order.py. */

import type { Pixels } from "../contract";
import { StudyError } from "../errors";
import { deviation } from "../numbers";

const ROUGHER = 1.25;
const ENOUGH_PIXELS = 1024;
const MISPLACED = 1.4;
const ASIDE = 8;

/** True where whole numbers in rows of `columns` make a picture only with their bytes turned round; of one byte, with
 * each two exchanged. */
export function inOtherByteOrder(values: Float64Array, bytes: number, signed: boolean, columns: number): boolean {
  if (values.length < ENOUGH_PIXELS || (bytes === 1 && columns % 2)) return false;
  const view = new DataView(new ArrayBuffer(4));
  const turned = (value: number): number => {
    if (bytes === 2) {
      view.setInt16(0, value);
      return signed ? view.getInt16(0, true) : view.getUint16(0, true);
    }
    view.setInt32(0, value);
    return signed ? view.getInt32(0, true) : view.getUint32(0, true);
  };
  const other = bytes === 1 ? values.map((_, i) => values[i % 2 ? i - 1 : i + 1]!) : values.map(turned);
  const [one, two] = [roughness(values, columns), roughness(other, columns)];
  return two > 0 && one > ROUGHER * two;
}

/** Throws StudyError where rows of another length make a better picture of a stack. */
export function checkRowLength({ data, shape: [slices, rows, columns] }: Pixels): void {
  const size = rows * columns, middle = Math.floor(slices / 2);
  const flat = data.subarray(middle * size, (middle + 1) * size);
  const jump = (length: number): number => {
    let jumps = 0;
    for (let i = length; i < size; i++) jumps += Math.abs(flat[i]! - flat[i - length]!);
    return jumps / (size - length);
  };
  let best = columns, least = Infinity, own = 0;
  for (let length = Math.max(ASIDE + 1, Math.floor((columns + 1) / 2)); length <= Math.min(2 * columns, Math.floor(size / 2)); length++) {
    if (size % length) continue;
    const jumps = jump(length);
    if (length === columns) own = jumps;
    if (jumps < least) [best, least] = [length, jumps];
  }
  const most = MISPLACED * least;
  // Where brightness only grows, each shorter length fits better than a longer one.
  if (size >= ENOUGH_PIXELS && rows > 1 && most > 0 && own > most && Math.min(jump(best - ASIDE), jump(best + ASIDE)) > most)
    throw new StudyError(
      `the pixels make no picture of ${rows} rows and ${columns} columns, but one whose rows have ${best} pixels`,
      "Export the study again from its source, or correct rows and columns in its header",
    );
}

/** Mean difference of neighbours in units of what there is in all. */
function roughness(values: Float64Array, columns: number): number {
  const spread = deviation(values);
  if (columns < 2 || !spread) return 0;
  let jumps = 0, count = 0;
  for (let i = 1; i < values.length; i++) {
    if (i % columns === 0) continue;
    jumps += Math.abs(values[i]! - values[i - 1]!);
    count++;
  }
  return jumps / count / spread;
}
