/** Twelve clean leads from what a recorder wrote: names, derivation, checks, filter. Constants and
 * messages are those of scarseg_runtime/ecg/signal.py, which says why. */

import { ECG_RATE_HZ, LEADS } from "../contract";
import { EcgError } from "../errors";
import { extremes } from "../numbers";
import { fixed, general, rint } from "../words";
import { fromSpectrum, realSpectrum } from "./fourier";

/** One array of samples a lead. */
export type Signals = Float64Array[];

const BAND_HZ = [0.5, 40] as const;
const PAD_S = 4;
export const MIN_RATE_HZ = 100;
const MIN_DURATION_S = 5;
export const MAX_STILL_S = 2;
export const MIN_SPAN_MV = 0.05;
const MAX_SPAN_MV = 40;
const RAIL_MS = 10;
const RAIL_STEP = 0.1;
export const MAX_RAIL_VISITS = 2;
const LIMB_WARN = 0.05;
const LIMB_REFUSE = 0.15;
/** Each limb lead as a sum of I and II. */
const LIMB = [[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]] as const;
const AGAIN = "Export the ECG again, or record it again with good contact on that electrode";

/** Those of the twelve leads that are there, in standard order, and their names. */
export function pickLeads(signals: Signals, names: readonly string[]): [Signals, string[]] {
  const column = new Map<string, number>();
  const standard = new Map<string, string>(LEADS.map((lead) => [lead.toLowerCase(), lead]));
  names.forEach((name, index) => {
    const lead = standard.get(name.trim().toLowerCase());
    if (lead === undefined) return;
    if (column.has(lead)) throw new EcgError(`the ECG has two leads named ${lead}`, "Export the ECG again");
    column.set(lead, index);
  });
  const present = LEADS.filter((lead) => column.has(lead));
  let missing: string[] = LEADS.slice(6).filter((lead) => !column.has(lead));
  const limb = LEADS.slice(0, 6);
  if (limb.filter((lead) => column.has(lead)).length < 2)
    missing = [...limb.filter((lead) => !column.has(lead)), ...missing];
  if (missing.length)
    throw new EcgError(
      `the ECG lacks ${missing.join(", ")}: it has ${present.length} of the 12 leads`,
      "Use a 12-lead ECG; two limb leads and V1 to V6 are enough",
    );
  return [present.map((lead) => signals[column.get(lead)!]!), present];
}

/** Weights [limb leads present][2] whose sums over the leads are the best I and II. */
function inverse(rows: readonly (readonly [number, number])[]): [number, number][] {
  let aa = 0, ab = 0, bb = 0;
  for (const [a, b] of rows) {
    aa += a * a;
    ab += a * b;
    bb += b * b;
  }
  const det = aa * bb - ab * ab;
  return rows.map(([a, b]) => [(bb * a - ab * b) / det, (aa * b - ab * a) / det]);
}

function limbRows(present: readonly string[]): (readonly [number, number])[] {
  return present.slice(0, -6).map((lead) => LIMB[LEADS.indexOf(lead as (typeof LEADS)[number])]!);
}

/** All twelve leads, missing limb leads derived, and the names of those derived. */
export function completeLeads(signals: Signals, present: readonly string[]): [Signals, string[]] {
  const weights = inverse(limbRows(present));
  const count = signals[0]!.length;
  const base = [0, 1].map((part) => {
    const found = new Float64Array(count);
    weights.forEach((weight, k) => {
      for (let i = 0; i < count; i++) found[i]! += weight[part]! * signals[k]![i]!;
    });
    return found;
  });
  const full = LEADS.map((lead, index) => {
    const at = present.indexOf(lead);
    if (at >= 0) return signals[at]!;
    const [a, b] = LIMB[index]!;
    return base[0]!.map((value, i) => a * value + b * base[1]![i]!);
  });
  return [full, LEADS.slice(0, 6).filter((lead) => !present.includes(lead))];
}

/** Warnings where the limb leads only nearly obey Einthoven's and Goldberger's laws; throws EcgError
 * where they do not at all. */
export function checkLimbLeads(signals: Signals, present: readonly string[]): string[] {
  const rows = limbRows(present);
  const weights = inverse(rows);
  const count = signals[0]!.length;
  let left = 0;
  let all = 0;
  for (let i = 0; i < count; i++) {
    let a = 0, b = 0;
    weights.forEach((weight, k) => {
      a += weight[0] * signals[k]![i]!;
      b += weight[1] * signals[k]![i]!;
    });
    rows.forEach((row, k) => {
      const value = signals[k]![i]!;
      left += (value - row[0] * a - row[1] * b) ** 2;
      all += value ** 2;
    });
  }
  const ratio = Math.sqrt(left / all);
  if (!(ratio <= LIMB_REFUSE))
    throw new EcgError(
      `the limb leads of the ECG contradict each other (by ${fixed(100 * ratio, 0)}%; Einthoven's law)`,
      "Leads are exchanged or mislabelled: correct the export or record the ECG again",
    );
  return ratio > LIMB_WARN
    ? [`The limb leads agree only within ${fixed(100 * ratio, 0)}% (Einthoven's law).`]
    : [];
}

