/** Choice of the LGE stack: every candidate judged by the same rules, with reasons; rank.py and
 * choose.py of scarseg_infer/study/dicom. */

import { StudyError } from "../../errors";
import { SHORT_AXIS_LIMIT_DEG, SHORT_AXIS_TRUST_DEG, countedFrom } from "../../geometry/display";
import { normalOf, sameGrid } from "../../geometry/plane";
import { radians } from "../../geometry/vectors";
import { capital, fixed } from "../../words";
import { FACTS, LEAST_SCORE, clueOf, contradictoryKinds, type Clue } from "./rules";
import { ADVICE, CINE_PHASES, LATE_ENHANCEMENT, MIN_STACK_SLICES, SliceGroup, whatRepeats, type Placed } from "./series";

const USUAL_SLICES = 5;
const BODY_PLANE_DEG = 3;
const MOST_LISTED = 8;
/** Reconstruction that is read of two of the same slices. */
const PREFERRED = "PSIR";

export interface Candidate {
  number: number;
  group: SliceGroup;
  score: number;
  clues: Clue[];
  lgeMarked: boolean;
  /** Reasons: not one image at each position; these are moments of the beat; it is no short axis. */
  repeats: string;
  moments: string;
  view: string;
}

export interface Choice {
  chosen: Candidate;
  notes: string[];
  superseded: Placed[];
}

