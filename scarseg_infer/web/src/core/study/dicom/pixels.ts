/** Pixel values of one MR slice: scarseg_infer/study/dicom/pixels.py. */

import { StudyError } from "../../errors";
import type { Plane } from "../../geometry/plane";
import { extremes } from "../../numbers";
import { rescaled } from "../checks";
import { inOtherByteOrder } from "../pixel_order";
import { decoded, isLossy } from "./codecs/decode";
import { damaged } from "./header";
import type { Header } from "./parse";
import { checkMeaning, paddingIn, photometricOf, sampleBits, samples } from "./samples";

const IMPLICIT = "1.2.840.10008.1.2";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const EXPLICIT = "1.2.840.10008.1.2.1";
const NATIVE = [IMPLICIT, EXPLICIT, BIG_ENDIAN];
const HIDDEN = 0.05;

/** `paddingHides`: padding takes the place of something else than darkness in the middle of the image. */
export interface SlicePixels { values: Float32Array; paddingHides: boolean }

/** Values [rows × columns] after rescale; padding gets the darkest value. Throws StudyError. */
export async function slicePixels(image: Header, header: Header, frame: number | null, plane: Plane, label: string): Promise<SlicePixels> {
  checkMeaning(image, label);
  const bits = sampleBits(image, label);
  const syntax = image.transferSyntax;
  if (syntax === BIG_ENDIAN && bits.allocated > 16)
    throw new StudyError(
      `${label} has samples of ${bits.allocated} bits in big-endian order, which programs write in two ways that cannot be told apart`,
      "Export the study in a little-endian transfer syntax",
    );
  const { words, claim } = NATIVE.includes(syntax)
    ? { words: nativeWords(image, frame, bits.allocated, plane.rows * plane.columns, syntax === BIG_ENDIAN, label), claim: null }
    : await decoded(image, syntax, frame, plane, bits, label);
  if (!claim && NATIVE.includes(syntax) && inOtherByteOrder(Float64Array.from(words), bits.allocated / 8, false, plane.columns))
    throw new StudyError(
      `the pixels of ${label} have their bytes in another order than its transfer syntax says`,
      "Export the study again from its source",
    );
  const values = samples(words, bits, claim, isLossy(syntax), image, label);
  const padding = paddingIn(words, values, bits, header);
  const slope = rescale(header, "RescaleSlope", 1), intercept = rescale(header, "RescaleIntercept", 0);
  if (!slope || intercept === null)
    throw new StudyError(
      `${label} has a ${slope ? "RescaleIntercept" : "RescaleSlope"} that cannot be one`,
      "Export the study again from its source",
    );
  const found = rescaled(values, slope, intercept, true);
  if (!found) throw damaged(label);
  if (photometricOf(header) === "MONOCHROME1") found.forEach((value, i) => { found[i] = -value; });
  const kept = found.filter((_, i) => !padding[i]);
  let paddingHides = false;
  if (kept.length && kept.length < found.length) {
    const [darkest, brightest] = extremes(kept);
    const top = Math.floor(plane.rows / 4), left = Math.floor(plane.columns / 4);
    padding.forEach((is, i) => {
      if (!is) return;
      const row = Math.floor(i / plane.columns), column = i % plane.columns;
      const inside = row >= top && row < plane.rows - top && column >= left && column < plane.columns - left;
      paddingHides ||= inside && Math.abs(found[i]! - darkest) > HIDDEN * (brightest - darkest);
      found[i] = darkest;
    });
  }
  return { values: found, paddingHides };
}

/** Unsigned words of a native frame. */
function nativeWords(image: Header, frame: number | null, allocated: number, count: number, big: boolean, label: string): Uint32Array {
  const bytes = image.raw("PixelData");
  const size = allocated / 8;
  const first = ((frame ?? 1) - 1) * count * size;
  const several = frame === null && bytes !== null && bytes.length >= 2 * count * size;
  if (!bytes || several || bytes.length < first + count * size) throw damaged(label);
  const view = new DataView(bytes.buffer, bytes.byteOffset + first, count * size);
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++)
    words[i] = size === 1 ? view.getUint8(i) : size === 2 ? view.getUint16(2 * i, !big) : view.getUint32(4 * i, !big);
  return words;
}

function rescale(header: Header, keyword: "RescaleSlope" | "RescaleIntercept", absent: number): number | null {
  return header.place(keyword)?.element.length ? header.number(keyword) : absent;
}