/** Refuse records that no filter can rescue. */
export function checkRecording(signals: Signals, rateHz: number, leads: readonly string[]): void {
  if (!(Number.isFinite(rateHz) && rateHz >= MIN_RATE_HZ))
    throw new EcgError(`the ECG is sampled at ${general(rateHz)} Hz`, `At least ${MIN_RATE_HZ} Hz are needed`);
  const durationS = signals[0]!.length / rateHz;
  if (durationS < MIN_DURATION_S)
    throw new EcgError(
      `the ECG is only ${fixed(durationS, 1)} s long`,
      `At least ${MIN_DURATION_S} s are needed, 10 s are usual`,
    );
  signals.forEach((values, k) => {
    const lead = `lead ${leads[k]} of the ECG`;
    const invalid = values.reduce((n, value) => n + Number(!Number.isFinite(value)), 0);
    if (invalid) throw new EcgError(`${lead} has ${invalid} invalid samples`, AGAIN);
    const stillS = longestStill(values) / rateHz;
    if (stillS > MAX_STILL_S) throw new EcgError(`${lead} is flat for ${fixed(stillS, 1)} s`, AGAIN);
    const visits = clippedPlaces(values, rateHz);
    if (visits > MAX_RAIL_VISITS) throw new EcgError(`${lead} is clipped in ${visits} places`, AGAIN);
  });
}

/** Refuse leads whose band-passed amplitude is not that of an ECG. */
export function checkAmplitude(filtered: Signals, leads: readonly string[]): void {
  filtered.forEach((values, k) => {
    const [low, high] = extremes(values);
    const span = high - low;
    if (span < MIN_SPAN_MV)
      throw new EcgError(`lead ${leads[k]} of the ECG is flat (${fixed(1000 * span, 0)} µV peak to peak)`, AGAIN);
    if (!(span <= MAX_SPAN_MV))
      throw new EcgError(
        `lead ${leads[k]} of the ECG spans ${general(span, 4)} mV`,
        "Check the unit of the samples, and the recording for artefacts",
      );
  });
}

/** Start and length of every run of equal values; a value that is no number ends a run. */
function runs(values: Float64Array): [number, number][] {
  const found: [number, number][] = [];
  for (let i = 0; i < values.length; i++) {
    if (i > 0 && values[i] === values[i - 1]) found[found.length - 1]![1]++;
    else found.push([i, 1]);
  }
  return found;
}

/** Samples of the longest run of one value. */
export const longestStill = (values: Float64Array): number =>
  runs(values).reduce((most, [, length]) => Math.max(most, length), 0);

/** Count how often the values stay at their maximum or minimum for 10 ms and leave it steeply. */
export function clippedPlaces(values: Float64Array, rateHz: number): number {
  if (!values.length) return 0;
  const stride = Math.ceil((RAIL_MS / 1000) * rateHz);
  const [low, high] = extremes(values);
  let visits = 0;
  for (const [start, length] of runs(values)) {
    const at = values[start]!;
    if ((at !== low && at !== high) || length < Math.max(3, stride)) continue;
    const before = values[Math.max(start - stride, 0)]!;
    const after = values[Math.min(start + length - 1 + stride, values.length - 1)]!;
    if (Math.max(Math.abs(before - at), Math.abs(after - at)) > RAIL_STEP * (high - low)) visits++;
  }
  return visits;
}

/** Index in a signal mirrored at its ends, which are not repeated. */
function mirrored(index: number, count: number): number {
  const period = Math.max(2 * (count - 1), 1);
  const at = ((index % period) + period) % period;
  return at < count ? at : period - at;
}

/** Band-pass without phase shift and resample to 500 Hz, in the frequency domain. */
export function bandpassResample(signals: Signals, rateHz: number): Signals {
  const count = signals[0]!.length;
  const before = Math.ceil(PAD_S * rateHz);
  const [length, resampled] = commensurateLengths(count + 2 * before, rateHz);
  const scale = resampled / length;
  const kept = Math.floor((count - 1) * scale + 1e-6) + 1;
  return signals.map((signal) => {
    const padded = new Float64Array(length);
    for (let i = 0; i < length; i++) padded[i] = signal[mirrored(i - before, count)]!;
    const { re, im } = realSpectrum(padded);
    const bins = Math.min(re.length, Math.floor(resampled / 2) + 1);
    for (let k = 0; k < bins; k++) {
      const cycles = k / length;
      const gain = bandGain(cycles * rateHz);
      const phase = 2 * Math.PI * cycles * before;
      const c = gain * Math.cos(phase), s = gain * Math.sin(phase);
      const a = re[k]!, b = im[k]!;
      re[k] = a * c - b * s;
      im[k] = a * s + b * c;
    }
    const found = fromSpectrum({ re: re.slice(0, bins), im: im.slice(0, bins) }, resampled);
    return found.slice(0, kept).map((value) => value * scale);
  });
}

function bandGain(hz: number): number {
  const high = hz ** 4;
  return high / (high + BAND_HZ[0] ** 4) / (1 + (hz / BAND_HZ[1]) ** 8);
}

/** Padded length (at least `least`) and its length at 500 Hz that agree in duration. */
function commensurateLengths(least: number, rateHz: number): [number, number] {
  let best: [number, number] = [least, 1];
  let smallest = Infinity;
  for (let length = least; length <= least + Math.ceil(rateHz); length++) {
    const exact = length * (ECG_RATE_HZ / rateHz);
    const mismatch = rint(Math.abs(exact - rint(exact)) * 1e6) / 1e6;
    if (mismatch < smallest) {
      smallest = mismatch;
      best = [length, rint(exact)];
    }
  }
  return best;
}
