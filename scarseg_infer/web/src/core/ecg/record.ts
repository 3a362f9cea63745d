/** Record that every ECG reader yields, and what all of them must keep: scarseg_infer/ecg/record.py,
 * lead_names.py and calibration.py. */

import { LEADS } from "../contract";
import { EcgError } from "../errors";
import type { Moment } from "../moment";
import { extremes, median } from "../numbers";
import type { Signals } from "../signal/clean";
import { fixed } from "../words";

export const MAX_ECG_BYTES = 10 << 20;
const MAX_RATE_HZ = 100_000;
const MAX_MV = 1000;
const MAX_DURATION_S = 3600;
const MAX_ANALYSED_S = 300;
const MAX_ENDS_S = 2;
export const TOO_LONG = "Give a resting ECG: cut 10 s to some minutes out of a long recording";
export const MV_PER_UNIT = new Map([["v", 1e3], ["mv", 1], ["uv", 1e-3], ["nv", 1e-6]]);

export interface EcgRecord {
  /** In mV, one array a lead; NaN where a sample is invalid. */
  signals: Signals;
  rateHz: number;
  leadNames: string[];
  recorded: Moment | null;
  dateOnly: boolean;
  source: "wfdb" | "dicom";
  warnings: string[];
  /** For the comparison with that of the MRI alone: never shown. */
  patientId: string | null;
}

/** Refuse a rate or a length beyond any resting ECG. */
export function checkTiming(samples: number, rateHz: number): void {
  if (!(rateHz > 0 && rateHz <= MAX_RATE_HZ))
    throw new EcgError("the ECG's sampling rate is not that of an ECG", "Export the ECG again");
  if (samples > MAX_DURATION_S * rateHz)
    throw new EcgError(`the ECG is longer than ${MAX_DURATION_S / 60} minutes`, TOO_LONG);
}

/** A record whose numbers can be those of an ECG, without the calibration pulse of some devices. */
export function checked(record: EcgRecord): EcgRecord {
  const leadNames = standardLeads(record.leadNames);
  const samples = record.signals[0]?.length ?? 0;
  if (!samples) throw new EcgError("the ECG has no samples", "Export the ECG again");
  checkTiming(samples, record.rateHz);
  record.signals.forEach((signal, k) => {
    const known = STANDARD.has(leadNames[k]!.trim().toLowerCase());
    const beyond = signal.some((value) => Math.abs(value) === Infinity || (known && Math.abs(value) > MAX_MV));
    if (beyond)
      throw new EcgError(
        `the ECG's scale is not that of an ECG: it goes beyond ${MAX_MV} mV`,
        "Check the unit of the samples, or export the ECG again",
      );
  });
  const [signals, doubts] = withoutCalibration(record.signals, record.rateHz, leadNames);
  return { ...record, leadNames, signals, warnings: [...record.warnings, ...doubts] };
}

/** The part of a record that is looked at, with a warning where it is not all of it. */
export function analysed(found: EcgRecord): EcgRecord {
  const record = whereAllLeadsAre(found);
  const count = Math.trunc(MAX_ANALYSED_S * record.rateHz);
  if (record.signals[0]!.length <= count) return record;
  return {
    ...record,
    signals: record.signals.map((signal) => signal.slice(0, count)),
    warnings: [...record.warnings, `Only the first ${MAX_ANALYSED_S / 60} minutes of the ECG were looked at.`],
  };
}

/** The record without its ends where one of the twelve leads has no samples. */
function whereAllLeadsAre(record: EcgRecord): EcgRecord {
  const used = record.signals.filter((_, k) => STANDARD.has(record.leadNames[k]!.trim().toLowerCase()));
  const count = record.signals[0]!.length;
  const isWhole = (i: number): boolean => used.every((signal) => Number.isFinite(signal[i]!));
  let first = 0, end = count;
  while (first < count && !isWhole(first)) first++;
  while (end > first && !isWhole(end - 1)) end--;
  const most = Math.max(first, count - end);
  if (!used.length || end === first || most === 0 || most > MAX_ENDS_S * record.rateHz) return record;
  return {
    ...record,
    signals: record.signals.map((signal) => signal.slice(first, end)),
    warnings: [...record.warnings, "At an end of the ECG not all leads have samples: that part was not looked at."],
  };
}

// ---- names of leads

