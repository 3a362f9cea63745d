/** From files to a result: segmenter.py and pipeline.py of the command line. */

import { SCAR, isVentricle, type Labels } from "./contract";
import { ecgEvidence, type Evidence } from "./ecg/evidence";
import type { DroppedFile } from "./files";
import { displayOf, displaySpacing, toDisplay, toSource, uprightTurn, type Display } from "./geometry/display";
import { gapWarnings, gridWarnings } from "./geometry/plane";
import { readInput } from "./input";
import { runNetwork, type ModelMetadata, type NetworkOutput, type Session } from "./model";
import { extremes, mean } from "./numbers";
import { segmentsOn } from "./quantify/atlas";
import { characterise, thresholdDoubts } from "./quantify/characteristics";
import { cleanLabels } from "./quantify/components";
import { elongation } from "./quantify/elongation";
import { quantify, sliceHeights, voxelMl, type Quantities } from "./quantify/quantities";
import type { EcgUse, Result } from "./result";
import { mapWarnings } from "./study/checks";
import { signalWarnings } from "./study/slice_signal";
import { slicePositions, type Stack } from "./study/stack";
import { fixed } from "./words";

const PLAUSIBLE_LV_MASS_G = [20, 1500] as const;
const PLAUSIBLE_SCAR_PERCENT = 60;
const WHOLE_HEART_SLICES = 5;
const ECG_CHANGE_PERCENT = 2;
const APEX_TAPER = 1.1;
const MOST_CUT_OFF = 0.1;
const WIDEST_MM = 600;
const MOST_ELONGATED = 1.4;
const WIDER = 1.3;

export type Stage = "read_study" | "read_ecg" | "load_model" | "prepare_ecg" | "network" | "quantify";
/** Share of the whole run before which each stage lies: a guide for a bar, not a promise. */
const BEGINS: Record<Stage, number> = {
  read_study: 0, read_ecg: 0.15, load_model: 0.15, prepare_ecg: 0.3, network: 0.35, quantify: 0.95,
};

export interface Request {
  study: DroppedFile[];
  ecg: DroppedFile[];
  gapDays: number | null;
}

export interface LoadedModel {
  metadata: ModelMetadata;
  sha256: string;
  session: Session;
}

/** Segment one study. `model` may still be loading. Throws ScarsegError. */
export async function segment(
  request: Request, model: Promise<LoadedModel>, progress: (stage: Stage, share: number) => void,
): Promise<Result> {
  const timingsMs: Record<string, number> = {};
  const stage = async <T>(name: Stage, work: () => T | Promise<T>): Promise<T> => {
    progress(name, BEGINS[name]);
    const start = performance.now();
    const found = await work();
    timingsMs[name] = performance.now() - start;
    return found;
  };
  const { stack, record, ecgWarnings } = await stage("read_study", () =>
    readInput(request.study, request.ecg, (share) => progress("read_study", share * BEGINS.read_ecg)));
  const { metadata, sha256, session } = await stage("load_model", () => model);
  const prepared = await stage("prepare_ecg", () => ecgEvidence(stack, record, request.gapDays, metadata.image_only));
  const evidence = { ...prepared, warnings: [...ecgWarnings, ...prepared.warnings] };
  const shown = await stage("network", () => inDisplay(session, metadata, stack, evidence));
  const found = await stage("quantify", () => quantified(stack, evidence, shown, metadata, session.gate));
  progress("quantify", 1);
  return { ...found, model: { ...metadata, sha256, provider: session.provider }, timingsMs };
}

interface Shown { display: Display; output: NetworkOutput; warnings: string[] }

/** Run the graph in display orientation; where no geometry says which end is the base, the image
 * decides and the graph runs again if the first guess was wrong. */
async function inDisplay(session: Session, metadata: ModelMetadata, stack: Stack, evidence: Evidence): Promise<Shown> {
  const display = displayOf(stack);
  const run = (as: Display): Promise<NetworkOutput> => runNetwork(session, metadata, {
    lge: toDisplay(as, stack.pixels),
    spacing: displaySpacing(as, stack.spacing),
    levels: levelsOf(stack, as),
    beatMv: evidence.beat?.beatMv ?? null,
    valid: evidence.decision.valid,
    gapDays: evidence.decision.gapDays,
  });
  const output = await run(display);
  if (stack.orientationKnown || stack.pixels.shape[0] === 1) return { display, output, warnings: [] };
  const warnings = ["The file does not say which end of the stack is the base; the image decided."];
  if (!apexComesFirst(output.labels)) return { display, output, warnings };
  const turned = { ...display, reverseSlices: !display.reverseSlices };
  return { display: turned, output: await run(turned), warnings };
}

/** Level of each slice of the display: 0 the most basal … 1 the most apical. */
function levelsOf(stack: Stack, display: Display): number[] {
  const positions = slicePositions(stack);
  if (positions.length === 1) return [0.5];
  const shown = display.reverseSlices ? [...positions].reverse().map((at) => -at) : positions;
  return shown.map((at) => (at - shown[0]!) / (shown.at(-1)! - shown[0]!));
}

/** True where the ventricle of the first third of the slices that show it is clearly the smaller. */
function apexComesFirst({ data, shape }: Labels, taper = APEX_TAPER): boolean {
  const plane = shape[1] * shape[2];
  const areas = Array.from({ length: shape[0] }, (_, s) =>
    data.subarray(s * plane, (s + 1) * plane).reduce((n, label) => n + Number(isVentricle(label)), 0)).filter(Boolean);
  if (areas.length < 2) return false;
  const third = Math.max(1, Math.floor(areas.length / 3));
  return mean(areas.slice(-third)) > taper * mean(areas.slice(0, third));
}

