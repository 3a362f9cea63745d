/** The result and its document: result.py and write/json.py of the command line. The document keeps
 * scarseg_infer/schema/result.schema.json. */

import { version } from "virtual:report";
import { RESEARCH_USE, SCHEMA_VERSION, type Labels, type Pixels } from "./contract";
import type { Evidence } from "./ecg/evidence";
import type { Display } from "./geometry/display";
import type { ModelMetadata } from "./model";
import type { Characteristics } from "./quantify/characteristics";
import { sliceHeights, type Quantities, type SegmentQuantities } from "./quantify/quantities";
import { slicePositions, type Stack } from "./study/stack";
import { fixed } from "./words";

const DIGITS = 6;

export interface EcgUse {
  given: boolean;
  weight: number;
  segmentBelief: number[] | null;
  imageDisagreement: boolean | null;
}

export interface Result {
  stack: Stack;
  labels: Labels;
  scarProbability: Pixels;
  imageOnlyLabels: Labels;
  segments: Labels;
  display: Display;
  quantities: Quantities;
  imageOnlyQuantities: Quantities;
  characteristics: Characteristics;
  evidence: Evidence;
  ecg: EcgUse;
  model: ModelMetadata & { sha256: string; provider: string };
  timingsMs: Record<string, number>;
  warnings: string[];
}

type Whole = Omit<Quantities, "segments">;

/** Keys and values of the document that other parts read. */
export interface ResultDocument {
  schema_version: string;
  statement: string;
  software: { name: string; version: string };
  created_utc: string;
  model: {
    name: string; version: string; sha256: string; training_data: string; provider: string; precision: string;
    tau_days: number | null;
    ecg_scores: { data: string; records: number; auroc: number; calibration_error: number } | null;
  };
  input: {
    source: string; image_kind: string; slices: number; rows: number; columns: number; pixel_spacing_mm: number[];
    slice_positions_mm: number[]; slice_heights_mm: number[]; orientation_known: boolean;
    study_instance_uid: string | null; series_instance_uids: string[];
  };
  ecg: {
    given: boolean; weight: number; gap_days: number | null; gap_source: string; reason: string; source: string | null;
    heart_rate_bpm: number | null; beats_averaged: number | null; derived_leads: string[];
    quality: { qrs_ms: number | null; pattern: string; pacing: string; [key: string]: unknown } | null;
    segment_belief: number[] | null; ecg_image_disagreement: boolean | null;
  };
  quantities: Whole;
  segments: SegmentQuantities[];
  image_only_quantities: Whole;
  characteristics: Characteristics;
  timings_ms: Record<string, number>;
  warnings: string[];
  files: Record<string, string>;
}

/** The result in plain values. Of the source only its study and series UIDs appear. */
export function resultDocument(result: Result): ResultDocument {
  const { segments, ...quantities } = result.quantities;
  const { segments: _, ...imageOnly } = result.imageOnlyQuantities;
  const { model, ecg } = result;
  const scores = model.ecg_scores;
  return plain({
    schema_version: SCHEMA_VERSION,
    statement: RESEARCH_USE,
    software: { name: "scarseg-infer", version },
    created_utc: `${new Date().toISOString().slice(0, 19)}+00:00`,
    model: {
      name: model.name, version: model.version, sha256: model.sha256, training_data: model.training_data,
      provider: model.provider, precision: model.precision, tau_days: model.image_only ? null : model.tau_days,
      ecg_scores: Object.keys(scores).length ? (scores as ResultDocument["model"]["ecg_scores"]) : null,
    },
    input: inputOf(result.stack),
    ecg: ecgOf(result.evidence, ecg),
    quantities,
    segments,
    image_only_quantities: imageOnly,
    characteristics: result.characteristics,
    timings_ms: result.timingsMs,
    warnings: result.warnings,
    files: {},
  });
}

function inputOf(stack: Stack): ResultDocument["input"] {
  const positions = slicePositions(stack);
  const [slices, rows, columns] = stack.pixels.shape;
  return {
    source: stack.source, image_kind: stack.imageKind, slices, rows, columns,
    pixel_spacing_mm: stack.spacing,
    slice_positions_mm: positions.map((at) => at - positions[0]!),
    slice_heights_mm: sliceHeights(positions, stack.sliceThicknessMm),
    orientation_known: stack.orientationKnown,
    study_instance_uid: stack.studyUid,
    series_instance_uids: stack.seriesUids,
  };
}

function ecgOf({ gap, decision, record, beat, quality }: Evidence, use: EcgUse): ResultDocument["ecg"] {
  return {
    given: use.given,
    weight: use.weight,
    gap_days: gap.days !== null && Number.isFinite(gap.days) ? gap.days : null,
    gap_source: gap.source,
    reason: decision.reason,
    source: record?.source ?? null,
    heart_rate_bpm: beat?.heartRateBpm ?? null,
    beats_averaged: beat?.beatsAveraged ?? null,
    derived_leads: beat?.derivedLeads ?? [],
    quality: quality && {
      qrs_ms: quality.qrsMs,
      pattern: quality.pattern,
      pacing: quality.pacing,
      exchanged_electrodes: quality.exchangedElectrodes,
      findings: quality.findings,
      leads: quality.leads,
    },
    segment_belief: use.segmentBelief,
    ecg_image_disagreement: use.imageDisagreement,
  };
}

/** Numbers rounded to six digits after the point, everything else as it is. */
function plain<T>(value: T): T {
  if (typeof value === "number") return Number(fixed(value, DIGITS)) as T;
  if (Array.isArray(value)) return value.map(plain) as T;
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item as unknown)])) as T;
  return value;
}