/** Every group with its score, in the order of series numbers. */
export function judge(groups: readonly SliceGroup[]): Candidate[] {
  const place = (group: SliceGroup): number =>
    Math.min(...group.slices.map((header) => header.file * 1e4 + (header.frame ?? 0)));
  const ordered = [...groups].sort((a, b) =>
    (a.seriesNumber ?? Infinity) - (b.seriesNumber ?? Infinity) || compare(a.first.seriesUid, b.first.seriesUid) ||
    compare(a.imageKind, b.imageKind) || place(a) - place(b));
  return ordered.map((group, i) => judged(i + 1, group));
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function judged(number: number, group: SliceGroup): Candidate {
  const signs = group.signs;
  const clues = [...signs.map(clueOf), ...factsOf(group).map((fact) => FACTS[fact]!)]
    .sort((a, b) => Math.abs(b.points) - Math.abs(a.points) || compare(a.says, b.says));
  const lgeMarked = group.slices.some((header) => header.inversionTimeMs) || signs.includes(LATE_ENHANCEMENT);
  const phases = group.phaseCount;
  return {
    number, group, clues, lgeMarked,
    score: clues.reduce((total, clue) => total + clue.points, 0),
    repeats: group.isNearlyStack ? "" : `${whatRepeats(group)}: not one image per slice`,
    moments: phases >= CINE_PHASES && !lgeMarked
      ? `these seem to be single frames of a cine series (each says it is one of ${phases} phases)` : "",
    view: group.tiltDeg > SHORT_AXIS_LIMIT_DEG
      ? `the slices are tilted by ${fixed(group.tiltDeg, 0)}° against a usual short-axis view, as those of another ` +
        "view of the heart or of another part of the body" : "",
  };
}

function factsOf(group: SliceGroup): string[] {
  const cosines = normalOf(group.plane).map(Math.abs);
  return [
    ...(group.slices.some((header) => header.inversionTimeMs) ? ["inversion_time"] : []),
    ...(group.slices.some((header) => header.contrastAgent) ? ["contrast_agent"] : []),
    group.positionCount >= USUAL_SLICES ? "many_slices"
      : group.positionCount >= MIN_STACK_SLICES ? "some_slices" : "few_slices",
    ...(group.tiltDeg <= SHORT_AXIS_TRUST_DEG ? ["short_axis"] : []),
    ...(Math.max(...cosines) >= Math.cos(radians(BODY_PLANE_DEG)) ? ["body_plane"] : []),
    ...(group.imageKind === PREFERRED ? ["preferred_kind"] : []),
    ...(group.imageKind === "phase" ? ["phase_image"] : []),
  ];
}

/** Reason why a candidate cannot be the LGE stack; "" when it may be. */
export function against(candidate: Candidate): string {
  const unlikely = candidate.score >= LEAST_SCORE ? ""
    : `its header speaks against late enhancement (${candidate.clues.filter((clue) => clue.points < 0)
      .map((clue) => clue.says).join(", ")})`;
  return candidate.repeats || candidate.moments || unlikely || candidate.view;
}

/** The LGE stack among candidates. Throws StudyError where none can be read, or nothing tells which. */
export function choose(candidates: readonly Candidate[]): Choice {
  const usable = candidates.filter((candidate) => !against(candidate));
  if (!usable.length) {
    if (!candidates.length) throw new StudyError("the study holds no stack of slices", ADVICE);
    const largest = candidates.reduce((a, b) => (b.group.slices.length > a.group.slices.length ? b : a));
    throw new StudyError(against(largest), ADVICE);
  }
  const notes: string[] = [];
  const kept = withoutOtherKinds(markedByTwins(usable));
  const chosen = bestOf(kept, notes);
  const others = kept.filter((candidate) => candidate.score < chosen.score && candidate.lgeMarked);
  if (others.length) notes.push(`Other stacks may be LGE too and were left out: ${listed(others)}.`);
  notes.push(...otherKinds(chosen, candidates));
  return takeLast(chosen, notes);
}

/** Candidates, those counted as LGE too whose acquisition is marked as LGE in another kind of image. */
function markedByTwins(usable: readonly Candidate[]): Candidate[] {
  return usable.map((candidate) => {
    const twins = usable.filter((other) => other.lgeMarked &&
      other.group.imageKind !== candidate.group.imageKind && other.group.sameAcquisition(candidate.group));
    if (!twins.length || candidate.lgeMarked) return candidate;
    return { ...candidate, lgeMarked: true, score: Math.max(candidate.score, ...twins.map((twin) => twin.score)) };
  });
}

/** Candidates without those whose slices are there as the preferred kind of image too. */
function withoutOtherKinds(usable: readonly Candidate[]): Candidate[] {
  return usable.filter((candidate) => !usable.some((other) =>
    other.group.imageKind === PREFERRED && candidate.group.imageKind !== PREFERRED &&
    other.lgeMarked === candidate.lgeMarked && other.group.sameSlices(candidate.group)));
}

/** The candidate with most points; of repeats the one taken last. */
function bestOf(kept: readonly Candidate[], notes: string[]): Candidate {
  const top = Math.max(...kept.map((candidate) => candidate.score));
  let best = kept.filter((candidate) => candidate.score === top);
  if (!best[0]!.lgeMarked) best = [...kept];
  if (best.length === 1) return best[0]!;
  if (arePartsOfOneSeries(best)) return largestPart(best);
  const moments = best.map((candidate) => candidate.group.acquired);
  const latest = Math.max(...moments.map((moment) => moment ?? -Infinity));
  const decided = best[0]!.lgeMarked && !moments.includes(null) &&
    moments.filter((moment) => moment === latest).length === 1;
  if (!decided)
    throw new StudyError(
      `the study holds ${best.length} stacks that may be the LGE: ${listed(best)}`,
      "Drop a folder that holds one of them, or use the command line, which takes --series",
    );
  const last = best[moments.indexOf(latest)]!;
  notes.push(`${best.length} stacks are equally good by their headers: the one taken last was read (${describe(last.group)}).`);
  return last;
}

/** Tell whether candidates are one series whose slices do not lie on one grid. */
function arePartsOfOneSeries(best: readonly Candidate[]): boolean {
  const series = new Set(best.flatMap(({ group }) => group.slices.map((h) => `${h.seriesUid} ${h.imageKind}`)));
  const planes = best.map(({ group }) => group.first.plane);
  return series.size === 1 && planes.every((one, i) => planes.slice(0, i).every((two) => !sameGrid(one, two)));
}

/** The part with most slices. Throws where several are as large. */
function largestPart(best: readonly Candidate[]): Candidate {
  const sizes = best.map(({ group }) => group.positionCount);
  const most = Math.max(...sizes);
  if (sizes.filter((size) => size === most).length === 1) return best[sizes.indexOf(most)]!;
  const all = [...sizes.slice(0, MOST_LISTED), ...(sizes.length > MOST_LISTED ? ["…"] : [])].join(", ");
  throw new StudyError(
    "the slices of the LGE series are turned, tilted or of another pixel size against each other: they make " +
      `${best.length} stacks (of ${all} slices), none of them the largest`,
    "Export parallel slices, or use the command line, which takes --series",
  );
}

/** Notes that the chosen slices exist as another kind of image too, or are named as one. */
function otherKinds(chosen: Candidate, candidates: readonly Candidate[]): string[] {
  const kind = chosen.group.imageKind;
  const kinds = new Set<string>(candidates.filter((other) => !against(other) &&
    (other.lgeMarked === chosen.lgeMarked || other.group.sameAcquisition(chosen.group)) &&
    other.group.sameSlices(chosen.group)).map((other) => other.group.imageKind));
  kinds.delete(kind);
  const notes = kinds.size
    ? [`The same slices are there as ${[...kinds].sort().join(" and ")} images too: the ${kind} images were read.`] : [];
  const contradictory = new Set(chosen.group.slices.flatMap((header) => contradictoryKinds(header.tokens)));
  if (contradictory.size)
    notes.push(`ImageType calls these images ${[...contradictory].sort().join(" and ")} at once: they were read as ${kind} ` +
      "images. Thresholds differ between kinds: check which one it is.");
  const names = new Set<string>(chosen.group.slices.map((header) => header.namedKind));
  for (const named of [...names].sort())
    if (named !== kind && named !== "unknown type" && !kinds.has(named))
      notes.push(`The series is named as ${named} images, but its headers say ${kind}: they were read as ${kind} images.`);
  return notes;
}

/** The last image of every slice that was taken more than once. */
function takeLast(chosen: Candidate, notes: string[]): Choice {
  const { group } = chosen;
  if (group.isStack) return { chosen, notes, superseded: [] };
  let again = group.imagesPerPosition.flatMap((n, i) => (n > 1 ? [String(i + 1)] : []));
  if (again.length > 2 * MOST_LISTED) again = [...again.slice(0, 2 * MOST_LISTED), "…"];
  const which = again.length === 1 ? `slice ${again[0]} was` : `slices ${again.join(", ")} were`;
  const what = `${which} taken more than once (${countedFrom(normalOf(group.plane))})`;
  const kept: Placed[] = [], superseded: Placed[] = [];
  for (const images of group.atPositions()) {
    const moments = images.map((header) => header.acquired);
    const latest = Math.max(...moments.map((moment) => moment ?? -Infinity));
    const told = !moments.includes(null) && moments.filter((moment) => moment === latest).length === 1;
    if (images.length > 1 && !told)
      throw new StudyError(`${what}, and which image to use cannot be known`, "Export the LGE series with one image per slice");
    const last = images.length === 1 ? images[0]! : images[moments.indexOf(latest)]!;
    kept.push(last);
    superseded.push(...images.filter((header) => header !== last));
  }
  notes.push(`${capital(what)}: the last image of each was used.`);
  return { chosen: { ...chosen, group: new SliceGroup(kept, kept.map(() => 1), group.plane) }, notes, superseded };
}

function listed(candidates: readonly Candidate[]): string {
  const described = candidates.map((candidate) => describe(candidate.group)).sort();
  const more = described.length - MOST_LISTED;
  return [...described.slice(0, MOST_LISTED), ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

function describe(group: SliceGroup): string {
  const numbers = [...new Set(group.slices.flatMap((h) => (h.seriesNumber === null ? [] : [h.seriesNumber])))].sort((a, b) => a - b);
  const where = !numbers.length ? "series without a number"
    : numbers.length === 1 ? `series ${numbers[0]}` : `series ${numbers[0]} to ${numbers.at(-1)}`;
  return `${where} (${group.positionCount} slices, ${group.imageKind})`;
}
