/** Length of a ventricle by its width: scarseg_runtime/quantify/elongation.py. */

import { isVentricle, type Labels } from "../contract";
import { median } from "../numbers";

const ENOUGH_PIXELS = 30;

/** Median over slices of the ratio of the axes of the ventricle with its cavity, from 1; 1 where there is none. */
export function elongation({ data, shape: [slices, rows, columns] }: Labels, spacing: readonly [number, number]): number {
  const found: number[] = [];
  for (let s = 0; s < slices; s++) {
    let n = 0, y = 0, x = 0, yy = 0, xx = 0, xy = 0;
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        if (!isVentricle(data[(s * rows + r) * columns + c]!)) continue;
        const down = r * spacing[0], right = c * spacing[1];
        n++; y += down; x += right; yy += down * down; xx += right * right; xy += down * right;
      }
    if (n < ENOUGH_PIXELS) continue;
    const a = yy / n - (y / n) ** 2, b = xx / n - (x / n) ** 2, c = xy / n - (y / n) * (x / n);
    const middle = (a + b) / 2, apart = Math.hypot((a - b) / 2, c);
    if (middle > apart) found.push(Math.sqrt((middle + apart) / (middle - apart)));
  }
  return found.length ? median(found) : 1;
}