export const STANDARD = new Map<string, string>(LEADS.map((lead) => [lead.toLowerCase(), lead]));
const SEPARATOR = "(?:-|\\s+-\\s+|[\\s_:.]*)";
const DERIVATION = "d[e\u00e9?]riv(?:aci[o\u00f3?]n|a[c\u00e7?][a\u00e3?]o|ation|azione)?";
const PREFIXED = new RegExp(
  `^(?:mdc${SEPARATOR})?(?:(?:ecg|ekg)${SEPARATOR})?(?:(?:lead|abl(?:eitung)?|${DERIVATION}|kanal|channel)${SEPARATOR})?(?:D(?=I))?` +
    "(III|II|I|aV[RLF]|V[1-6])(?:\\s*[(\\[][nu\u00b5\u03bcm]?V[)\\]])?$", "i");

/** The standard name of a lead whose name has a usual prefix; every other name as it is. */
export function standardLead(name: string): string {
  const stripped = name.trim();
  if (STANDARD.has(stripped.toLowerCase())) return name;
  const match = PREFIXED.exec(stripped);
  return match ? STANDARD.get(match[1]!.toLowerCase())! : name;
}

function standardLeads(names: readonly string[]): string[] {
  const taken = new Set(names.map((name) => name.trim().toLowerCase()));
  return names.map((name) => {
    let standard = standardLead(name);
    if (standard !== name && taken.has(standard.toLowerCase())) standard = name;
    taken.add(standard.trim().toLowerCase());
    return standard;
  });
}

// ---- the calibration pulse at an end of a recording

const TOLERANCE_MV = 0.02;
const ALIKE_MV = 0.03;
const EXACT_MV = 1e-6;
const LEAST_S = 0.08;
const HEIGHTS_MV = [0.4, 2.1] as const;
const MOST_S = 2;
const DERIVED = new Set(["iii", "avr", "avl", "avf"]);

function withoutCalibration(signals: Signals, rateHz: number, names: readonly string[]): [Signals, string[]] {
  const folded = names.map((name) => name.trim().toLowerCase());
  let used = folded.flatMap((name, i) => (STANDARD.has(name) ? [i] : []));
  const measured = used.filter((i) => !DERIVED.has(folded[i]!));
  if (measured.length === STANDARD.size - DERIVED.size) used = measured;
  if (used.length < 2) return [signals, []];
  let doubts: string[] = [];
  for (const backward of [true, false]) {
    const [count, height] = pulse(used.map((i) => signals[i]!), rateHz, backward);
    if (!count) continue;
    signals = signals.map((signal) => (backward ? signal.slice(0, -count) : signal.slice(count)));
    if (Math.abs(height - 1) > TOLERANCE_MV)
      doubts = [`The calibration pulse of the ECG is ${fixed(height, 2)} mV high, which should be 1.`];
  }
  return [signals, doubts];
}

/** Length of the pulse with its zeros at an end, in samples, and its height. Converters take the mean of
 * each lead away, pulse included: then all but its base is alike. */
function pulse(leads: Signals, rateHz: number, backward: boolean): [number, number] {
  const samples = leads[0]!.length;
  const ahead = Math.min(Math.trunc(MOST_S * rateHz), samples);
  const rows = Array.from({ length: ahead }, (_, i) => leads.map((lead) => lead[backward ? samples - 1 - i : i]!));
  const found = pulseOf(rows, rateHz);
  const base = rows.find((at) => at.every(Number.isFinite));
  if (found[0] || !base?.some(Boolean)) return found;
  return pulseOf(rows.map((at) => at.map((value, k) => value - base[k]!)), rateHz);
}

function pulseOf(rows: readonly number[][], rateHz: number): [number, number] {
  const spread: number[] = [], middle: number[] = [];
  for (const at of rows) {
    const known = at.every(Number.isFinite);
    const [low, high] = known ? extremes(at) : [0, 0];
    spread.push(high - low);
    middle.push(known ? median(at) : 0);
  }
  const alike = spread.findIndex((value) => value > ALIKE_MV);
  if (alike < 0) return [0, 0];
  const size = middle.slice(0, alike).map(Math.abs), most = size.reduce((one, two) => Math.max(one, two), 0);
  const top = size.filter((value) => value > most / 2); // a filter lets its corners overshoot
  const height = top.length ? median(top) : 0;
  if (!(height >= HEIGHTS_MV[0] && height <= HEIGHTS_MV[1])) return [0, 0];
  const plateau = size.flatMap((value, i) => (Math.abs(value - height) <= ALIKE_MV ? [i] : []));
  if (plateau.length < LEAST_S * rateHz) return [0, 0];
  let end = plateau.at(-1)! + 1;
  while (end < alike && Math.abs(middle[end]!) > ALIKE_MV) end++;
  while (end < alike && spread[end]! <= EXACT_MV && Math.abs(middle[end]!) <= ALIKE_MV) end++;
  return [end, height];
}
