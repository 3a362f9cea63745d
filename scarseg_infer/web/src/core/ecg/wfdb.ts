/** Reading an ECG from a WFDB record: header(5) and signal(5) of the WFDB Applications Guide; as
 * scarseg_infer/ecg/wfdb. */

import { EcgError } from "../errors";
import type { DroppedFile } from "../files";
import { recordedAt } from "./date";
import { MAX_ECG_BYTES, MV_PER_UNIT, STANDARD, TOO_LONG, checkTiming, checked, type EcgRecord } from "./record";

const MAX_HEADER_BYTES = 1 << 20;
const MAX_SIGNALS = 64;
const EXPORT_AGAIN = "Export the ECG again as a WFDB record";
const NOT_UNDERSTOOD = new EcgError("the ECG header or its data cannot be understood", EXPORT_AGAIN);
const DEFAULT_GAIN = 200;
const BITS: Record<string, number> = { 80: 8, 16: 16, 61: 16, 160: 16, 24: 24, 32: 32, 212: 12, 310: 10, 311: 10 };
const BYTES: Record<string, number> = { 212: 3 / 2, 310: 4 / 3, 311: 4 / 3 };

interface Signal {
  file: string;
  fmt: string;
  perFrame: number;
  skew: number;
  offset: number;
  gain: number;
  baseline: number;
  unit: string;
  checksum: number | null;
  name: string;
}

/** Read the record whose header is `header` among the files. Throws EcgError. */
export function readWfdb(header: DroppedFile, files: readonly DroppedFile[]): EcgRecord {
  if (header.bytes.length > MAX_HEADER_BYTES)
    throw new EcgError("the ECG header is far too large for a WFDB header", EXPORT_AGAIN);
  const written = decoded(header.bytes).replace(/[µμ]V/g, "uV").split(/\r\n|\r|\n/).map((line) => line.trim());
  const [record, ...lines] = checkedLines(written);
  const warnings: string[] = [];
  if (lines.some((line) => !/^-?[0-9.]*[1-9]/.test(line.split(/\s+/)[2] ?? "")))
    warnings.push("The ECG header gives no gain for some leads; 200 per mV is assumed.");
  const fields = record!.split(/\s+/);
  const rateHz = Number((fields[2] ?? "").split("/")[0]);
  const signals = lines.map(parseSignal);
  const stated = Number(fields[3] ?? 0) || null;
  if (!(rateHz > 0)) throw new EcgError("the ECG header gives no sampling rate", EXPORT_AGAIN);
  checkLayout(signals, stated ?? 1, rateHz);
  const samples = readSamples(signals, stated, rateHz, beside(header, files));
  const when = recordedAt(fields.slice(4), written);
  warnings.push(...when.warnings);
  if (signals.some((signal, k) => isDamaged(signal, samples[k]!)))
    warnings.push("The ECG samples do not match the checksums in the header.");
  for (const { name, unit } of signals)
    if (!MV_PER_UNIT.has(unit.toLowerCase()) && STANDARD.has(name.toLowerCase()))
      throw new EcgError(`lead ${STANDARD.get(name.toLowerCase())} of the ECG is not in volts`, EXPORT_AGAIN);
  const kept = signals.flatMap((signal, k) => (MV_PER_UNIT.has(signal.unit.toLowerCase()) ? [k] : []));
  return checked({
    signals: kept.map((k) => {
      const factor = MV_PER_UNIT.get(signals[k]!.unit.toLowerCase())!;
      return physical(signals[k]!, samples[k]!).map((value) => value * factor);
    }),
    rateHz,
    leadNames: kept.map((k) => signals[k]!.name),
    recorded: when.when,
    dateOnly: when.dateOnly,
    source: "wfdb",
    warnings,
    patientId: null,
  });
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("latin1").decode(bytes);
  }
}

