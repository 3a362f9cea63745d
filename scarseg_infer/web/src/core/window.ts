/** Rows and columns of a volume: what is looked at, and cutting it out. */

import type { Labels, Shape, Volume } from "./contract";

/** First and last + 1 row, first and last + 1 column. */
export type Window = [[number, number], [number, number]];

/** Rows and columns with labels and a rim of background, of all slices. */
export function heartBox({ data, shape }: Labels): Window {
  const [, rows, columns] = shape;
  const ends: Window = [[rows, -1], [columns, -1]];
  data.forEach((label, i) => {
    if (!label) return;
    const row = Math.floor(i / columns) % rows, column = i % columns;
    if (row < ends[0][0]) ends[0][0] = row;
    if (row > ends[0][1]) ends[0][1] = row;
    if (column < ends[1][0]) ends[1][0] = column;
    if (column > ends[1][1]) ends[1][1] = column;
  });
  return ends.map(([first, last], axis) =>
    last < 0 ? [0, Math.min(2, shape[axis + 1]!)] : [Math.max(first - 1, 0), Math.min(last + 2, shape[axis + 1]!)]) as Window;
}

type Data = Uint8Array | Float32Array;

/** A window of all slices; of every `every`th row and column. */
export function cut<T extends Data>({ data, shape }: Volume<T>, window: Window, every = 1): Volume<T> {
  const [down, across] = window.map(([first, last]) => {
    const found: number[] = [];
    for (let at = first; at < last; at += every) found.push(at);
    return found;
  }) as [number[], number[]];
  const found = new (data.constructor as new (n: number) => T)(shape[0] * down.length * across.length);
  let at = 0;
  for (let s = 0; s < shape[0]; s++)
    for (const row of down) for (const column of across) found[at++] = data[(s * shape[1] + row) * shape[2] + column]!;
  return { data: found, shape: [shape[0], down.length, across.length] };
}

/** Background of `shape` with a volume at the place of its window. */
export function paste({ data }: Labels, [down, across]: Window, shape: Shape): Labels {
  const found = new Uint8Array(shape[0] * shape[1] * shape[2]);
  let at = 0;
  for (let s = 0; s < shape[0]; s++)
    for (let row = down[0]; row < down[1]; row++)
      for (let column = across[0]; column < across[1]; column++) found[(s * shape[1] + row) * shape[2] + column] = data[at++]!;
  return { data: found, shape };
}
