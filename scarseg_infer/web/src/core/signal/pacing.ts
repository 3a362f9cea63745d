/** Pacing spikes in a raw ECG, and which chamber they pace: scarseg_runtime/ecg/pacing.py. */

import { ECG_RATE_HZ } from "../contract";
import { median } from "../numbers";
import { rint } from "../words";
import type { Signals } from "./clean";

export type Pacing = "ventricular" | "some ventricular" | "atrial" | "not seen" | "cannot tell";

const MIN_SPIKE_RATE_HZ = 500;
const SPIKE_MV = 0.1;
const NARROW_MS = 4;
const WIDER_MS = [8, 12, 16, 20] as const;
const NARROW_SHARE = 0.9;
const POINT_MS = 2;
const POINT_SHARE = 0.5;
const OVER_NOISE = 8;
const LEADS_SHARE = 1 / 3;
const REFRACTORY_MS = 20;
const MIN_SPIKES = 3;
const VENTRICULAR_MS = [-60, 40] as const;
const ATRIAL_MS = [-300, -60] as const;
const MOST = 0.5;

/** Samples of pacing spikes in a record; null where the rate does not allow it. */
export function findSpikes(signals: Signals, rateHz: number): number[] | null {
  if (!(rateHz >= MIN_SPIKE_RATE_HZ)) return null;
  const margin = rint((WIDER_MS[3] / 1000) * rateHz);
  const count = signals[0]?.length ?? 0;
  if (count <= 2 * margin) return [];
  const height = (signal: Float64Array, at: number, reachMs: number): number => {
    const reach = rint((reachMs / 1000) * rateHz);
    return Math.abs(signal[at]! - 0.5 * (signal[at - reach]! + signal[at + reach]!));
  };
  const levels = signals.map((signal) => {
    const heights = new Float64Array(count - 2 * margin);
    for (let i = 0; i < heights.length; i++) heights[i] = height(signal, i + margin, NARROW_MS);
    return Math.max(SPIKE_MV, OVER_NOISE * median(heights));
  });
  const least = LEADS_SHARE * signals.length;
  const found: number[] = [];
  for (let at = margin; at < count - margin; at++) {
    let high = 0, narrow = 0;
    signals.forEach((signal, k) => {
      const here = height(signal, at, NARROW_MS);
      if (!(here > levels[k]!)) return;
      high++;
      if (!(height(signal, at, POINT_MS) > POINT_SHARE * here)) return;
      if (WIDER_MS.every((wider) => here > NARROW_SHARE * height(signal, at, wider))) narrow++;
    });
    if (high >= least && narrow >= least) found.push(at);
  }
  const apart = (REFRACTORY_MS / 1000) * rateHz;
  return found.filter((at, i) => i === 0 || at - found[i - 1]! > apart);
}

/** Chamber that the spikes pace, by where they lie before QRS. */
export function pacingOf(
  spikes: readonly number[] | null, rateHz: number, onsets: readonly number[], wideQrs: boolean,
): Pacing {
  if (spikes === null) return "cannot tell";
  if (spikes.length < MIN_SPIKES || !onsets.length) return "not seen";
  const within = ([low, high]: readonly [number, number]): number =>
    onsets.filter((onset) => spikes.some((spike) => {
      const lagMs = 1000 * (spike / rateHz - onset / ECG_RATE_HZ);
      return lagMs > low && lagMs < high;
    })).length;
  const ventricular = within(VENTRICULAR_MS);
  if (wideQrs && ventricular >= MIN_SPIKES)
    return ventricular >= MOST * onsets.length ? "ventricular" : "some ventricular";
  return within(ATRIAL_MS) >= MIN_SPIKES ? "atrial" : "not seen";
}
