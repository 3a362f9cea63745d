/** The result as the report page of the product: its template, style and scripts, filled here as
 * scarseg_infer/write/report/page.py does. */

import { script, scriptHash, style, template } from "virtual:report";
import { resultDocument, type Result, type ResultDocument } from "../result";
import { capital, escapeHtml, fixed } from "../words";
import { ecgSvg, taffSvg } from "./charts";
import { VARIABLES } from "./colours";
import { UNKNOWN_WALLS, polarSvg, scaleHtml } from "./polar";
import { characteristicsHtml, facts, quantitiesTable, segmentsTable, technical } from "./tables";
import { packedVolumes } from "./volumes";

const GAP_SOURCES: Record<string, string> = {
  timestamps: "both time stamps", dates: "both dates", given: "what the user said", unknown: "nowhere",
};

/** The whole page, self-contained. No name, patient ID or date of the patient appears. */
export function reportHtml(result: Result): string {
  const document = resultDocument(result);
  const { model, warnings, ecg } = document;
  const beat = result.evidence.beat?.beatMv ?? null;
  const parts: Record<string, string> = {
    policy: `default-src 'none'; script-src '${scriptHash}'; style-src 'unsafe-inline'; img-src data:; ` +
      "base-uri 'none'; form-action 'none'",
    style: `:root{${VARIABLES}}\n${style}`,
    statement: escapeHtml(document.statement),
    model: escapeHtml(`${model.name} ${model.version}`),
    training: escapeHtml(model.training_data),
    warnings_title: warnings.length ? `Warnings (${warnings.length})` : "No warnings",
    warnings: warnings.length ? `<ul>${warnings.map((words) => `<li>${escapeHtml(words)}</li>`).join("")}</ul>` : "",
    figures: figures(document),
    walls: document.input.orientation_known ? "" : `<p class="unknown">${UNKNOWN_WALLS}.</p>`,
    polar: polarSvg(document.segments, ecg.segment_belief),
    scale: scaleHtml(),
    belief: ecg.segment_belief ? "" : "hidden",
    had_say: ecg.weight > 0 ? "hidden" : "",
    quantities: quantitiesTable(document),
    segments: segmentsTable(document),
    characteristics: characteristicsHtml(document.characteristics),
    taff: taff(document),
    ecg: ecgHtml(document, beat),
    technical: technical(document),
    data: JSON.stringify({ document, volumes: packedVolumes(result) })
      .replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`),
    script,
  };
  return template.replace(/\$\{(\w+)\}/g, (_, name: string) => parts[name] ?? "");
}

/** The four numbers a reader looks for first. */
function figures({ quantities, image_only_quantities: image, ecg }: ResultDocument): string {
  const share = quantities.scar_percent_of_lv_mass, alone = image.scar_percent_of_lv_mass;
  const age = ecg.gap_days === null ? "time between tests unknown" : `${fixed(ecg.gap_days, 1)} days between ECG and MRI`;
  const cards = [
    ["Scar, share of LV mass", share === null ? "no left ventricle" : `${fixed(share, 1)} %`,
      alone === null ? "" : `image alone ${fixed(alone, 1)} %`],
    ["Scar", `${fixed(quantities.scar_ml, 1)} mL`, `${fixed(quantities.scar_g, 1)} g`],
    ["Left ventricle", `${fixed(quantities.myocardium_g, 0)} g`, `myocardium; cavity ${fixed(quantities.lv_cavity_ml, 0)} mL`],
    ["ECG weight", fixed(ecg.weight, 2), ecg.given ? age : "no ECG"],
  ] as const;
  const items = cards.map(([name, value, more]) =>
    `<div><dt>${escapeHtml(name)}</dt><dd><b>${escapeHtml(value)}</b> <span>${escapeHtml(more)}</span></dd></div>`);
  return `<dl>${items.join("")}</dl>`;
}

function taff({ ecg, model }: ResultDocument): string {
  const words = capital(ecg.reason).replace(/\.+$/, "");
  const parts = [`<p class="reason">${escapeHtml(words)}. Weight ${fixed(ecg.weight, 2)}.</p>`];
  if (model.tau_days !== null && model.tau_days > 0)
    parts.push(taffSvg(model.tau_days, ecg.gap_days, ecg.weight),
      '<p class="note">w(Δt) = exp(−Δt / τ). At weight 0 the result is that of the image alone; a Δt that is not known ' +
        "never counts as 0.</p>");
  if (ecg.given) parts.push(facts(ecgFacts(ecg)), `<p class="note">${escapeHtml(beliefWords(model))}</p>`);
  return parts.join("");
}

function beliefWords({ ecg_scores: scores }: ResultDocument["model"]): string {
  if (!scores) return "How sure the ECG's belief about scar is on real ECGs: not known for this model.";
  return `How sure the ECG's belief about scar is: on ${scores.records} real ECGs not trained on (${scores.data}) it told ` +
    `infarct from normal with an AUROC of ${fixed(scores.auroc, 2)}; its probabilities were off by ` +
    `${fixed(100 * scores.calibration_error, 0)} % in the mean. Those infarcts were read from the ECGs themselves, not from MRI.`;
}

function ecgFacts(ecg: ResultDocument["ecg"]): [string, string][] {
  const gap = ecg.gap_days;
  const found: [string, string][] = [["Time between the tests",
    gap === null ? "unknown" : `${fixed(gap, 1)} days, from ${GAP_SOURCES[ecg.gap_source]}`]];
  if (ecg.heart_rate_bpm !== null) found.push(["Heart rate", `${fixed(ecg.heart_rate_bpm, 0)} beats a minute`]);
  if (ecg.beats_averaged !== null) found.push(["Mean beat of", `${ecg.beats_averaged} beats`]);
  if (ecg.quality) {
    const shapes: Record<string, string> = { none: "", nonspecific: ", wide without the shape of a block" };
    const shape = shapes[ecg.quality.pattern] ?? `, ${ecg.quality.pattern}`;
    found.push(
      ["QRS duration", ecg.quality.qrs_ms === null ? "not measurable" : `${fixed(ecg.quality.qrs_ms, 0)} ms${shape}`],
      ["Pacing", ecg.quality.pacing]);
  }
  found.push(["Derived leads", ecg.derived_leads.join(", ") || "none"]);
  const odd = ecg.ecg_image_disagreement;
  found.push(["Same patient as the image", odd === null ? "not checked" : odd ? "doubtful: see the warnings" : "nothing against it"]);
  return found;
}

function ecgHtml({ ecg }: ResultDocument, beat: Float32Array | null): string {
  if (!beat) return `<p>${ecg.given ? "The mean beat is not part of this result." : "No ECG was given."}</p>`;
  const derived = ecg.derived_leads.length ? "* derived from other leads. " : "";
  return `${ecgSvg(beat, ecg.derived_leads)}<p class="note">${derived}25 mm/s, 10 mm/mV: a small square is 40 ms by 0.1 mV, ` +
    "a large one 200 ms by 0.5 mV. Printed in true size.</p>";
}
