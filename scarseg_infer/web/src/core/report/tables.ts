/** Tables of the page, from the values of the result document and nothing else:
 * scarseg_infer/write/report/tables.py. */

import type { Amount } from "../quantify/characteristics";
import type { ResultDocument } from "../result";
import { escapeHtml, fixed, general } from "../words";

const NOTHING = new Set(["0", "0.0", "–"]);
type Row = readonly string[];

export function quantitiesTable(document: ResultDocument): string {
  const rows = ([
    ["Scar, mL", "scar_ml", 1], ["Scar, g", "scar_g", 1], ["Scar, % of LV mass", "scar_percent_of_lv_mass", 1],
    ["LV myocardium, mL", "myocardium_ml", 0], ["LV myocardium, g", "myocardium_g", 0], ["LV cavity, mL", "lv_cavity_ml", 0],
  ] as const).map(([name, key, digits]) => {
    const fused = document.quantities[key], image = document.image_only_quantities[key];
    const change = fused === null || image === null ? null : Number(fixed(fused, digits)) - Number(fixed(image, digits));
    return [name, number(fused, digits), number(image, digits), signed(change, digits)];
  });
  return table("Whole left ventricle", ["Quantity", "Image and ECG", "Image alone", "Difference"], rows, [1, 2, 3]);
}

export function segmentsTable(document: ResultDocument): string {
  const belief = document.ecg.segment_belief;
  const head = ["AHA segment", "Territory", "Scar lies", "Wall, mL", "Scar, mL", "Burden, %", "Transmurality, %",
    "Class, % of wall", ...(belief ? ["ECG alone, %"] : [])];
  const rows = document.segments.map((segment, i) => [
    `${segment.number} ${segment.name}`, segment.territory, document.characteristics.segment_distribution[i] ?? "",
    number(segment.myocardium_ml, 1), number(segment.scar_ml, 1), share(segment.burden), share(segment.transmurality),
    (segment.transmurality_class ?? "–").replace("-", "–"), ...(belief ? [share(belief[i]!)] : []),
  ]);
  return table("AHA segments", head, rows, head.map((_, i) => i).slice(3), "segment");
}

export function characteristicsHtml(found: ResultDocument["characteristics"]): string {
  const obstruction = found.microvascular_obstruction_ml;
  const words = facts([
    ["Location", found.location.join(", ") || "no segment with scar"],
    ["Distribution in the wall", found.distribution ?? "–"],
    ["Microvascular obstruction", obstruction === null ? "–" : `${fixed(obstruction, 1)} mL, counted as scar`],
  ]);
  const rows: Row[] = ([
    ["fwhm", "FWHM", "35 to 50 %"], ["schmidt", "Schmidt 2007", "brightest remote to 50 %"], ["sd", "3 SD", "2 to 3 SD"],
  ] as const).flatMap(([key, name, lower]) => {
    const zones = found[key];
    return zones ? [[`${name}: core`, ...amount(zones.core)], [`${name}: grey zone (${lower})`, ...amount(zones.grey_zone)]] : [];
  });
  rows.push(...Object.entries(found.n_sd ?? {}).map(([n, one]) => [`${n} SD`, ...amount(one)]));
  if (!rows.length) return words;
  return words + table(
    "Scar by signal thresholds in the wall that was found. Shares of FWHM are counted from remote myocardium to the " +
      "maximum of the scar; Flett 2011 and Roes 2009 count from zero, which has no meaning on PSIR.",
    ["Rule", "mL", "g", "% of LV mass"], rows, [1, 2, 3]);
}

const amount = (one: Amount): string[] => [one.ml, one.g, one.percent_of_lv_mass].map((value) => fixed(value, 1));

/** An HTML table of plain words, which are escaped here; the first column heads the rows. */
function table(caption: string, head: Row, rows: readonly Row[], numeric: readonly number[], marks = ""): string {
  const align = (i: number): string => (numeric.includes(i) ? ' class="n"' : "");
  const top = head.map((words, i) => `<th scope="col"${align(i)}>${escapeHtml(words)}</th>`).join("");
  const body = rows.map(([first, ...others], place) => {
    const cells = others.map((words, k) => {
      const kind = numeric.includes(k + 1) && NOTHING.has(words) ? ' class="n none"' : align(k + 1);
      return `<td${kind}>${escapeHtml(words)}</td>`;
    }).join("");
    return `<tr${marks ? ` data-${marks}="${place + 1}"` : ""}><th scope="row">${escapeHtml(first!)}</th>${cells}</tr>`;
  }).join("");
  return `<div class="wide" tabindex="0" role="region" aria-label="${escapeHtml(caption)}"><table>` +
    `<caption>${escapeHtml(caption)}</caption><thead><tr>${top}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** A list of names and values, escaped here. */
export function facts(pairs: readonly (readonly [string, string])[]): string {
  const rows = pairs.map(([name, value]) => `<div><dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd></div>`);
  return `<dl class="facts">${rows.join("")}</dl>`;
}

export function technical(document: ResultDocument): string {
  const { input: source, model, software } = document;
  const series = facts([
    ["Source", `${source.source}, ${source.image_kind}`],
    ["Grid", `${source.slices} slices of ${source.rows} × ${source.columns} pixels`],
    ["Pixel spacing", `${source.pixel_spacing_mm.map((mm) => general(mm)).join(" × ")} mm (between rows, between columns)`],
    ["How the heart lies", source.orientation_known ? "known" : "not known: walls are assumed"],
    ["Study UID", source.study_instance_uid ?? "none"],
    ["Series UID", source.series_instance_uids.join(", ") || "none"],
    ["Model", `${model.name} ${model.version}`],
    ["Model file SHA-256", model.sha256],
    ["Ran on", `${model.provider}, ${model.precision}`],
    ["Software", `${software.name} ${software.version}`],
    ["Made", document.created_utc],
    ["Schema of result.json", document.schema_version],
  ]);
  const slices = table("Slices in the order of the stack", ["Slice", "Position, mm", "Stands for, mm"],
    source.slice_positions_mm.map((at, i) => [String(i + 1), fixed(at, 2), fixed(source.slice_heights_mm[i]!, 2)]), [1, 2]);
  const timings = table("Wall time", ["Stage", "ms"],
    Object.entries(document.timings_ms).map(([stage, ms]) => [stage.replaceAll("_", " "), fixed(ms, 0)]), [1]);
  return `<div class="beside"><div>${series}</div><div>${slices}${timings}</div></div>`;
}

const number = (value: number | null, digits: number): string => (value === null ? "–" : fixed(value, digits));
const share = (value: number | null): string => (value === null ? "–" : fixed(100 * value, 0));

function signed(value: number | null, digits: number): string {
  if (value === null) return "–";
  const rounded = Number(fixed(value, digits));
  if (!rounded) return fixed(0, digits);
  return `${rounded > 0 ? "+" : "−"}${fixed(Math.abs(rounded), digits)}`;
}