/** Lines without comments, of a header that can be one of a single record. */
function checkedLines(written: readonly string[]): string[] {
  const lines = written.filter((line) => line && !line.startsWith("#"));
  const record = (lines[0] ?? "").split(/\s+/);
  if (record.length < 2 || !/^[0-9]{1,6}$/.test(record[1]!))
    throw new EcgError("the ECG header is not a WFDB header", EXPORT_AGAIN);
  if (/\/[0-9]{1,9}$/.test(record[0]!) && lines.slice(1).every((line) => line.split(/\s+/).length <= 2))
    throw new EcgError("the ECG is a multi-segment record", "Export one segment of it");
  if (!/^[0-9]+(\.[0-9]*)?(\/\S*)?( [0-9]+)?$/.test(record.slice(2, 4).join(" ")))
    throw new EcgError("the ECG header gives no sampling rate or length", EXPORT_AGAIN);
  if (lines.some((line) => /[0-9]{25}/.test(line)))
    throw new EcgError("the ECG header holds impossible numbers", EXPORT_AGAIN);
  const count = Number(record[1]);
  if (lines.length - 1 !== count || count < 1 || count > MAX_SIGNALS)
    throw new EcgError(`the ECG header announces ${count} signals and describes ${lines.length - 1}`, EXPORT_AGAIN);
  return lines;
}

