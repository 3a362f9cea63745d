/** Scar by signal thresholds: scarseg_runtime/quantify/threshold_rules.py. */

import type { Pixels } from "../contract";
import { percentile } from "../numbers";
import { withDarkCores, type Mask } from "./components";
import { count, inside, interior } from "./remote";

const TOP_PERCENTILE = 99.5;
const LEAST_INSIDE = 0.1;

export function above(pixels: Pixels, wall: Mask, level: number, healthy: Mask): Mask {
  const bright = wall.map((value, i) => Number(value && pixels.data[i]! > level));
  return withDarkCores(bright, wall, pixels.shape, healthy);
}

/** Signal at `share` of the way from remote to the brightest of the scar. */
export function fwhmLevel(pixels: Pixels, wall: Mask, share: number, remoteMean: number, scar: Mask): number {
  const inner = interior(wall, pixels.shape);
  const within = scar.map((value, i) => Number(value && inner[i]));
  const region = count(within) >= LEAST_INSIDE * count(scar) ? within : scar;
  const top = percentile(inside(pixels.data, region), TOP_PERCENTILE);
  return remoteMean + share * (top - remoteMean);
}
