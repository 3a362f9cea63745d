/** Time at which images or an ECG were taken, from whichever DICOM dates are dates:
 * scarseg_infer/study/dicom/time.py. */

import { DAY_MS, dayOf, realDay, zoneOf, type Moment } from "../../moment";
import type { Header, Keyword } from "./parse";

const PAIRS: [Keyword, Keyword][] = [
  ["AcquisitionDate", "AcquisitionTime"], ["SeriesDate", "SeriesTime"], ["StudyDate", "StudyTime"],
];
export const SEVERAL_DAYS = "The headers give several dates for one acquisition: when it was taken is unknown.";
const DATE = /^(\d{4})[.-]?(\d{2})[.-]?(\d{2})$/;
const TIME = /^(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?$/;
const DATE_TIME = /^(\d{8}|\d{4}-\d{2}-\d{2})(?:[T ](?=\d))?(.*?)([+-]\d{2}:?\d{2})?$/;

interface Read { moment: Moment | null; dateOnly: boolean; written: boolean }
export interface Acquired { acquired: Moment | null; dateOnly: boolean; warnings: string[] }

/** Local time of the earliest of the headers, and warnings. `pairs`: of date and time of day. */
export function acquisitionTime(headers: readonly Header[], pairs = PAIRS): Acquired {
  const reads = headers.map((header) => read(header, pairs));
  const found = reads.filter((one): one is Read & { moment: Moment } => one.moment !== null);
  if (!found.length) {
    const doubt = "The dates in the MRI are not dates: when it was taken is unknown.";
    return { acquired: null, dateOnly: false, warnings: reads.some((one) => one.written) ? [doubt] : [] };
  }
  const days = [...found.map((one) => dayOf(one.moment.at)), ...headers.flatMap(acquisitionDays)];
  if (Math.max(...days) - Math.min(...days) > DAY_MS)
    return { acquired: null, dateOnly: false, warnings: [SEVERAL_DAYS] };
  const firstDay = Math.min(...found.map((one) => dayOf(one.moment.at)));
  const doubts = pairs === PAIRS ? elsewhere(headers, days) : [];
  const full = found.filter((one) => !one.dateOnly && dayOf(one.moment.at) === firstDay).map((one) => one.moment);
  if (full.length)
    return { acquired: full.reduce((a, b) => (b.at < a.at ? b : a)), dateOnly: false, warnings: doubts };
  const doubt =
    "The MRI has a date but no time of day: the days between ECG and MRI may be wrong by up to one.";
  return { acquired: { at: firstDay, zone: null }, dateOnly: true, warnings: [doubt, ...doubts] };
}

/** Time of an image by the local clock, in ms; null where the time of day is not known. */
export function momentOf(header: Header): number | null {
  const { moment, dateOnly } = read(header, PAIRS);
  return moment === null || dateOnly ? null : moment.at;
}

/** True where something stands for the time of day of the acquisition that is none. */
export function hasBadClock(header: Header): boolean {
  const clocks = [DATE_TIME.exec(header.text("AcquisitionDateTime"))?.[2], header.text("AcquisitionTime")];
  return clocks.some((clock) => clock && parseTime(clock) === null);
}

function acquisitionDays(header: Header): number[] {
  const match = DATE_TIME.exec(header.text("AcquisitionDateTime"));
  return [match ? parseDate(match[1]!) : null, parseDate(header.text("AcquisitionDate"))]
    .filter((day): day is number => day !== null);
}

function elsewhere(headers: readonly Header[], acquired: readonly number[]): string[] {
  const studies = headers.map((header) => parseDate(header.text("StudyDate"))).filter((day): day is number => day !== null);
  const apart = Math.max(DAY_MS, ...studies.flatMap((one) => acquired.map((day) => Math.abs(day - one))));
  if (apart <= DAY_MS) return [];
  return [`StudyDate and AcquisitionDate of the MRI lie ${apart / DAY_MS} days apart: the date of ` +
    "acquisition is used. Check it if the time between ECG and MRI matters."];
}

function read(header: Header, keywords: readonly [Keyword, Keyword][]): Read {
  const combined = header.text("AcquisitionDateTime");
  const offset = header.text("TimezoneOffsetFromUTC");
  const written = [combined];
  const pairs: [string, string, string][] = [];
  const match = DATE_TIME.exec(combined);
  if (match) pairs.push([match[1]!, match[2]!, match[3] ?? offset]);
  for (const [date, time] of keywords) {
    pairs.push([header.text(date), header.text(time), offset]);
    written.push(pairs.at(-1)![0]);
  }
  const days = pairs.map(([day]) => parseDate(day));
  const first = days.find((day) => day !== null);
  if (first === undefined || first === null) return { moment: null, dateOnly: false, written: written.some(Boolean) };
  for (const [i, [, clockText, zone]] of pairs.entries()) {
    const clock = days[i] === first ? parseTime(clockText) : null;
    if (clock !== null) return { moment: { at: first + clock, zone: /^[+-]\d{2}:?\d{2}$/.test(zone) ? zoneOf(zone) : null }, dateOnly: false, written: true };
  }
  return { moment: { at: first, zone: null }, dateOnly: true, written: true };
}

function parseDate(value: string): number | null {
  const match = DATE.exec(value);
  return match ? realDay(Number(match[1]), Number(match[2]), Number(match[3])) : null;
}

function parseTime(value: string): number | null {
  const match = TIME.exec(value);
  if (!match) return null;
  const [hours, minutes, seconds] = [match[1], match[2], match[3]].map((part) => Number(part ?? 0)) as [number, number, number];
  if (hours > 23 || minutes > 59 || seconds > 60) return null;
  return ((hours * 60 + minutes) * 60 + seconds) * 1000 + (match[4] ? 1000 * Number(`0.${match[4]}`) : 0);
}
