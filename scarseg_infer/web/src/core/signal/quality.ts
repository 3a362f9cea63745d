/** Quality report of an ECG: scarseg_runtime/ecg/quality.py. */

import { BEAT_R_INDEX } from "../contract";
import { fixed } from "../words";
import { findQrs } from "./beats";
import { MIN_RATE_HZ, bandpassResample, type Signals } from "./clean";
import { WIDE_QRS_MS, bundlePattern, durationMs, qrsExtent, type Pattern, type Qrs } from "./conduction";
import { suspectedExchange } from "./electrodes";
import { FAST_BPM, type MeanBeat } from "./mean_beat";
import { NOISY_UV, filled, isNoisy, leadQualities, standardColumns, type LeadQuality } from "./noise";
import { findSpikes, pacingOf, type Pacing } from "./pacing";

const MOST_LEADS = 0.5;
const MIN_S = 2.5;
const PATTERN_WORDS: Record<string, string> = {
  LBBB: "left bundle branch block",
  RBBB: "right bundle branch block",
  nonspecific: "QRS is wide without the shape of a bundle branch block",
};

export interface EcgQuality {
  leads: LeadQuality[];
  qrsMs: number | null;
  pattern: Pattern;
  pacing: Pacing;
  exchangedElectrodes: string | null;
  /** Any of these takes all weight from the ECG. */
  findings: string[];
  warnings: string[];
}

export function assess(
  signals: Signals, rateHz: number, leadNames: readonly string[], beat: MeanBeat,
): EcgQuality {
  const columns = standardColumns(leadNames);
  const used = [...columns.values()].sort((a, b) => a - b);
  const bridged = used.map((column) => filled(signals[column]!));
  const peaks = qrsCentres(bridged, rateHz);
  const leads = leadQualities(signals, rateHz, columns, peaks);
  const qrs = qrsExtent(beat.beatMv);
  const onset = (qrs?.onset ?? BEAT_R_INDEX) - BEAT_R_INDEX;
  const wide = qrs !== null && durationMs(qrs) >= WIDE_QRS_MS;
  const pacing = pacingOf(findSpikes(bridged, rateHz), rateHz, peaks.map((peak) => peak + onset), wide);
  const pattern = qrs ? bundlePattern(beat.beatMv, qrs) : "none";
  const exchanged = qrs ? suspectedExchange(beat.beatMv, qrs) : null;
  return {
    leads,
    qrsMs: qrs ? durationMs(qrs) : null,
    pattern,
    pacing,
    exchangedElectrodes: exchanged,
    findings: findings(leads, beat, qrs, pattern, pacing, exchanged),
    warnings: warnings(leads, pacing),
  };
}

function qrsCentres(bridged: Signals, rateHz: number): number[] {
  if (!bridged.length || rateHz < MIN_RATE_HZ || bridged[0]!.length < MIN_S * rateHz) return [];
  return findQrs(bandpassResample(bridged, rateHz));
}

function findings(
  leads: readonly LeadQuality[], beat: MeanBeat, qrs: Qrs | null, pattern: Pattern, pacing: Pacing,
  exchanged: string | null,
): string[] {
  const found: string[] = [];
  if (beat.heartRateBpm >= FAST_BPM)
    found.push(`at a heart rate of ${fixed(beat.heartRateBpm, 0)}/min ECG signs of scar do not hold`);
  if (pacing === "ventricular") found.push("the ventricles are paced");
  else if (qrs && pattern !== "none")
    found.push(`${PATTERN_WORDS[pattern]} (${fixed(durationMs(qrs), 0)} ms)`);
  if (exchanged) found.push(`the electrodes of ${exchanged} seem to be exchanged`);
  const recorded = leads.filter((lead) => lead.present);
  const bad = recorded.filter((lead) => isNoisy(lead) || lead.flat || lead.clipped);
  if (recorded.length && bad.length > MOST_LEADS * recorded.length)
    found.push(`${bad.length} of ${recorded.length} leads are noisy, flat or clipped`);
  return found;
}

function warnings(leads: readonly LeadQuality[], pacing: Pacing): string[] {
  const told: string[] = [];
  if (pacing === "atrial") told.push("The atria are paced.");
  if (pacing === "some ventricular") told.push("Some heart beats are paced.");
  const states: [string, (lead: LeadQuality) => boolean][] = [
    [`noisier than ${NOISY_UV} µV`, isNoisy],
    ["flat", (lead) => lead.flat],
    ["clipped", (lead) => lead.clipped],
    ["partly without valid samples", (lead) => lead.invalid_share > 0 && !lead.flat],
  ];
  for (const [state, holds] of states) {
    const names = leads.filter(holds).map((lead) => lead.lead);
    if (names.length) told.push(`ECG lead${names.length > 1 ? "s" : ""} ${state}: ${names.join(", ")}.`);
  }
  return told;
}