function parseSignal(line: string): Signal {
  const [file, coded, ...rest] = line.split(/\s+/) as [string, string?, ...string[]];
  const stored = /^(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$/.exec(coded ?? "");
  if (!stored) throw NOT_UNDERSTOOD;
  let gain = DEFAULT_GAIN;
  let baseline: number | null = null;
  let unit = "mV";
  const first = rest[0];
  const scale = first === undefined ? null
    : /^(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?(?:\((-?\d+)\))?(?:\/(\S+))?$/.exec(first);
  if (scale) {
    gain = Number(scale[1] ?? 0) || DEFAULT_GAIN;
    baseline = scale[2] === undefined ? null : Number(scale[2]);
    unit = scale[3] ?? "mV";
    rest.shift();
  } else if (first !== undefined && /[/(]|^(nan|inf)/i.test(first)) throw NOT_UNDERSTOOD;
  const numbers: number[] = [];
  while (numbers.length < 5 && rest.length && /^-?\d+$/.test(rest[0]!)) numbers.push(Number(rest.shift()));
  const middle = baseline ?? numbers[1] ?? 0;
  if (Math.abs(middle) >= 2 ** 32) throw NOT_UNDERSTOOD;
  return {
    file, fmt: stored[1]!, perFrame: Number(stored[2] ?? 1), skew: Number(stored[3] ?? 0),
    offset: Number(stored[4] ?? 0), gain, baseline: middle, unit,
    checksum: numbers[3] ?? null, name: rest.join(" "),
  };
}

function checkLayout(signals: readonly Signal[], frames: number, rateHz: number): void {
  const unknown = signals.map((one) => one.fmt).filter((fmt) => !(fmt in BITS)).sort();
  if (unknown.length)
    throw new EcgError(
      `the ECG's storage format ${unknown[0]} is not supported in the browser`,
      "Convert the record to format 16, for example with WFDB's xform, or use the command line",
    );
  if (new Set(signals.map((one) => `${one.file} ${one.fmt}`)).size > new Set(signals.map((one) => one.file)).size)
    throw new EcgError("the ECG header gives one data file several formats", EXPORT_AGAIN);
  checkTiming(frames, rateHz);
  if (signals.some((one) => one.perFrame < 1)) throw new EcgError("the ECG header gives a lead no samples", EXPORT_AGAIN);
  if (signals.some((one) => one.skew > rateHz))
    throw new EcgError("the ECG header shifts leads by more than a second", EXPORT_AGAIN);
}

/** Find a header's data files among those that were dropped: beside it, or, where files
 * came without folders, by their name. */
function beside(header: DroppedFile, files: readonly DroppedFile[]): (name: string) => DroppedFile | undefined {
  const folder = header.path.slice(0, header.path.lastIndexOf("/") + 1);
  return (name) => {
    const last = name.split(/[/\\]/).at(-1)!;
    if (!last || last.startsWith(".") || /[:\0]/.test(last))
      throw new EcgError(
        "the ECG header names a data file outside its own folder",
        "Put header and data files into one folder and correct the header",
      );
    return files.find((file) => file.path === folder + last);
  };
}

function readSamples(
  signals: readonly Signal[], stated: number | null, rateHz: number,
  find: (name: string) => DroppedFile | undefined,
): Int32Array[] {
  const names = [...new Set(signals.map((one) => one.file))];
  let frames = stated;
  let total = 0;
  const found = new Map<number, Int32Array>();
  names.forEach((name, index) => {
    const where = `data file ${index + 1} of ${names.length} of the ECG record`;
    const file = find(name);
    if (!file) throw new EcgError(`${where} is missing`, "Drop it together with the header");
    const places = signals.flatMap((one, k) => (one.file === name ? [k] : []));
    const perFrame = places.reduce((n, k) => n + signals[k]!.perFrame, 0);
    const { fmt, offset } = signals[places[0]!]!;
    const needed = bytesOf(fmt, (frames ?? 1) * perFrame) + offset;
    if (file.bytes.length < needed)
      throw new EcgError(`${where} is cut short: ${file.bytes.length} of ${needed} bytes`, "Copy or export it again");
    total += file.bytes.length;
    if (total > MAX_ECG_BYTES)
      throw new EcgError(`the ECG record holds more than ${MAX_ECG_BYTES >> 20} MB of samples`, TOO_LONG);
    if (frames === null) {
      const held = Math.floor((file.bytes.length - offset) / (BYTES[fmt] ?? BITS[fmt]! / 8));
      frames = Math.floor(held / perFrame);
      checkTiming(frames, rateHz);
    }
    const stored = unpacked(fmt, file.bytes.subarray(offset), frames * perFrame);
    let first = 0;
    for (const k of places) {
      const each = signals[k]!.perFrame;
      const values = new Int32Array(frames * each);
      for (let i = 0; i < values.length; i++)
        values[i] = stored[Math.floor(i / each) * perFrame + first + (i % each)]!;
      found.set(k, values);
      first += each;
    }
  });
  return signals.map((_, k) => found.get(k)!);
}

function bytesOf(fmt: string, samples: number): number {
  if (fmt === "310" && samples % 3 === 2) return Math.floor(samples / 3) * 4 + 4;
  return Math.ceil(samples * (BYTES[fmt] ?? BITS[fmt]! / 8) - 1e-9);
}

function unpacked(fmt: string, bytes: Uint8Array, count: number): Int32Array {
  const at = (i: number): number => bytes[i] ?? 0;
  const word = (i: number): number => at(i) | (at(i + 1) << 8);
  const read: Record<string, (i: number) => number> = {
    80: (i) => at(i) - 128,
    16: (i) => (word(2 * i) << 16) >> 16,
    61: (i) => ((at(2 * i) << 8) | at(2 * i + 1)) << 16 >> 16,
    160: (i) => word(2 * i) - 32768,
    24: (i) => (word(3 * i) | (at(3 * i + 2) << 16)) << 8 >> 8,
    32: (i) => word(4 * i) | (word(4 * i + 2) << 16),
    212: (i) => {
      const first = 3 * (i >> 1);
      const value = i % 2 ? at(first + 2) | (at(first + 1) >> 4) << 8 : at(first) | (at(first + 1) & 0x0f) << 8;
      return value << 20 >> 20;
    },
    310: (i) => {
      const first = 4 * Math.floor(i / 3), one = word(first), two = word(first + 2);
      const value = [(one >> 1) & 0x3ff, (two >> 1) & 0x3ff, (one >> 11) | ((two >> 11) << 5)][i % 3]!;
      return value << 22 >> 22;
    },
    311: (i) => {
      const first = 4 * Math.floor(i / 3), low = word(first), high = word(first + 2);
      const value = [low & 0x3ff, (low >> 10) | ((high & 0x0f) << 6), (high >> 4) & 0x3ff][i % 3]!;
      return value << 22 >> 22;
    },
  };
  return Int32Array.from({ length: count }, (_, i) => read[fmt]!(i));
}

/** A signal in its unit, one value a frame: NaN where no sample is, its skew taken off. */
function physical(signal: Signal, stored: Int32Array): Float64Array {
  const none = -(2 ** (BITS[signal.fmt]! - 1));
  const each = signal.perFrame;
  const values = new Float64Array(stored.length / each).fill(NaN);
  for (let i = 0; i + signal.skew < values.length; i++) {
    let total = 0;
    for (let k = 0; k < each; k++) {
      const value = stored[(i + signal.skew) * each + k]!;
      total += value === none ? NaN : (value - signal.baseline) / signal.gain;
    }
    values[i] = total / each;
  }
  return values;
}

function isDamaged(signal: Signal, stored: Int32Array): boolean {
  const total = stored.reduce((a, b) => a + b, 0);
  return signal.checksum !== null && (signal.checksum - total) % 65536 !== 0;
}
