/** Limb electrodes that look exchanged, on a mean beat: scarseg_runtime/ecg/electrodes.py. */

import { BEAT_SAMPLES, LEADS } from "../contract";
import { extremes } from "../numbers";
import { samples } from "./beats";
import { leadOf, type Qrs } from "./conduction";

const FLAT_MV = 0.1;
const LIVING_MV = 0.4;
const P_WAVE_MV = 0.03;
const P_WAVE_MS = [-240, -40] as const;
const FLAT_LEADS: [string, string][] = [
  ["II", "right arm and right leg"],
  ["III", "left arm and right leg"],
  ["I", "both arms and both legs"],
];

/** Electrodes that look exchanged ("right arm and left arm"), or null. */
export function suspectedExchange(beat: Float32Array, qrs: Qrs): string | null {
  const span = new Map(FLAT_LEADS.map(([lead]) => {
    const [low, high] = extremes(leadOf(beat, lead));
    return [lead, high - low];
  }));
  for (const [lead, electrodes] of FLAT_LEADS) {
    const others = Math.min(...FLAT_LEADS.filter(([name]) => name !== lead).map(([name]) => span.get(name)!));
    if (span.get(lead)! < FLAT_MV && others > LIVING_MV) return electrodes;
  }
  const p = pWave(beat, qrs);
  const area = (lead: string): number =>
    leadOf(beat, lead).subarray(qrs.onset, qrs.offset).reduce((a, b) => a + b, 0);
  if (!(area("V6") > 0 && p("V6") > -P_WAVE_MV)) return null;
  for (const [lead, electrodes] of [["II", "right arm and left leg"], ["I", "right arm and left arm"]] as const) {
    const inverted = p(lead) < -P_WAVE_MV && area(lead) < 0;
    const own = leadOf(beat, lead), v6 = leadOf(beat, "V6");
    const against = own.reduce((total, value, i) => total + value * v6[i]!, 0) < 0;
    const upright = lead === "I" || (p("aVR") > P_WAVE_MV && area("aVR") > 0);
    if (inverted && against && upright) return electrodes;
  }
  return null;
}

/** Height of each lead where all leads together are highest before QRS. */
function pWave(beat: Float32Array, qrs: Qrs): (lead: string) => number {
  const first = Math.max(qrs.onset + samples(P_WAVE_MS[0]), 0);
  const last = Math.max(qrs.onset + samples(P_WAVE_MS[1]), 0);
  let at = -1;
  let most = -1;
  for (let i = first; i < last; i++) {
    let total = 0;
    for (let k = 0; k < LEADS.length; k++) total += beat[k * BEAT_SAMPLES + i]! ** 2;
    if (total > most) { most = total; at = i; }
  }
  return (lead) => (at < 0 ? 0 : leadOf(beat, lead)[at]!);
}
