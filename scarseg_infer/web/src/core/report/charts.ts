/** The mean beat and the TAFF curve as SVG: scarseg_infer/write/report/charts.py. */

import { BEAT_SAMPLES, ECG_RATE_HZ, LEADS } from "../contract";
import { fixed, general } from "../words";

const MM_PER_S = 25;
const MM_PER_MV = 10;
const COLUMN_MM = 30;
const PULSE_MM = 10;
const LABEL_MM = 9;
const CLEAR_MM = 2;
const LEAST_MM = 15;
const WORDS_WIDTH = 120;
const AROUND = 24;

/** The mean beat [12 × 512] on millimetre paper, in three rows of four leads. */
export function ecgSvg(beat: Float32Array, derived: readonly string[]): string {
  const rows = [0, 1, 2].map((row) => [0, 3, 6, 9].map((first) => first + row));
  const [baselines, height] = baselinesOf(beat, rows);
  const width = PULSE_MM + COLUMN_MM * 4;
  const parts = [grid(width, height)];
  rows.forEach((row, k) => {
    const baseline = baselines[k]!;
    parts.push(`<path class="trace" d="M1 ${general(baseline)}h2v-10h5v10h1.6"/>`);
    row.forEach((lead, column) => {
      const left = PULSE_MM + column * COLUMN_MM;
      parts.push(`<path class="trace" d="${trace(beat, lead, left, baseline)}"/>`);
      const mark = derived.includes(LEADS[lead]!) ? "*" : "";
      parts.push(`<text x="${left + 1}" y="${general(baseline - 5)}">${LEADS[lead]}${mark}</text>`);
    });
  });
  const label = "Mean beat of the 12 leads, 25 mm/s and 10 mm/mV, R peak 384 ms after the start";
  return `<svg class="ecg" viewBox="0 0 ${general(width)} ${general(height)}" role="img" aria-label="${label}" ` +
    `style="--print-width:${general(width)}mm">${parts.join("")}</svg>`;
}

function baselinesOf(beat: Float32Array, rows: readonly (readonly number[])[]): [number[], number] {
  const reach = (sign: number, lead: number): Float64Array => {
    const found = new Float64Array(BEAT_SAMPLES);
    for (let i = 0; i < BEAT_SAMPLES; i++) {
      let most = -Infinity;
      for (let k = Math.max(i - AROUND, 0); k <= Math.min(i + AROUND, BEAT_SAMPLES - 1); k++)
        most = Math.max(most, sign * beat[lead * BEAT_SAMPLES + k]! * MM_PER_MV);
      found[i] = most;
    }
    return found;
  };
  const up = LEADS.map((_, lead) => reach(1, lead).map((mm) => Math.max(mm, LABEL_MM)));
  const down = LEADS.map((_, lead) => reach(-1, lead));
  const highest = (leads: readonly number[], of: Float64Array[]): number => Math.max(...leads.flatMap((lead) => Math.max(...of[lead]!)));
  const baselines = [Math.ceil(CLEAR_MM + Math.max(MM_PER_MV, highest(rows[0]!, up)))];
  for (let k = 1; k < rows.length; k++) {
    let gap = -Infinity;
    rows[k - 1]!.forEach((above, column) => {
      const below = rows[k]![column]!;
      for (let i = 0; i < BEAT_SAMPLES; i++) gap = Math.max(gap, down[above]![i]! + up[below]![i]!);
    });
    baselines.push(baselines[k - 1]! + Math.ceil(Math.max(gap + CLEAR_MM, LEAST_MM)));
  }
  const lowest = Math.max(...rows.map((row, k) => baselines[k]! + highest(row, down)));
  return [baselines, 5 * Math.ceil((lowest + CLEAR_MM) / 5)];
}

function trace(beat: Float32Array, lead: number, left: number, baseline: number): string {
  const points = Array.from({ length: BEAT_SAMPLES }, (_, i) => {
    const x = left + (i / ECG_RATE_HZ) * MM_PER_S, y = baseline - MM_PER_MV * beat[lead * BEAT_SAMPLES + i]!;
    return `${fixed(x, 2)} ${fixed(y, 2)}`;
  });
  return `M${points.join("L")}`;
}

