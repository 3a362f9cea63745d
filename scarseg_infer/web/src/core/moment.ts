/** Dates and times of files, by the clock that wrote them. */

/** `at`: milliseconds of the local clock, counted as if it were UTC. */
export interface Moment {
  at: number;
  /** Minutes ahead of UTC; null where no time zone is known. */
  zone: number | null;
}

export const DAY_MS = 86_400_000;
const FIRST_REAL_YEAR = 1901;
const LAST_YEAR = 9999;

/** Midnight of a real day; null where there is none, or one before any real recording. */
export function realDay(year: number, month: number, day: number): number | null {
  if (year < FIRST_REAL_YEAR || year >= LAST_YEAR) return null;
  const at = new Date(Date.UTC(year, month - 1, day));
  const real = at.getUTCFullYear() === year && at.getUTCMonth() === month - 1 && at.getUTCDate() === day;
  return real ? at.getTime() : null;
}

export const dayOf = (at: number): number => Math.floor(at / DAY_MS) * DAY_MS;

/** Minutes ahead of UTC of `+0100`, `+01:00` or `Z`; null where it is none. */
export function zoneOf(text: string): number | null {
  if (text === "Z") return 0;
  const match = /^([+-])(\d{2}):?(\d{2})$/.exec(text);
  if (!match || Number(match[2]) > 14 || Number(match[3]) > 59) return null;
  const minutes = 60 * Number(match[2]) + Number(match[3]);
  return match[1] === "-" ? -minutes : minutes;
}
