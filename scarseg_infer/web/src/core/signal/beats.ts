/** Finding the heart beats of twelve clean leads, aligning them, and telling the typical ones, as
 * scarseg_runtime/ecg/beats.py does. Signals are 500 Hz and band-passed. */

import { BEAT_R_INDEX, BEAT_SAMPLES, ECG_RATE_HZ } from "../contract";
import { argmax, argsort, median } from "../numbers";
import { rint } from "../words";
import type { Signals } from "./clean";
import { fromSpectrum, realSpectrum } from "./fourier";

const MIN_CORRELATION = 0.9;
const QRS_BAND_HZ = [8, 25] as const;
const ENVELOPE_MS = 100;
const WINDOW_S = 2;
const THRESHOLD = 0.35;
const REFRACTORY_MS = 240;
const T_WAVE_MS = 360;
const T_WAVE_RATIO = 0.5;
const CENTRE_MS = 70;
const COMPARED_MS = [-80, 300] as const;
const QRS_MS = [-80, 80] as const;
const JITTER_MS = 20;
const MARGIN = 40;

/** A duration in samples at 500 Hz. */
export const samples = (milliseconds: number): number => rint((milliseconds * ECG_RATE_HZ) / 1000);

/** Samples of the QRS complexes in order of time, each at its centre of energy. */
export function findQrs(signals: Signals): number[] {
  const energy = qrsEnergy(signals);
  const envelope = smoothed(energy);
  const window = WINDOW_S * ECG_RATE_HZ;
  const highest: number[] = [];
  for (let start = 0; start <= Math.max(envelope.length - window, 0); start += window / 4)
    highest.push(envelope.slice(start, start + window).reduce((a, b) => Math.max(a, b)));
  const typical = median(highest);
  const peaks: number[] = [];
  for (let i = 1; i < envelope.length - 1; i++) {
    const at = envelope[i]!;
    if (at >= envelope[i - 1]! && at > envelope[i + 1]! && at > THRESHOLD * typical) peaks.push(i);
  }
  const kept: number[] = [];
  for (const k of argsort(peaks.map((peak) => -envelope[peak]!))) {
    const peak = peaks[k]!;
    const taken = kept.some((other) => {
      const lag = peak - other;
      const low = envelope[peak]! < T_WAVE_RATIO * envelope[other]!;
      return (low && lag > 0 && lag < samples(T_WAVE_MS)) || Math.abs(lag) < samples(REFRACTORY_MS);
    });
    if (!taken) kept.push(peak);
  }
  return kept.sort((a, b) => a - b).map((peak) => rint(centre(energy, peak)));
}

/** Root of the energy under a moving bump of 100 ms. */
function smoothed(energy: Float64Array): Float64Array {
  const width = samples(ENVELOPE_MS);
  const kernel = new Float64Array(width);
  let total = 0;
  for (let i = 0; i < width; i++) {
    kernel[i] = 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 1)) / (width + 1));
    total += kernel[i]!;
  }
  const first = width - 1 - Math.floor(width / 2);
  return energy.map((_, i) => {
    let value = 0;
    for (let k = 0; k < width; k++) value += (energy[i + first - k] ?? 0) * kernel[k]!;
    return Math.sqrt(Math.max(value / total, 0));
  });
}

/** True where the window of a beat lies in `count` samples. */
export function liesInside(peak: number, count: number): boolean {
  const start = peak - BEAT_R_INDEX - MARGIN;
  return start >= 0 && start + BEAT_SAMPLES + 2 * MARGIN <= count;
}

/** The beats [b][12][m] aligned on their QRS, and which of them are typical. */
export function alignedBeats(
  signals: Signals, peaks: readonly number[], early: readonly boolean[],
): [Signals[], boolean[]] {
  const length = BEAT_SAMPLES + 2 * MARGIN;
  const beats = peaks.map((peak) => {
    const start = peak - BEAT_R_INDEX - MARGIN;
    return signals.map((lead) => lead.slice(start, start + length));
  });
  const shapes = beats.map((beat) => unit(beat, COMPARED_MS));
  const alike = shapes.map((one) => shapes.map((other) => dot(one, other)));
  const score = alike.map((row) => {
    const companions = row.reduce((n, value, k) => n + Number(value > MIN_CORRELATION && !early[k]), 0);
    return companions + row.reduce((a, b) => a + b, 0) / row.length / 2;
  });
  const typical = alike[argmax(score)]!;
  const template = meanBeatOf(beats.filter((_, k) => typical[k]! > MIN_CORRELATION));
  const jitter = samples(JITTER_MS);
  const qrs = unit(template, QRS_MS);
  const compared = unit(template, COMPARED_MS);
  const inner = length - 2 * jitter;
  const moved = beats.map((beat) => {
    const match = [];
    for (let lag = -jitter; lag <= jitter; lag++) match.push(dot(unit(beat, QRS_MS, lag), qrs));
    const first = argmax(match);
    return beat.map((lead) => lead.slice(first, first + inner));
  });
  return [moved, moved.map((beat) => dot(unit(beat, COMPARED_MS), compared) > MIN_CORRELATION)];
}

