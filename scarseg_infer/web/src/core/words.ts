/** Numbers as Python writes them, so that sentences of both are the same. */

/** Nearest whole number, halves to the even one. */
export function rint(value: number): number {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** `f"{value:.{digits}f}"`: exact ties go to the even digit, where `toFixed` rounds them up. */
export function fixed(value: number, digits: number): string {
  const scale = 10 ** digits;
  const scaled = Math.abs(value) * scale;
  if (scaled % 1 !== 0.5 || scaled / scale !== Math.abs(value)) return value.toFixed(digits);
  const even = rint(scaled) / scale;
  return (value < 0 ? -even : even).toFixed(digits);
}

/** `f"{value:.{digits}g}"` of numbers without an exponent. */
export const general = (value: number, digits = 6): string =>
  String(Number(value.toPrecision(digits)));

/** First letter as a capital. */
export const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (c) =>
    ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" })[c]!);
