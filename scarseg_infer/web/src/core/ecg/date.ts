/** Dates that people and devices write into ECG files, read only where they mean one day:
 * scarseg_infer/ecg/date.py. */

import { dayOf, realDay, zoneOf, DAY_MS, type Moment } from "../moment";

export interface Recorded {
  when: Moment | null;
  dateOnly: boolean;
  warnings: string[];
}
export type Order = "day first" | "either";

export const NO_CLOCK = "The ECG's time of day is not a time: only its date is used.";
const UNKNOWN = "when it was recorded is unknown";
const AMBIGUOUS = "day and month could be either way round";
const DATE_COMMENT =
  new RegExp("^#[#\\s]*(?:(?:ecg|ekg|record(?:ing)?|acquisition|measurement|start|test|exam(?:ination)?)[\\s_-]*)?date" +
    "(?:[\\s_/-]*time)?(?:\\s+of\\s+(?:the\\s+)?(?:ecg|ekg|recording|acquisition|measurement|test))?\\s*[:=]\\s*(\\S.*)$", "i");
const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const MONTH =
  "(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?" +
  "|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\\.?";
const START = "(?:^|(?<=\\s))";
const END = "(?=$|[\\sT,]|Z$)";
const CLOCK = /^(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{0,9}))?)?\s?(Z|[+-]\d{2}:?\d{2})?$/;

type Days = (number | null)[];
const month = (name: string): number => MONTHS.indexOf(name.slice(0, 3).toLowerCase()) + 1;
const READ: [RegExp, (m: RegExpExecArray, order: Order) => Days][] = [
  [new RegExp(`${START}(\\d{4})([-/.]?)(\\d{2})\\2(\\d{2})${END}`), (m) => [realDay(+m[1]!, +m[3]!, +m[4]!)]],
  [new RegExp(`${START}(\\d{2})([-/.])(\\d{2})\\2(\\d{4})${END}`), (m, order) => [
    realDay(+m[4]!, +m[3]!, +m[1]!),
    ...(order === "day first" ? [] : [realDay(+m[4]!, +m[1]!, +m[3]!)]),
  ]],
  [new RegExp(`${START}(\\d{1,2})[-/.\\s]?${MONTH}[-/.,\\s]{0,2}(\\d{4})${END}`, "i"),
    (m) => [realDay(+m[3]!, month(m[2]!), +m[1]!)]],
  [new RegExp(`${START}${MONTH}[-/.\\s]?(\\d{1,2})(?:,\\s?|[-/.\\s])(\\d{4})${END}`, "i"),
    (m) => [realDay(+m[3]!, month(m[1]!), +m[2]!)]],
];

/** The day that a text names and what else stands there; null where it holds no day. */
export function dayAndRest(text: string, order: Order): { day: number; rest: string } | "ambiguous" | null {
  for (const [pattern, read] of READ) {
    const match = pattern.exec(text);
    if (!match) continue;
    const days = [...new Set(read(match, order).filter((day): day is number => day !== null))];
    if (days.length > 1) return "ambiguous";
    if (!days.length) return null;
    const rest = `${text.slice(0, match.index)} ${text.slice(match.index + match[0].length)}`
      .split(/\s+/).join(" ").replace(/^[ ,T]+|[ ,T]+$/g, "");
    return namesAnother(rest, days[0]!, order) ? null : { day: days[0]!, rest };
  }
  return null;
}

/** True for what is left of "2024-05-06 to 2024-06-07": which of them is meant nobody knows. */
function namesAnother(rest: string, day: number, order: Order): boolean {
  return READ.some(([pattern, read]) => {
    const match = pattern.exec(rest);
    return match !== null && read(match, order).some((other) => other !== null && other !== day);
  });
}

/** A day with its time of day, which may be none; midnight stands for none. */
export function withClock(day: number, text: string): Recorded {
  if (!text.trim()) return { when: { at: day, zone: null }, dateOnly: true, warnings: [] };
  const m = CLOCK.exec(text.trim());
  const [hours, minutes, seconds] = [m?.[1], m?.[2], m?.[3]].map((part) => Number(part ?? 0)) as [number, number, number];
  if (!m || hours > 23 || minutes > 59 || seconds > 59)
    return { when: { at: day, zone: null }, dateOnly: true, warnings: [NO_CLOCK] };
  const clock = ((hours * 60 + minutes) * 60 + seconds) * 1000 + Number((m[4] ?? "").slice(0, 6).padEnd(6, "0")) / 1000;
  return { when: { at: day + clock, zone: zoneOf(m[5] ?? "") }, dateOnly: clock === 0, warnings: [] };
}

/** Recording time from the comments of a header. */
function commentDate(lines: readonly string[]): Recorded {
  const nothing = (warnings: string[]): Recorded => ({ when: null, dateOnly: false, warnings });
  const found: Recorded[] = [];
  for (const line of lines) {
    const match = DATE_COMMENT.exec(line.trim());
    if (!match || !/\d/.test(match[1]!)) continue;
    const read = dayAndRest(match[1]!, "either");
    if (read === null)
      return nothing([`The comment in the ECG header that should hold its date holds none: ${UNKNOWN}.`]);
    if (read === "ambiguous")
      return nothing([`The ECG's date stands only in a comment of its header, and ${AMBIGUOUS}: ${UNKNOWN}.`]);
    found.push(withClock(read.day, read.rest));
  }
  if (!found.length) return nothing([]);
  if (new Set(found.map((one) => one.when?.at)).size > 1)
    return nothing([`The comments in the ECG header give several dates: ${UNKNOWN}.`]);
  return found[0]!;
}

const WFDB_CLOCK = /^(\d{1,2}:){0,2}\d{1,2}(\.\d*)?$/;

/** Recording time of a WFDB record, from the last fields of its record line and from comments. */
export function recordedAt(fields: readonly string[], lines: readonly string[]): Recorded {
  const text = fields.join(" ");
  const comment = commentDate(lines);
  if (!text || WFDB_CLOCK.test(text)) return comment;
  const base = baseTime(text);
  if (base.when && comment.when && Math.abs(dayOf(base.when.at) - dayOf(comment.when.at)) > DAY_MS)
    return {
      when: null, dateOnly: false,
      warnings: ["The ECG header and a comment in it give different dates: the time gap is unknown."],
    };
  return base;
}

function baseTime(text: string): Recorded {
  const found = dayAndRest(text, text.includes("/") ? "day first" : "either");
  if (found === null || found === "ambiguous")
    return {
      when: null, dateOnly: false,
      warnings: [found === null
        ? "The ECG header's date is not a date: the time gap is unknown."
        : `In the date of the ECG header ${AMBIGUOUS}: the time gap is unknown.`],
    };
  if (!text.includes("/") || !WFDB_CLOCK.test(found.rest)) return withClock(found.day, found.rest);
  const parts = found.rest.split(":").map(Number);
  const [hours, minutes, seconds] = [0, 0, ...parts].slice(-3) as [number, number, number];
  if (hours > 23 || minutes > 59 || seconds >= 60)
    return { when: { at: found.day, zone: null }, dateOnly: true, warnings: [NO_CLOCK] };
  const clock = Math.round(((hours * 60 + minutes) * 60 + seconds) * 1000);
  return { when: { at: found.day + clock, zone: null }, dateOnly: clock === 0, warnings: [] };
}
