/** The mean of the typical beats of a resting ECG, as scarseg_runtime/preprocess.py makes it. */

import { BEAT_R_INDEX, BEAT_SAMPLES, ECG_RATE_HZ } from "../contract";
import { EcgError } from "../errors";
import { mean, median } from "../numbers";
import { fixed } from "../words";
import { alignedBeats, centreBeat, findQrs, liesInside, meanBeatOf, samples } from "./beats";
import {
  bandpassResample, checkAmplitude, checkLimbLeads, checkRecording, completeLeads, pickLeads,
  type Signals,
} from "./clean";

const TAPER_BEFORE_RR = 0.35;
const TAPER_AFTER_RR = 0.65;
const TAPER_RAMP_MS = 60;
const BASELINE_MS = [-90, -60] as const;
const MIN_BEATS = 3;
const LITTLE_USED = 0.8;
const EARLY_RR = 0.8;
export const FAST_BPM = 150;
const LONGER = `At least ${MIN_BEATS} similar beats are needed: use a longer or quieter record`;

export interface MeanBeat {
  /** [12 × 512] mV, R at sample 192. */
  beatMv: Float32Array;
  heartRateBpm: number;
  beatsAveraged: number;
  derivedLeads: string[];
  warnings: string[];
}

/** Throws EcgError where no mean beat can be made. */
export function meanBeat(recorded: Signals, rateHz: number, leadNames: readonly string[]): MeanBeat {
  const [picked, present] = pickLeads(recorded, leadNames);
  checkRecording(picked, rateHz, present);
  const filtered = bandpassResample(picked, rateHz);
  checkAmplitude(filtered, present);
  const warnings = checkLimbLeads(filtered, present);
  const [signals, derivedLeads] = completeLeads(filtered, present);
  const peaks = findQrs(signals);
  if (peaks.length < MIN_BEATS)
    throw new EcgError(`only ${peaks.length} heart beats were found in the ECG`, LONGER);
  const rrMs = (median(steps(peaks)) * 1000) / ECG_RATE_HZ;
  const [beats, doubts] = usableBeats(signals, peaks);
  const middle = BEAT_R_INDEX + Math.floor((beats[0]![0]!.length - BEAT_SAMPLES) / 2);
  const beat = centreBeat(meanBeatOf(beats), middle);
  const rateBpm = 60000 / rrMs;
  warnings.push(...doubts);
  if (rateBpm >= FAST_BPM)
    warnings.push(`Heart rate ${fixed(rateBpm, 0)}/min: ECG signs of scar do not hold at 150/min.`);
  return {
    beatMv: finished(beat, rrMs),
    heartRateBpm: rateBpm,
    beatsAveraged: beats.length,
    derivedLeads,
    warnings,
  };
}

const steps = (values: readonly number[]): number[] =>
  values.slice(1).map((value, i) => value - values[i]!);

/** Beats that look alike and, if possible, have no early neighbour; warnings. */
function usableBeats(signals: Signals, peaks: readonly number[]): [Signals[], string[]] {
  const intervals = steps(peaks);
  const usual = mean(intervals);
  const early = [false, ...intervals.map((interval) => interval < EARLY_RR * usual)];
  const disturbed = early.map((one, i) => one || (early[i + 1] ?? false));
  const inside = peaks.map((peak) => liesInside(peak, signals[0]!.length));
  const within = <T>(values: readonly T[]): T[] => values.filter((_, i) => inside[i]);
  if (!inside.includes(true)) throw new EcgError("no whole heart beat was found in the ECG", LONGER);
  const [beats, alike] = alignedBeats(signals, within(peaks), within(early));
  const count = alike.filter(Boolean).length;
  if (count < MIN_BEATS)
    throw new EcgError(`only ${count} of ${beats.length} heart beats in the ECG are alike`, LONGER);
  const disturbedInside = within(disturbed);
  const clean = beats.filter((_, i) => alike[i] && !disturbedInside[i]);
  if (clean.length < MIN_BEATS)
    return [
      beats.filter((_, i) => alike[i]),
      ["Extrasystoles follow too closely: the mean beat of the ECG holds part of them."],
    ];
  const few = clean.length < LITTLE_USED * beats.length;
  return [clean, few
    ? [`Only ${clean.length} of ${beats.length} heart beats in the ECG are alike and undisturbed.`]
    : []];
}

/** The beat with its PR segment at 0 mV and its neighbours faded out. */
function finished(beat: Signals, rrMs: number): Float32Array {
  const found = new Float32Array(beat.length * BEAT_SAMPLES);
  const first = BEAT_R_INDEX + samples(BASELINE_MS[0]);
  const last = BEAT_R_INDEX + samples(BASELINE_MS[1]);
  beat.forEach((lead, k) => {
    const level = median(lead.slice(first, last + 1));
    for (let i = 0; i < BEAT_SAMPLES; i++) {
      const timeMs = (i - BEAT_R_INDEX) * (1000 / ECG_RATE_HZ);
      const insideMs = Math.min(timeMs + TAPER_BEFORE_RR * rrMs, TAPER_AFTER_RR * rrMs - timeMs);
      const ramp = Math.min(Math.max(insideMs / TAPER_RAMP_MS, 0), 1);
      found[k * BEAT_SAMPLES + i] = (lead[i]! - level) * (0.5 - 0.5 * Math.cos(Math.PI * ramp));
    }
  });
  return found;
}
