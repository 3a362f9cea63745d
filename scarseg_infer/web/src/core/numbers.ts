/** Statistics as numpy defines them. */

type Numbers = ArrayLike<number>;

export const sorted = (values: Numbers): Float64Array => Float64Array.from(values).sort();

export function sum(values: Numbers): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}

export const mean = (values: Numbers): number => sum(values) / values.length;

export function extremes(values: Numbers): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Number.isNaN(value)) return [NaN, NaN];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Standard deviation of the values themselves (divided by their number). */
export function deviation(values: Numbers): number {
  const middle = mean(values);
  let total = 0;
  for (let i = 0; i < values.length; i++) total += (values[i]! - middle) ** 2;
  return Math.sqrt(total / values.length);
}

/** Linear interpolation between the closest ranks. */
export function percentile(values: Numbers, share: number): number {
  const order = sorted(values);
  const place = (share / 100) * (order.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, order.length - 1);
  return order[low]! + (order[high]! - order[low]!) * (place - low);
}

export const median = (values: Numbers): number => percentile(values, 50);

export function argmax(values: Numbers): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** Indices that sort values; ties keep their order. */
export const argsort = (values: Numbers): number[] =>
  Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a]! - values[b]!);

/** The part above 0 of a remainder, as Python's `%`. */
export const modulo = (value: number, base: number): number => ((value % base) + base) % base;

/** Turn 0–1 of a direction. */
export function turnOf(y: number, x: number): number {
  const turn = Math.atan2(y, x) / (2 * Math.PI);
  return turn < 0 ? (turn + 1) % 1 : turn;
}
