/** The ECG of a study as the network will see it, and what was decided about it: evidence.py and gap.py
 * of scarseg_infer/ecg, taff.py of the runtime. */

import { EcgError } from "../errors";
import { DAY_MS, dayOf } from "../moment";
import { meanBeat, type MeanBeat } from "../signal/mean_beat";
import { assess, type EcgQuality } from "../signal/quality";
import type { Stack } from "../study/stack";
import { capital, fixed, general } from "../words";
import { analysed, type EcgRecord } from "./record";

const AGREEMENT_DAYS = 1;
const PLACEHOLDERS =
  "MRI and ECG bear the same 1 January, as anonymisers write it in place of dates: these do not count for the time gap.";

const ONE_MOMENT =
  "MRI and ECG bear the very same date and time, which no two recordings have: these do not count for the time gap.";
const MOST_YEARS = 40;
const DAYS_PER_YEAR = 365.25;

const SAME_SIGNS = 4;
const OF_NOBODY = new Set((
  "0 anon anonym anonyme anonymised anonymisiert anonymize anonymized anonymous anonymouspatient " +
  "anonimo deidentified desconocido hidden id inconnu masked na noid nobody noname none null patient " +
  "patientid redacted removed unbekannt undefined unidentified unknown x xx xxx").split(" "));

export type GapSource = "timestamps" | "dates" | "given" | "unknown";
export interface Gap { days: number | null; source: GapSource; warnings: string[]; ecgAfterMri: boolean }
export interface Decision { valid: boolean; gapDays: number; reason: string }

export interface Evidence {
  record: EcgRecord | null;
  beat: MeanBeat | null;
  quality: EcgQuality | null;
  gap: Gap;
  decision: Decision;
  warnings: string[];
}

/** Prepare the ECG and decide whether it may count. Throws EcgError. */
export function ecgEvidence(stack: Stack, found: EcgRecord | null, givenDays: number | null, imageOnly: boolean): Evidence {
  const record = found && analysed(found);
  const gap = gapBetween(stack, record, givenDays);
  if (!record)
    return { record: null, beat: null, quality: null, gap, decision: decide(gap.days, false, []), warnings: gap.warnings };
  checkIdentity(stack.patientId, record.patientId);
  const beat = meanBeat(record.signals, record.rateHz, record.leadNames);
  const quality = assess(record.signals, record.rateHz, record.leadNames, beat);
  const findings = [...quality.findings, ...(imageOnly ? ["this model looks at the image only"] : [])];
  const decision = decide(gap.days, true, findings);
  return {
    record, beat, quality, gap, decision,
    warnings: [
      ...record.warnings, ...beat.warnings, ...quality.warnings, ...gap.warnings,
      ...(gap.ecgAfterMri ? ["The ECG was recorded after the MRI: it may show what the image cannot."] : []),
      ...(decision.valid ? [] : [`${capital(decision.reason)}.`]),
    ],
  };
}

function gapBetween(stack: Stack, ecg: EcgRecord | null, given: number | null): Gap {
  const mri = stack.acquired, recorded = ecg?.recorded ?? null;
  if (!mri || !recorded)
    return { days: given, source: given === null ? "unknown" : "given", warnings: [], ecgAfterMri: false };
  const dateOnly = ecg!.dateOnly || stack.dateOnly;
  const placeholders = dayOf(mri.at) === dayOf(recorded.at) && isFirstOfYear(mri.at);
  if (placeholders || (mri.at === recorded.at && !dateOnly)) {
    const warnings = [placeholders ? PLACEHOLDERS : ONE_MOMENT];
    return { days: given, source: given === null ? "unknown" : "given", warnings, ecgAfterMri: false };
  }
  let signed: number;
  if (dateOnly) signed = (dayOf(mri.at) - dayOf(recorded.at)) / DAY_MS;
  else {
    const zones = mri.zone !== null && recorded.zone !== null ? (mri.zone - recorded.zone) * 60_000 : 0;
    signed = (mri.at - recorded.at - zones) / DAY_MS;
  }
  const days = Math.abs(signed);
  const warnings = ([["MRI", mri], ["ECG", recorded]] as const).flatMap(([who, { at }]) => (isFirstOfYear(at) ? [
    `The ${who} bears 1 January, as anonymisers write it in place of a date: check the time gap, or give it ` +
      "(gap_days, --gap-days) and leave the date out.",
  ] : []));
  if (days > MOST_YEARS * DAYS_PER_YEAR)
    warnings.push(`The dates of MRI and ECG lie ${fixed(days / DAYS_PER_YEAR, 0)} years apart: one of them is hardly a real ` +
      "one (the clock of a device, another calendar, an anonymiser).");
  if ((mri.zone === null) !== (recorded.zone === null))
    warnings.push("Only one of the times of MRI and ECG has a time zone. Both were taken for clocks of one place: the " +
      "time gap may be wrong by some hours.");
  if (given !== null && !(Math.abs(days - given) <= AGREEMENT_DAYS))
    warnings.push(`The given gap of ${general(given)} days contradicts the dates of MRI and ECG, which lie ` +
      `${fixed(days, 1)} days apart: the dates are used.`);
  return { days, source: dateOnly ? "dates" : "timestamps", warnings, ecgAfterMri: signed < 0 };
}

function isFirstOfYear(at: number): boolean {
  const day = new Date(dayOf(at));
  return day.getUTCMonth() === 0 && day.getUTCDate() === 1;
}

/** The gap policy: what is unknown is never taken for zero. */
function decide(gapDays: number | null, given: boolean, findings: readonly string[]): Decision {
  const no = (reason: string): Decision => ({ valid: false, gapDays: 0, reason });
  if (!given) return no("no ECG was given, so the result is from the image alone");
  if (findings.length) return no(`the ECG was not used: ${findings.join("; ")}`);
  if (gapDays === null) return no("the ECG was not used: the time between ECG and MRI is unknown");
  if (!Number.isFinite(gapDays)) return no("the ECG was not used: the time between ECG and MRI is not a finite number");
  if (gapDays < 0) return no("the ECG was not used: the time between ECG and MRI is negative");
  return { valid: true, gapDays, reason: `the ECG was weighted by its age, ${fixed(gapDays, 1)} days` };
}

function checkIdentity(mri: string | null, ecg: string | null): void {
  const [one, two] = [mri, ecg].map((id) => {
    const text = (id ?? "").trim().toLowerCase();
    const signs = text.replace(/[^\p{L}\p{N}]/gu, "");
    const alike = new Set(signs).size === 1 && signs.length >= SAME_SIGNS;
    return !signs || alike || OF_NOBODY.has(signs) ? "" : text;
  });
  if (one && two && one !== two)
    throw new EcgError("ECG and MRI carry different patient identifiers", "Check that both files are of this patient");
}