function quantified(
  stack: Stack, evidence: Evidence, { display, output, warnings }: Shown, metadata: ModelMetadata, gate: string,
): Omit<Result, "model" | "timingsMs"> {
  const heights = sliceHeights(slicePositions(stack), stack.sliceThicknessMm);
  const volume = voxelMl(heights, stack.spacing);
  const { shape } = stack.pixels;
  const cleaned = (labels: Labels): Labels => cleanLabels(toSource(display, labels, shape), metadata.min_scar_ml, volume);
  const labels = cleaned(output.labels), imageOnlyLabels = cleaned(output.imageOnlyLabels);
  const segments = segmentsOn(labels, toSource(display, output.segments, shape));
  const quantities = quantify(labels, segments, stack.spacing, heights);
  const imageOnlyQuantities = quantify(imageOnlyLabels, segments, stack.spacing, heights);
  const used = evidence.beat !== null && evidence.decision.valid;
  const ecg: EcgUse = {
    given: evidence.beat !== null,
    weight: output.ecgWeight,
    segmentBelief: evidence.beat ? output.ecgSegmentBelief : null,
    imageDisagreement: used ? output.ecgImageDisagreement > metadata.disagreement_threshold : null,
  };
  const [turnDeg, turnWarnings] = uprightTurn(stack, display, output.labels);
  return {
    stack, labels, imageOnlyLabels, segments, quantities, imageOnlyQuantities, evidence, ecg,
    scarProbability: toSource(display, output.scarProbability, shape),
    display: { ...display, turnDeg },
    characteristics: characterise(stack.pixels, labels, segments, stack.spacing, heights),
    warnings: [
      ...stack.warnings, ...gapWarnings(slicePositions(stack), stack.sliceThicknessMm), ...mapWarnings(stack.pixels), ...signalWarnings(stack), ...gridWarnings(stack), ...evidence.warnings, ...warnings, ...turnWarnings,
      ...pictureDoubts(stack, labels, display),
      ...doubts(quantities, imageOnlyQuantities, ecg, gate, shape[0]),
      ...thresholdDoubts(stack.pixels, labels, volume),
    ],
  };
}

/** Warn of pictures that are none of a heart, and of a found ventricle that lies the wrong way. */
function* pictureDoubts(stack: Stack, labels: Labels, display: Display): Generator<string> {
  const extentMm = Math.max(labels.shape[1] * stack.spacing[0], labels.shape[2] * stack.spacing[1]);
  if (extentMm > WIDEST_MM)
    yield `The images are ${fixed(extentMm, 0)} mm wide, more than scanners show: check that they are no montage of several, ` +
      "and the unit of the pixel spacing.";
  const longer = elongation(labels, stack.spacing);
  if (longer > MOST_ELONGATED)
    yield `The left ventricle found is ${fixed(longer, 1)} times as long as it is wide: check the view, and the order and ` +
      "unit of the pixel spacing.";
  const [, highest] = extremes(stack.pixels.data);
  let scar = 0, atMost = 0;
  labels.data.forEach((label, i) => {
    if (label !== SCAR) return;
    scar++;
    if (stack.pixels.data[i] === highest) atMost++;
  });
  if (scar && atMost / scar > MOST_CUT_OFF)
    yield `${fixed((100 * atMost) / scar, 0)} % of the scar has the highest value of the images, which seem to be cut off ` +
      "there, as by a window: scar, blood and fat look alike. Pass them as the scanner made them.";
  const whole = labels.shape[0] >= WHOLE_HEART_SLICES;
  if (stack.orientationKnown && whole && apexComesFirst(toDisplay(display, labels), WIDER))
    yield "The left ventricle found is the wider at the end which is the apex by the positions of the slices: check base " +
      "and apex, from which AHA segments follow.";
}

/** Warn of what in the result itself calls for a second look. */
function* doubts(fused: Quantities, imageOnly: Quantities, ecg: EcgUse, gate: string, slices: number): Generator<string> {
  const grams = fused.myocardium_g, [least, most] = PLAUSIBLE_LV_MASS_G;
  if (fused.myocardium_ml === 0) yield "No left ventricle was found in the image.";
  else if (grams > most || (grams < least && slices >= WHOLE_HEART_SLICES))
    yield `The left ventricle found has ${fixed(grams, 1)} g of myocardium, which is not plausible: check the ` +
      "pictures, pixel spacing and slice positions.";
  const after = fused.scar_percent_of_lv_mass ?? 0, before = imageOnly.scar_percent_of_lv_mass ?? 0;
  if (after > PLAUSIBLE_SCAR_PERCENT)
    yield `${fixed(after, 0)} % of LV mass is called scar, which is not plausible: check the pictures, and that model ` +
      "and series are the right ones.";
  if (gate) yield gate;
  if (ecg.imageDisagreement)
    yield "ECG and image do not fit each other: make sure that they are of the same patient, and compare with the " +
      "image-only result.";
  if (Math.abs(after - before) > ECG_CHANGE_PERCENT || before > 0 !== after > 0)
    yield `The ECG changed the scar from ${fixed(before, 1)} to ${fixed(after, 1)} % of LV mass: compare with the ` +
      "image-only result.";
}