function grid(width: number, height: number): string {
  let thin = "", thick = "";
  for (let x = 0; x <= width; x++) if (x % 5) thin += `M${x} 0V${height}`;
  for (let y = 0; y <= height; y++) if (y % 5) thin += `M0 ${y}H${width}`;
  for (let x = 0; x <= width; x += 5) thick += `M${x} 0V${height}`;
  for (let y = 0; y <= height; y += 5) thick += `M0 ${y}H${width}`;
  return `<path class="thin" d="${thin}"/><path class="thick" d="${thick}"/>`;
}

/** The curve w(Δt) = exp(−Δt / τ), and on it the weight that this study got. */
export function taffSvg(tau: number, gapDays: number | null, weight: number): string {
  const gap = gapDays !== null && Number.isFinite(gapDays) && gapDays >= 0 ? gapDays : null;
  const ticks = ticksTo(Math.max(3 * tau, 1.15 * (gap ?? 0)));
  const last = ticks.at(-1)!;
  const w = (days: number): number => Math.exp(-days / tau);
  const place = (days: number, share: number): [number, number] => [44 + (330 * days) / last, 172 - 150 * share];
  const curve = Array.from({ length: 111 }, (_, i) => {
    const [x, y] = place((last * i) / 110, w((last * i) / 110));
    return `${fixed(x, 1)} ${fixed(y, 1)}`;
  }).join("L");
  const parts = [`<path class="curve" d="M${curve}"/>`];
  for (const days of ticks) {
    const [x, y] = place(days, 0);
    parts.unshift(`<path class="rule" d="M${fixed(x, 1)} ${y}V22"/>`);
    parts.push(`<text class="tick" x="${fixed(x, 1)}" y="${y + 16}">${general(days)}</text>`);
  }
  for (const share of [0, 0.5, 1]) {
    const [x, y] = place(0, share);
    parts.unshift(`<path class="rule" d="M${x} ${y}H374"/>`);
    parts.push(`<text class="tick side" x="${x - 8}" y="${y + 4}">${share}</text>`);
  }
  const [x, y] = place(tau, w(tau));
  parts.push(`<path class="tau" d="M${fixed(x, 1)} ${fixed(y, 1)}V172"/>`);
  const spot = x > 140 ? `note end" x="${fixed(x - 6, 1)}" y="165` : `note" x="${fixed(x + 6, 1)}" y="${fixed(y - 4, 1)}`;
  parts.push(`<text class="${spot}">τ = ${fixed(tau, 0)} days</text>`,
    '<text class="tick" x="209" y="206">days between ECG and MRI, Δt</text>',
    '<text class="tick" transform="translate(12 97) rotate(-90)">ECG weight</text>');
  let words = `Weight of the ECG by its age, time constant ${fixed(tau, 0)} days`;
  if (gap !== null) {
    const [gx, gy] = place(gap, weight);
    const onLeft = gx > 250;
    const before = Math.max(gap - (WORDS_WIDTH * last) / 330, 0);
    const height = place(0, w(onLeft ? before : gap))[1];
    const text = `${fixed(gap, 1)} days: ${fixed(weight, 2)}`;
    parts.push(`<circle class="study" cx="${fixed(gx, 1)}" cy="${fixed(gy, 1)}" r="5.5"/>` +
      `<text class="study${onLeft ? " end" : ""}" x="${fixed(gx + (onLeft ? 4 : 9), 1)}" ` +
      `y="${fixed(Math.max(Math.min(height, gy) - 9, 14), 1)}">${text}</text>`);
    words += `; this study: ${fixed(gap, 1)} days, weight ${fixed(weight, 2)}`;
  }
  return `<svg class="taff" viewBox="0 0 390 212" role="img" aria-label="${words}">${parts.join("")}</svg>`;
}

/** Round numbers of days from 0 to at least `least`, some five of them. */
function ticksTo(least: number): number[] {
  const rough = Math.max(least, 1e-3) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough)!;
  return Array.from({ length: Math.ceil(least / step - 1e-9) + 1 }, (_, i) => i * step);
}