/** Mean of beats [b][12][m]. */
export function meanBeatOf(beats: readonly Signals[]): Signals {
  return beats[0]!.map((lead, k) => lead.map((_, i) => {
    let total = 0;
    for (const beat of beats) total += beat[k]![i]!;
    return total / beats.length;
  }));
}

/** The window [12][512] of a beat in which R lies exactly at its place. */
export function centreBeat(beat: Signals, near: number): Signals {
  const shift = centre(qrsEnergy(beat), near) - BEAT_R_INDEX;
  const whole = Math.floor(shift);
  return beat.map((lead) => {
    const { re, im } = realSpectrum(lead);
    for (let k = 0; k < re.length; k++) {
      const phase = 2 * Math.PI * (k / lead.length) * (shift - whole);
      const c = Math.cos(phase), s = Math.sin(phase), a = re[k]!, b = im[k]!;
      re[k] = a * c - b * s;
      im[k] = a * s + b * c;
    }
    return fromSpectrum({ re, im }, lead.length).slice(whole, whole + BEAT_SAMPLES);
  });
}

/** Energy in the QRS band, summed over the leads. */
function qrsEnergy(signals: Signals): Float64Array {
  const count = signals[0]!.length;
  const pad = ECG_RATE_HZ;
  const length = Math.ceil((count + 2 * pad) / pad) * pad;
  const energy = new Float64Array(count);
  for (const lead of signals) {
    const padded = new Float64Array(length);
    for (let i = 0; i < length; i++) padded[i] = lead[doubled(i - pad, count)]!;
    const { re, im } = realSpectrum(padded);
    for (let k = 0; k < re.length; k++) {
      const fourth = ((k * ECG_RATE_HZ) / length) ** 4;
      const gain = fourth / (fourth + QRS_BAND_HZ[0] ** 4) / (1 + fourth / QRS_BAND_HZ[1] ** 4);
      re[k]! *= gain;
      im[k]! *= gain;
    }
    const banded = fromSpectrum({ re, im }, length);
    for (let i = 0; i < count; i++) energy[i]! += banded[pad + i]! ** 2;
  }
  return energy;
}

/** Index in a signal mirrored at its ends, which are repeated. */
export function doubled(index: number, count: number): number {
  const period = 2 * count;
  const at = ((index % period) + period) % period;
  return at < count ? at : period - 1 - at;
}

function centre(energy: Float64Array, start: number): number {
  const half = samples(CENTRE_MS);
  let near = start;
  for (let turn = 0; turn < 20; turn++) {
    const first = Math.max(Math.trunc(near) - half - 1, 0);
    let total = 0;
    let moment = 0;
    for (let t = first; t < Math.min(first + 2 * half + 4, energy.length); t++) {
      const weight = energy[t]! * Math.min(Math.max(half + 0.5 - Math.abs(t - near), 0), 1);
      total += weight;
      moment += weight * t;
    }
    const moved = total > 0 ? moment / total : near;
    if (Math.abs(moved - near) < 0.005) break;
    near = moved;
  }
  return near;
}

/** Unit vector of a beat over a span, without lead offsets; every third sample. */
function unit(beat: Signals, spanMs: readonly [number, number], lag = 0): Float64Array {
  const middle = BEAT_R_INDEX + (beat[0]!.length - BEAT_SAMPLES) / 2 + lag;
  const first = middle + samples(spanMs[0]);
  const last = middle + samples(spanMs[1]);
  const count = Math.ceil((last - first) / 3);
  const found = new Float64Array(count * beat.length);
  beat.forEach((lead, k) => {
    let total = 0;
    for (let i = 0; i < count; i++) total += lead[first + 3 * i]!;
    for (let i = 0; i < count; i++) found[k * count + i] = lead[first + 3 * i]! - total / count;
  });
  const norm = Math.max(Math.sqrt(dot(found, found)), 2.2250738585072014e-308);
  for (let i = 0; i < found.length; i++) found[i]! /= norm;
  return found;
}

function dot(one: Float64Array, other: Float64Array): number {
  let total = 0;
  for (let i = 0; i < one.length; i++) total += one[i]! * other[i]!;
  return total;
}
