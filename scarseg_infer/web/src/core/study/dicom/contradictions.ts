/** Attributes that say of the place of images otherwise than what is used:
 * scarseg_infer/study/dicom/contradictions.py. */

import { SAME_POSITION_MM, medianStep, normalOf } from "../../geometry/plane";
import { dot, type Vector } from "../../geometry/vectors";
import { fixed } from "../../words";
import { UNASSIGNED } from "./frames";
import type { Header, Keyword } from "./parse";
import type { Placed, SliceGroup } from "./series";

const LETTERS: Record<string, Vector> = {
  L: [1, 0, 0], R: [-1, 0, 0], P: [0, 1, 0], A: [0, -1, 0], H: [0, 0, 1], F: [0, 0, -1],
};
const OPPOSITE = -0.17;
const SAME_STEP = 0.1;
const SAME_AXIS = 0.02;
const SAME_SPACING = 0.01;
const USED_IF_NUMBERS = [
  "InversionTime", "EchoTime", "TriggerTime", "SliceThickness", "SliceLocation", "SpacingBetweenSlices",
  "CardiacNumberOfImages",
] as const;

/** Doubts about how the heart lies, and what else there is to warn of. `images`: the object of each slice. */
export function contradictions(headers: readonly Header[], images: readonly Header[], group: SliceGroup): { doubtful: string[]; odd: string[] } {
  const doubtful: string[] = [];
  if (headers.some((header) => isTurned(header, group)))
    doubtful.push("PatientOrientation contradicts ImageOrientationPatient: which wall is which is taken as unknown.");
  const odd = new Set(group.slices.flatMap((header, i) => (header.frame === null ? [] : saidOtherwise(images[i]!, header))));
  if (odd.size)
    doubtful.push(`${[...odd].sort().join(" and ")} of the enhanced MR object stands there twice with different values: ` +
      "how the heart lies is taken as unknown.");
  if (isReordered(headers))
    doubtful.push("SliceLocation orders the slices otherwise than ImagePositionPatient, which was used: how the heart lies is taken as unknown.");
  return { doubtful, odd: [...frames(group), ...steps(headers, group), ...aspect(headers, group), ...numbered(headers), ...unread(headers)] };
}

/** Attributes that are used where they are numbers, and are none: as if they were missing. */
function unread(headers: readonly Header[]): string[] {
  const odd = USED_IF_NUMBERS.filter((keyword) =>
    headers.some((header) => header.text(keyword) !== "" && header.first(keyword) === null));
  return odd.length
    ? [`${odd.join(" and ")} of the images cannot be read as a number (such as one with a decimal comma) and did not count.`]
    : [];
}

function isTurned(header: Header, group: SliceGroup): boolean {
  const said = header.text("PatientOrientation").toUpperCase().split("\\");
  if (said.length !== 2) return false;
  const { rowDirection, columnDirection } = group.first.plane;
  return [rowDirection, columnDirection].some((direction, i) =>
    [...said[i]!.trim()].some((letter) => letter in LETTERS && dot(LETTERS[letter]!, direction) < OPPOSITE));
}

/** Attributes of place that say something else than what is used for a frame. */
function saidOtherwise(image: Header, header: Placed): Keyword[] {
  const { plane } = header;
  const frames = image.items("PerFrameFunctionalGroupsSequence");
  const groups = [...image.items("SharedFunctionalGroupsSequence"), frames[header.frame! - 1]!];
  const found: Keyword[] = [];
  const axes = [...plane.rowDirection, ...plane.columnDirection];
  for (const said of values([image], groups, "x00209116", "ImageOrientationPatient", 6))
    if (said.some((part, i) => Math.abs(part - axes[i]!) > SAME_AXIS)) found.push("ImageOrientationPatient");
  for (const said of values([image], groups, "x00289110", "PixelSpacing", 2))
    if (said.some((mm, i) => Math.abs(mm - plane.spacing[i]!) > SAME_SPACING * plane.spacing[i]!)) found.push("PixelSpacing");
  const apart = (one: readonly number[], other: readonly number[]): boolean =>
    Math.hypot(...one.map((mm, i) => mm - other[i]!)) > SAME_POSITION_MM;
  const places = (of: readonly Header[]): number[][] => values([], of, "x00209113", "ImagePositionPatient", 3);
  // Outside of the groups stands the place of one of the frames.
  const once = image.numbers("ImagePositionPatient", 3);
  if (places(groups).some((said) => apart(said, plane.origin)) || (once && places(frames).every((one) => apart(one, once))))
    found.push("ImagePositionPatient");
  return found;
}

