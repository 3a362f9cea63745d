/** Colours of the report, as scarseg_infer/write/report/drawing.py has them. */

import { rint } from "../words";

export type Colour = readonly [number, number, number];

export const SCALE: Colour[] = [[247, 247, 247], [253, 212, 158], [252, 141, 89], [215, 48, 31], [127, 0, 0]];
export const NIGHT_SCALE: Colour[] = [[43, 50, 57], [112, 44, 30], [190, 66, 30], [245, 146, 62], [255, 236, 179]];
export const NO_DATA: Colour = [205, 205, 205];
export const NIGHT_NO_DATA: Colour = [74, 82, 90];

export const css = (colour: Colour): string => `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;

/** Colour variables of the page's style sheet. */
export const VARIABLES = Object.entries({
  endocardium: [213, 94, 0], epicardium: [0, 158, 115], scar: [240, 228, 66], "image-only": [86, 180, 233],
  added: [222, 143, 187], "day-no-data": NO_DATA, "night-no-data": NIGHT_NO_DATA, "day-ink": [32, 32, 32],
  "day-warning": [178, 24, 43],
} as Record<string, Colour>).map(([name, colour]) => `--${name}:${css(colour)}`).join(";");

/** Colour of a share 0–1; `noData` where there is none. */
export function colourOf(share: number | null, scale: readonly Colour[], noData: Colour): Colour {
  if (share === null || Number.isNaN(share)) return noData;
  const place = Math.min(Math.max(share, 0), 1) * (scale.length - 1);
  const low = Math.min(Math.trunc(place), scale.length - 2);
  return [0, 1, 2].map((i) => rint(scale[low]![i]! + (scale[low + 1]![i]! - scale[low]![i]!) * (place - low))) as unknown as Colour;
}

/** Black or white, whichever reads better on `fill`. */
export function inkOn(fill: Colour): Colour {
  const black: Colour = [0, 0, 0], white: Colour = [255, 255, 255];
  return contrast(black, fill) >= contrast(white, fill) ? black : white;
}

function contrast(one: Colour, other: Colour): number {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: Colour): number {
  const [red, green, blue] = colour.map((channel) => {
    const c = channel / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
