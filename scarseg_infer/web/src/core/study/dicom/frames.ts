/** An enhanced (multi-frame) MR object → one header a frame, as if each were a classic image. */

import { StudyError } from "../../errors";
import { tagOf, type Header, type Keyword } from "./parse";

const MAX_FRAMES = 2000;
const FROM_GROUPS: [string, [Keyword, Keyword][]][] = [
  ["x00209113", [["ImagePositionPatient", "ImagePositionPatient"]]],
  ["x00209116", [["ImageOrientationPatient", "ImageOrientationPatient"]]],
  ["x00289110", [["PixelSpacing", "PixelSpacing"], ["SliceThickness", "SliceThickness"],
    ["SpacingBetweenSlices", "SpacingBetweenSlices"]]],
  ["x00289145", [["RescaleIntercept", "RescaleIntercept"], ["RescaleSlope", "RescaleSlope"]]],
  ["x00209111", [["FrameReferenceDateTime", "AcquisitionDateTime"],
    ["FrameAcquisitionDateTime", "AcquisitionDateTime"], ["FrameAcquisitionNumber", "AcquisitionNumber"],
    ["TemporalPositionIndex", "TemporalPositionIdentifier"]]],
  ["x00189226", [["FrameType", "ImageType"], ["ComplexImageComponent", "ComplexImageComponent"]]],
  ["x00189114", [["EffectiveEchoTime", "EchoTime"]]],
  ["x00189115", [["InversionTimes", "InversionTime"]]],
  ["x00189118", [["NominalCardiacTriggerDelayTime", "TriggerTime"]]],
];
/** Only groups place a frame: outside of them these describe the object as a whole, if anything. */
const HIDDEN = new Set((["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
  "SpacingBetweenSlices"] as const).map(tagOf));
export const UNASSIGNED = ["x00209170", "x00209171"];

type Over = Parameters<Header["under"]>[0];

/** A classic header for each frame. Throws StudyError where the groups are not one a frame; null for
 * more frames than any LGE has. */
export function frameHeaders(image: Header, label: string): Header[] | null {
  const perFrame = image.items("PerFrameFunctionalGroupsSequence");
  if (!perFrame.length || image.number("NumberOfFrames") !== perFrame.length)
    throw new StudyError(
      `${label} is an enhanced MR object whose frames do not all have their functional groups`,
      "Export or copy the study again",
    );
  if (perFrame.length > MAX_FRAMES) return null;
  const common: Over = new Map();
  for (const group of image.items("SharedFunctionalGroupsSequence")) flatten(common, group, image);
  return perFrame.map((group) => {
    const over: Over = new Map(common);
    flatten(over, group, image);
    return image.under(over, HIDDEN);
  });
}

function flatten(over: Over, groups: Header, image: Header): void {
  const items = (tag: string) =>
    (groups.set.elements[tag]?.items ?? []).flatMap((item) => (item.dataSet ? [item.dataSet] : []));
  for (const set of UNASSIGNED.flatMap(items))
    for (const [tag, element] of Object.entries(set.elements))
      if (!image.set.elements[tag] && !over.has(tag)) over.set(tag, { set, element });
  for (const [sequence, names] of FROM_GROUPS)
    for (const set of items(sequence))
      for (const [keyword, classic] of names) {
        const element = set.elements[tagOf(keyword)];
        if (element?.length) over.set(tagOf(classic), { set, element });
      }
}
