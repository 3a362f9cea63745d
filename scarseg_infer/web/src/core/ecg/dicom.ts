/** A DICOM ECG waveform object → an ECG record: scarseg_infer/ecg/dicom.py, channel_samples.py and
 * channel_time.py. */

import { LEADS } from "../contract";
import { EcgError } from "../errors";
import { DeflatedError, parse, type Header, type Keyword } from "../study/dicom/parse";
import { SEVERAL_DAYS, acquisitionTime, hasBadClock } from "../study/dicom/time";
import { DAY_MS } from "../moment";
import type { Signals } from "../signal/clean";
import { NO_CLOCK } from "./date";
import { MAX_ECG_BYTES, MV_PER_UNIT, STANDARD, TOO_LONG, checkTiming, checked, standardLead, type EcgRecord } from "./record";

const CLASS_ROOT = "1.2.840.10008.5.1.4.1.1.9.1.";
const CLASSES = new Set(["1.1", "1.2", "1.3", "1.4"].map((part) => `1.2.840.10008.5.1.4.1.1.9.${part}`));
const MAX_CHANNELS = 64;
const MAX_GROUPS = 64;
const SAME_SAMPLES = 0.02;
const LEAST_SHARE = 0.5;
const EXPORT_AGAIN = "Export the ECG again";
const TOGETHER = "Export the simultaneous recording of all leads";
const DAMAGED = new EcgError("the DICOM ECG is damaged or cut short", EXPORT_AGAIN);
const AVERAGED = /median|average|template|representative|beat/i;
const LEAD_TEXT = /^(?:(?:ecg\s+)?lead\s+)?(III|II|I|aV[RLF]|V[1-6])(?![\w'+-])(.*)$/i;
const ANOTHER_LEAD = /\b(?:R|right|post\w*|inver\w*|neg\w*|minus|V\d\w*)\b|[=/]|\(\s*-/i;
const AUGMENTED = /augmented\s+voltage,?\s+right/i;
const NUMBERS = [1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8];
const BY_CODE = new Map(LEADS.flatMap((lead, i) => [
  [`MDC 2:${NUMBERS[i]}`, lead], [`SCPECG 5.6.3-9-${NUMBERS[i]}`, lead],
]));

interface Group { signals: Signals; leadNames: string[]; rateHz: number; offsetMs: number; averaged: boolean }

/** Is the file an ECG waveform object? Cheap for those that are not. */
export const isDicomEcg = (bytes: Uint8Array): boolean =>
  new TextDecoder("latin1").decode(bytes.subarray(0, 8192)).includes(CLASS_ROOT);

/** Read a 12-Lead, General or Ambulatory ECG waveform object. Throws EcgError. */
export function readDicomEcg(bytes: Uint8Array): EcgRecord {
  if (bytes.length > MAX_ECG_BYTES)
    throw new EcgError(`the DICOM ECG is larger than ${MAX_ECG_BYTES >> 20} MB`, TOO_LONG);
  let header: Header;
  let groups: Group[];
  try {
    header = parse(bytes);
    const sopClass = header.text("SOPClassUID") || header.text("MediaStorageSOPClassUID");
    if (!CLASSES.has(sopClass))
      throw new EcgError("the DICOM file is not an ECG waveform", "Give a 12-lead or general ECG waveform object");
    groups = groupsOf(header);
  } catch (error) {
    if (error instanceof EcgError) throw error;
    if (error instanceof DeflatedError)
      throw new EcgError("the DICOM ECG is compressed as a whole (Deflated Explicit VR), which is not supported", "Export it uncompressed");
    throw DAMAGED;
  }
  const group = choose(groups);
  return checked({ ...when(header), signals: group.signals, rateHz: group.rateHz, leadNames: group.leadNames,
    source: "dicom", patientId: header.text("PatientID") || null });
}

function groupsOf(header: Header): Group[] {
  const items = header.items("WaveformSequence");
  if (!items.length) throw DAMAGED;
  if (items.length > MAX_GROUPS)
    throw new EcgError(`the DICOM ECG holds more than ${MAX_GROUPS} groups of channels`, "Export the rhythm ECG alone");
  const bigEndian = header.transferSyntax === "1.2.840.10008.1.2.2";
  return items.map((item) => groupOf(item, bigEndian));
}

function groupOf(item: Header, bigEndian: boolean): Group {
  const channels = item.items("ChannelDefinitionSequence");
  const rateHz = checkedRate(item, channels.length);
  const signals = inUnits(item, channels, bigEndian);
  const names = channels.map(leadName);
  const factors = channels.map(mvPerUnit);
  names.forEach((name, i) => {
    if (factors[i] === null && STANDARD.has(name.toLowerCase()))
      throw new EcgError(`lead ${name} of the ECG is in no unit of voltage`, EXPORT_AGAIN);
  });
  const kept = factors.flatMap((factor, i) => (factor === null ? [] : [i]));
  const scaled = kept.map((i) => signals[i]!.map((value) => value * factors[i]!));
  if (scaled.some((signal) => signal.some((value) => Math.abs(value) === Infinity)))
    throw new EcgError("the DICOM ECG holds impossible voltages", EXPORT_AGAIN);
  return {
    signals: atOneTime(scaled, rateHz, kept.map((i) => delayS(channels[i]!, rateHz))),
    leadNames: kept.map((i) => names[i]!),
    rateHz,
    offsetMs: stated(item, "MultiplexGroupTimeOffset", 0),
    averaged: AVERAGED.test(item.text("MultiplexGroupLabel")),
  };
}

function checkedRate(item: Header, channels: number): number {
  const count = item.number("NumberOfWaveformChannels"), samples = item.number("NumberOfWaveformSamples");
  const rateHz = stated(item, "SamplingFrequency", 0);
  if (rateHz <= 0) throw new EcgError("the DICOM ECG gives no sampling rate", EXPORT_AGAIN);
  if (count === null || samples === null || count < 1 || count > MAX_CHANNELS || channels !== count || samples < 1)
    throw new EcgError("the DICOM ECG contradicts itself about its channels", EXPORT_AGAIN);
  checkTiming(samples, rateHz);
  return rateHz;
}

/** Samples of each channel: words × sensitivity + baseline, NaN where padded. */
function inUnits(item: Header, channels: readonly Header[], bigEndian: boolean): Signals {
  const interpretation = item.text("WaveformSampleInterpretation");
  if (interpretation === "MB" || interpretation === "AB")
    throw new EcgError("the DICOM ECG holds samples that are not linear (µ-law, A-law)", EXPORT_AGAIN);
  const kinds: Record<string, [number, boolean]> = {
    SB: [1, true], UB: [1, false], SS: [2, true], US: [2, false], SL: [4, true], UL: [4, false],
  };
  const kind = kinds[interpretation];
  const data = item.raw("WaveformData");
  const samples = item.number("NumberOfWaveformSamples")!;
  if (!kind || !data || item.number("WaveformBitsAllocated") !== kind[0] * 8) throw DAMAGED;
  const [size, signed] = kind;
  if (data.length < samples * channels.length * size) throw DAMAGED;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const word = (at: number): number => {
    if (size === 1) return signed ? view.getInt8(at) : view.getUint8(at);
    if (size === 2) return signed ? view.getInt16(at, !bigEndian) : view.getUint16(at, !bigEndian);
    return signed ? view.getInt32(at, !bigEndian) : view.getUint32(at, !bigEndian);
  };
  const padding = paddingOf(item, size, signed, bigEndian);
  return channels.map((channel, k) => {
    const stored = channel.number("WaveformBitsStored");
    const room = size * 8;
    if (stored !== null && stored < room && (!Number.isInteger(stored) || stored <= 1))
      throw new EcgError(`the DICOM ECG says that ${stored} of ${room} bits are used (WaveformBitsStored)`, EXPORT_AGAIN);
    const bits = stored === null || stored >= room ? room : stored;
    const has = channel.has("ChannelSensitivity");
    const scale = has ? stated(channel, "ChannelSensitivity", 1) * stated(channel, "ChannelSensitivityCorrectionFactor", 1) : 1;
    if (scale === 0) throw new EcgError("the DICOM ECG has a channel whose sensitivity is zero", EXPORT_AGAIN);
    const baseline = has ? stated(channel, "ChannelBaseline", 0) : 0;
    return Float64Array.from({ length: samples }, (_, i) => {
      const raw = word((i * channels.length + k) * size);
      if (padding && raw === padding) return NaN;
      return valueBits(raw, bits, signed) * scale + baseline;
    });
  });
}

/** The value in a word whose upper bits may hold something else, with its sign. */
function valueBits(word: number, bits: number, signed: boolean): number {
  const low = ((word % 2 ** bits) + 2 ** bits) % 2 ** bits;
  return signed && low >= 2 ** (bits - 1) ? low - 2 ** bits : low;
}

function stated(channel: Header, keyword: Keyword, absent: number): number {
  if (!channel.place(keyword)?.element.length) return absent;
  const value = channel.number(keyword);
  if (value === null) throw new EcgError(`the DICOM ECG has a ${keyword} that is no number`, EXPORT_AGAIN);
  return value;
}

function paddingOf(item: Header, size: number, signed: boolean, bigEndian: boolean): number | null {
  const bytes = item.raw("WaveformPaddingValue");
  if (!bytes || bytes.length < size) return null;
  let value = 0;
  for (let k = 0; k < size; k++) value = value * 256 + bytes[bigEndian ? k : size - 1 - k]!;
  return signed ? valueBits(value, size * 8, true) : value;
}

/** Delay of a channel against its group, in seconds. */
function delayS(channel: Header, rateHz: number): number {
  const [time, samples, offset] = (["ChannelTimeSkew", "ChannelSampleSkew", "ChannelOffset"] as const).map((keyword) => {
    const value = stated(channel, keyword, NaN);
    return Number.isNaN(value) ? null : value;
  }) as [number | null, number | null, number | null];
  if (time !== null && samples !== null && Math.abs(time * rateHz - samples) > 0.5)
    throw new EcgError("the DICOM ECG gives two different time skews of a channel", TOGETHER);
  return (time ?? (samples ?? 0) / rateHz) + (offset ?? 0);
}

/** The part that all channels have in common, each moved by its delay. */
function atOneTime(signals: Signals, rateHz: number, delaysS: readonly number[]): Signals {
  const delays = delaysS.map((delay) => delay * rateHz);
  const first = Math.min(...delays), last = Math.max(...delays);
  if (!delays.length || last - first <= SAME_SAMPLES) return signals;
  const late = Math.ceil(last - first - SAME_SAMPLES);
  const count = signals[0]!.length - late;
  if (count < LEAST_SHARE * signals[0]!.length)
    throw new EcgError("the leads of the ECG were not recorded at the same time", TOGETHER);
  return signals.map((signal, k) => {
    const start = late - (delays[k]! - first);
    const whole = Math.floor(start + SAME_SAMPLES);
    const part = start - whole;
    if (part <= SAME_SAMPLES) return signal.slice(whole, whole + count);
    return Float64Array.from({ length: count }, (_, i) => (1 - part) * signal[whole + i]! + part * signal[whole + i + 1]!);
  });
}

function leadName(channel: Header): string {
  const source = channel.items("ChannelSourceSequence")[0];
  const scheme = source?.text("CodingSchemeDesignator") ?? "";
  const coded = BY_CODE.get(`${scheme} ${source?.text("CodeValue") ?? ""}`);
  const meaning = source?.text("CodeMeaning") ?? "", label = channel.text("ChannelLabel");
  if (coded) {
    if (![null, coded].includes(leadInWords(label)))
      throw new EcgError("the DICOM ECG gives a channel the names of two leads", EXPORT_AGAIN);
    return coded;
  }
  const named = scheme !== "MDC" && scheme !== "SCPECG" ? leadInWords(meaning) ?? leadInWords(label) : null;
  return named ?? (meaning || label);
}

function leadInWords(word: string): string | null {
  const match = LEAD_TEXT.exec(standardLead(word));
  if (!match || ANOTHER_LEAD.test(match[2]!.replace(AUGMENTED, ""))) return null;
  return STANDARD.get(match[1]!.toLowerCase())!;
}

function mvPerUnit(channel: Header): number | null {
  if (!channel.has("ChannelSensitivity")) return null;
  const unit = channel.items("ChannelSensitivityUnitsSequence")[0]?.text("CodeValue") ?? "";
  return MV_PER_UNIT.get(unit.replace(/[µμ]/g, "u").toLowerCase()) ?? null;
}

const standardCount = (group: Group): number =>
  new Set(group.leadNames.filter((name) => (LEADS as readonly string[]).includes(name))).size;

function choose(groups: readonly Group[]): Group {
  const recordings = joined(groups.filter((group) => !group.averaged && group.leadNames.length));
  if (!recordings.length) throw new EcgError("the DICOM ECG holds no recording of leads", "Export the rhythm ECG with it");
  return recordings.reduce((a, b) =>
    (standardCount(b) - standardCount(a) || b.signals[0]!.length - a.signals[0]!.length) > 0 ? b : a);
}

/** Groups of different leads that were sampled at the same rate and in the same time, side by side. */
function joined(groups: readonly Group[]): Group[] {
  const found: Group[] = [];
  for (const group of groups) {
    const at = found.findIndex((other) => other.rateHz === group.rateHz &&
      !group.leadNames.some((name) => other.leadNames.includes(name)) && sideBySide(other, group) !== null);
    if (at < 0) found.push(group);
    else found[at] = sideBySide(found[at]!, group)!;
  }
  return found;
}

/** Two groups of one rate as one; null where they have too little time in common. */
function sideBySide(first: Group, second: Group): Group | null {
  const parts = [first, second];
  const most = Math.max(...parts.map((part) => part.signals[0]!.length));
  const padded = parts.flatMap((part) => part.signals.map((signal) => {
    const wide = new Float64Array(most).fill(NaN);
    wide.set(signal);
    return wide;
  }));
  const delays = parts.flatMap((part) => part.leadNames.map(() => part.offsetMs / 1000));
  let signals: Signals;
  try {
    signals = atOneTime(padded, first.rateHz, delays);
  } catch {
    return null;
  }
  const ends = signals.map((signal) => signal.findLastIndex((value) => !Number.isNaN(value)) + 1).filter(Boolean);
  const last = ends.length ? Math.min(...ends) : 0;
  if (last < LEAST_SHARE * most || last === 0) return null;
  return {
    ...first, signals: signals.map((signal) => signal.slice(0, last)),
    leadNames: [...first.leadNames, ...second.leadNames], offsetMs: Math.max(first.offsetMs, second.offsetMs),
  };
}

/** From the acquisition alone; a time of exactly midnight stands for none. */
function when(header: Header): Pick<EcgRecord, "recorded" | "dateOnly" | "warnings"> {
  const { acquired, dateOnly, warnings } = acquisitionTime([header], [["AcquisitionDate", "AcquisitionTime"]]);
  if (acquired) {
    const midnight = acquired.at % DAY_MS === 0;
    return {
      recorded: acquired, dateOnly: dateOnly || midnight,
      warnings: dateOnly && hasBadClock(header) ? [NO_CLOCK] : [],
    };
  }
  if (warnings.includes(SEVERAL_DAYS))
    return { recorded: null, dateOnly: false, warnings: ["The ECG file gives two different dates: the time gap is unknown."] };
  return { recorded: null, dateOnly: false, warnings: warnings.length ? ["The ECG's date is not a date: the time gap is unknown."] : [] };
}
