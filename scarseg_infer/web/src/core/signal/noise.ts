/** State of each of the twelve leads as recorded: scarseg_runtime/ecg/noise.py. */

import { ECG_RATE_HZ, LEADS } from "../contract";
import { extremes } from "../numbers";
import { rint } from "../words";
import { doubled } from "./beats";
import { MAX_RAIL_VISITS, MAX_STILL_S, MIN_SPAN_MV, clippedPlaces, longestStill, type Signals } from "./clean";
import { fromSpectrum, realSpectrum } from "./fourier";

const NOISE_BAND_HZ = [20, 150] as const;
export const NOISY_UV = 100;
const AROUND_QRS_MS = 120;
const MAX_MV = 1e4;

/** As `LeadQuality` in the result document. */
export interface LeadQuality {
  lead: string;
  present: boolean;
  flat: boolean;
  clipped: boolean;
  invalid_share: number;
  noise_uv: number | null;
}

export const isNoisy = (lead: LeadQuality): boolean => lead.noise_uv !== null && lead.noise_uv > NOISY_UV;

/** Column of each of the twelve leads that is there, the first of two. */
export function standardColumns(names: readonly string[]): Map<string, number> {
  const standard = new Map<string, string>(LEADS.map((lead) => [lead.toLowerCase(), lead]));
  const columns = new Map<string, number>();
  names.forEach((name, index) => {
    const lead = standard.get(name.trim().toLowerCase());
    if (lead !== undefined && !columns.has(lead)) columns.set(lead, index);
  });
  return columns;
}

/** Samples with invalid ones bridged by straight lines (0 where there is none at all). */
export function filled(signal: Float64Array): Float64Array {
  const values = signal.map((value) => Math.min(Math.max(value, -MAX_MV), MAX_MV));
  const valid: number[] = [];
  values.forEach((value, i) => { if (Number.isFinite(value)) valid.push(i); });
  if (valid.length === values.length) return values;
  if (!valid.length) return values.fill(0);
  let k = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i]!)) continue;
    while (k + 1 < valid.length && valid[k + 1]! < i) k++;
    const left = valid[k]!, right = valid[k + 1];
    if (i < left || right === undefined) values[i] = values[left]!;
    else values[i] = values[left]! + ((values[right]! - values[left]!) * (i - left)) / (right - left);
  }
  return values;
}

export function leadQualities(
  signals: Signals, rateHz: number, columns: Map<string, number>, qrs: readonly number[],
): LeadQuality[] {
  const quiet = outsideQrs(signals[0]?.length ?? 0, rateHz, qrs);
  return LEADS.map((lead) => {
    const column = columns.get(lead);
    return column === undefined
      ? { lead, present: false, flat: false, clipped: false, invalid_share: 0, noise_uv: null }
      : leadQuality(lead, signals[column]!, quiet, rateHz);
  });
}

function highFrequencies(signal: Float64Array, rateHz: number): Float64Array {
  const pad = rint(rateHz / 10);
  const length = Math.ceil((signal.length + 2 * pad) / 1000) * 1000;
  const padded = new Float64Array(length);
  for (let i = 0; i < length; i++) padded[i] = signal[doubled(i - pad, signal.length)]!;
  const { re, im } = realSpectrum(padded);
  for (let k = 0; k < re.length; k++) {
    const hz = (k * rateHz) / length;
    const gain = Math.sqrt(hz ** 8 / (hz ** 8 + NOISE_BAND_HZ[0] ** 8) / (1 + (hz / NOISE_BAND_HZ[1]) ** 8));
    re[k]! *= gain;
    im[k]! *= gain;
  }
  return fromSpectrum({ re, im }, length).slice(pad, pad + signal.length);
}

function outsideQrs(count: number, rateHz: number, qrs: readonly number[]): Uint8Array {
  const quiet = new Uint8Array(count).fill(1);
  for (const centre of qrs) {
    const [first, last] = [-1, 1].map((side) =>
      Math.trunc((centre / ECG_RATE_HZ + (side * AROUND_QRS_MS) / 1000) * rateHz)) as [number, number];
    quiet.fill(0, Math.max(first, 0), Math.max(Math.min(last + 1, count), 0));
  }
  return quiet;
}

function leadQuality(lead: string, recorded: Float64Array, quiet: Uint8Array, rateHz: number): LeadQuality {
  const bridged = filled(recorded);
  const noise = highFrequencies(bridged, rateHz);
  let valid = 0, used = 0, total = 0;
  recorded.forEach((value, i) => {
    if (!Number.isFinite(value)) return;
    valid++;
    if (!quiet[i]) return;
    used++;
    total += noise[i]! ** 2;
  });
  const [low, high] = extremes(bridged);
  return {
    lead,
    present: true,
    flat: !valid || high - low < MIN_SPAN_MV || longestStill(recorded) > MAX_STILL_S * rateHz,
    clipped: clippedPlaces(bridged, rateHz) > MAX_RAIL_VISITS,
    invalid_share: recorded.length ? 1 - valid / recorded.length : 0,
    noise_uv: used ? 1000 * Math.sqrt(total / used) : null,
  };
}