/** All values of an attribute in functional groups, also those a conversion has left over, and in `others`. */
function values(others: readonly Header[], groups: readonly Header[], sequence: string, keyword: Keyword, count: number): number[][] {
  const inside = groups.flatMap((group) => [sequence, ...UNASSIGNED].flatMap((tag) => group.itemsAt(tag)));
  return [...inside, ...others].flatMap((one) => { const said = one.numbers(keyword, count); return said ? [said] : []; });
}

function isReordered(headers: readonly Header[]): boolean {
  const known = headers.flatMap((header) => header.number("SliceLocation") ?? []);
  if (known.length < headers.length || new Set(known).size < known.length) return false;
  const differences = known.slice(1).map((value, i) => value - known[i]!);
  return differences.some((step) => step > 0) && differences.some((step) => step < 0);
}

/** InstanceNumber that counts most slices one by one and some not: these may have the positions of each other. */
function numbered(headers: readonly Header[]): string[] {
  const known = headers.flatMap((header) => header.number("InstanceNumber") ?? []);
  if (known.length < headers.length || new Set(known).size < known.length || !known.length) return [];
  const leaps = known.slice(1).filter((value, i) => Math.abs(value - known[i]!) > 1).length;
  if (Math.max(...known) - Math.min(...known) !== known.length - 1 || leaps < 2 || 2 * leaps > known.length - 1) return [];
  return ["InstanceNumber counts some slices in another order than their positions, which were used: check in the pictures " +
    "that the heart narrows evenly from base to apex."];
}

function frames(group: SliceGroup): string[] {
  const count = new Set(group.slices.map((header) => header.frameUid).filter(Boolean)).size;
  if (count < 2) return [];
  return [`The slices have ${count} frames of reference (FrameOfReferenceUID): where they lie in relation to each ` +
    "other is not known; volumes use the positions as they stand."];
}

function steps(headers: readonly Header[], group: SliceGroup): string[] {
  const said = new Set(headers.flatMap((header) => header.number("SpacingBetweenSlices") ?? []));
  const normal = normalOf(group.plane);
  const positions = group.origins.map((origin) => dot(origin, normal));
  if (said.size !== 1 || positions.length < 2) return [];
  const claimed = Math.abs([...said][0]!);
  if (claimed === 0) return [];
  const usual = medianStep(positions);
  const gap = claimed + (group.first.sliceThicknessMm ?? 0);
  if ([claimed, gap].some((step) => Math.abs(step - usual) <= SAME_STEP * usual)) return [];
  return [`SpacingBetweenSlices says ${fixed(claimed, 1)} mm, the positions of the slices ${fixed(usual, 1)} mm: ` +
    "volumes use the positions."];
}

function aspect(headers: readonly Header[], group: SliceGroup): string[] {
  const ratio = headers[0]!.numbers("PixelAspectRatio", 2);
  const [rows, columns] = group.first.plane.spacing;
  if (!ratio || Math.min(...ratio) <= 0) return [];
  if (Math.abs(ratio[0]! / ratio[1]! - rows / columns) <= (SAME_STEP * rows) / columns) return [];
  return ["PixelAspectRatio contradicts PixelSpacing, which was used: check that the heart is not stretched in the pictures."];
}
