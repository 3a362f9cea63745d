/** Width of QRS on a mean beat, and block of a bundle branch: scarseg_runtime/ecg/conduction.py. */

import { BEAT_R_INDEX, BEAT_SAMPLES, ECG_RATE_HZ, LEADS } from "../contract";
import { samples } from "./beats";

export type Pattern = "none" | "LBBB" | "RBBB" | "nonspecific";

export const WIDE_QRS_MS = 120;
const R_PEAK_MS = 50;
const WIDE_S_MS = 40;
const SLOW_SHARE = 0.05;
const SLOW_MS = 10;
const REACH_MS = [-140, 200] as const;
const STEEPEST_MS = 80;
const WAVE_MV = 0.04;
const RINGING_MS = 12.5;
const TERMINAL_MV = 0.1;
const INDEPENDENT = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"];

/** Extent of QRS in samples of the mean beat (offset exclusive). */
export interface Qrs { onset: number; offset: number }
interface Deflection { heightMv: number; widthMs: number; peakMs: number }

export const durationMs = (qrs: Qrs): number => ((qrs.offset - qrs.onset) * 1000) / ECG_RATE_HZ;

/** One lead of a mean beat, by its name. */
export const leadOf = (beat: Float32Array, lead: string): Float32Array => {
  const index = LEADS.indexOf(lead as (typeof LEADS)[number]);
  return beat.subarray(index * BEAT_SAMPLES, (index + 1) * BEAT_SAMPLES);
};

/** Earliest onset to latest offset over all leads; null for a beat without any change. */
export function qrsExtent(beat: Float32Array): Qrs | null {
  const speed = new Float64Array(BEAT_SAMPLES);
  for (const lead of INDEPENDENT) {
    const values = leadOf(beat, lead);
    for (let i = 0; i < BEAT_SAMPLES; i++) {
      const before = Math.max(i - 1, 0), after = Math.min(i + 1, BEAT_SAMPLES - 1);
      speed[i]! += ((values[after]! - values[before]!) / (after - before)) ** 2;
    }
  }
  for (let i = 0; i < BEAT_SAMPLES; i++) speed[i] = Math.sqrt(speed[i]!);
  const near = samples(STEEPEST_MS);
  let steepest = BEAT_R_INDEX - near;
  for (let i = steepest; i < BEAT_R_INDEX + near; i++) if (speed[i]! > speed[steepest]!) steepest = i;
  if (!(speed[steepest]! > 0)) return null;
  const hold = samples(SLOW_MS);
  const still = (at: number): boolean => {
    for (let i = at; i < at + hold; i++) if (!(speed[i]! < SLOW_SHARE * speed[steepest]!)) return false;
    return true;
  };
  const low = BEAT_R_INDEX + samples(REACH_MS[0]);
  const high = BEAT_R_INDEX + samples(REACH_MS[1]);
  let onset = low;
  for (let i = steepest - hold; i >= low; i--) if (still(i)) { onset = i + hold - 1; break; }
  let offset = high;
  for (let i = steepest; i < high; i++) if (still(i)) { offset = i; break; }
  return { onset, offset };
}

/** Waves of one lead within QRS, in order of time. */
function deflections(lead: Float32Array, qrs: Qrs): Deflection[] {
  const values = lead.subarray(qrs.onset, qrs.offset);
  const signOf = (i: number): number =>
    i >= 0 && i < values.length && Math.abs(values[i]!) > WAVE_MV ? Math.sign(values[i]!) : 0;
  const edges: number[] = [];
  for (let i = 0; i <= values.length; i++) if (signOf(i) !== signOf(i - 1)) edges.push(i);
  const stepMs = 1000 / ECG_RATE_HZ;
  const waves: Deflection[] = [];
  for (let k = 0; k + 1 < edges.length; k++) {
    const start = edges[k]!, stop = edges[k + 1]!;
    if (signOf(start) === 0 || (stop - start) * stepMs < RINGING_MS) continue;
    let peak = start;
    for (let i = start; i < stop; i++) if (Math.abs(values[i]!) > Math.abs(values[peak]!)) peak = i;
    waves.push({ heightMv: values[peak]!, widthMs: (stop - start) * stepMs, peakMs: peak * stepMs });
  }
  return waves;
}

/** The conduction pattern of a mean beat. */
export function bundlePattern(beat: Float32Array, qrs: Qrs): Pattern {
  if (durationMs(qrs) < WIDE_QRS_MS) return "none";
  const waves = (lead: string): Deflection[] => deflections(leadOf(beat, lead), qrs);
  if (isLeft(waves)) return "LBBB";
  return isRight(waves) ? "RBBB" : "nonspecific";
}

function isLeft(waves: (lead: string) => Deflection[]): boolean {
  const heights = waves("V1").map((wave) => wave.heightMv);
  if (!heights.length || heights.at(-1)! > 0 || -Math.min(...heights) < Math.max(...heights)) return false;
  if (["I", "V5", "V6"].some((lead) => (waves(lead)[0]?.heightMv ?? 0) < 0)) return false;
  return ["I", "V5", "V6"].some((lead) =>
    waves(lead).reduce((most, wave) => (Math.abs(wave.heightMv) > Math.abs(most) ? wave.heightMv : most), 0) > 0);
}

function isRight(waves: (lead: string) => Deflection[]): boolean {
  const late = ["V1", "V2"].some((lead) => {
    const found = waves(lead);
    const last = found.at(-1);
    return last !== undefined && last.heightMv > TERMINAL_MV && (found.length > 1 || last.peakMs > R_PEAK_MS);
  });
  return late && ["I", "V6"].every((lead) => {
    const found = waves(lead);
    const sMs = [...found].reverse().find((wave) => wave.heightMv < 0)?.widthMs ?? 0;
    const rMs = Math.max(...found.filter((wave) => wave.heightMv > 0).map((wave) => wave.widthMs));
    return sMs > Math.min(WIDE_S_MS, Number.isFinite(rMs) ? rMs : Infinity);
  });
}
