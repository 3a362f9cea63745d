/** Pixel values of one MR slice: scarseg_infer/study/dicom/pixels.py and samples.py. */

import { StudyError } from "../../errors";
import type { Plane } from "../../geometry/plane";
import { rescaled } from "../checks";
import { decoded } from "./codecs";
import { damaged } from "./header";
import type { Header, Keyword } from "./parse";

const IMPLICIT = "1.2.840.10008.1.2";
const BIG_ENDIAN = "1.2.840.10008.1.2.2";
const EXPLICIT = "1.2.840.10008.1.2.1";
const EXPORT = "Export the study uncompressed, or correct the header";
const ORIGINAL = "Export the original images of the scanner";

interface Bits { allocated: number; stored: number; high: number; signed: boolean }

/** Values [rows × columns] after rescale; padding gets the darkest value. Throws StudyError. */
export async function slicePixels(image: Header, header: Header, frame: number | null, plane: Plane, label: string): Promise<Float32Array> {
  checkMeaning(image, label);
  const bits = sampleBits(image, label);
  const syntax = image.transferSyntax;
  const count = plane.rows * plane.columns;
  const native = [IMPLICIT, EXPLICIT, BIG_ENDIAN].includes(syntax);
  if (syntax === BIG_ENDIAN && bits.allocated > 16)
    throw new StudyError(
      `${label} has samples of ${bits.allocated} bits in big-endian order, which programs write in two ways that cannot be told apart`,
      "Export the study in a little-endian transfer syntax",
    );
  const words = native
    ? nativeWords(image, frame, bits.allocated, count, syntax === BIG_ENDIAN, label)
    : await decoded(image, syntax, frame, plane, bits, label);
  const values = cutOut(words, bits, image, label);
  const padding = paddingIn(words, values, bits, header);
  const slope = rescale(header, "RescaleSlope", 1), intercept = rescale(header, "RescaleIntercept", 0);
  if (!slope || intercept === null)
    throw new StudyError(
      `${label} has a ${slope ? "RescaleIntercept" : "RescaleSlope"} that cannot be one`,
      "Export the study again from its source",
    );
  const found = rescaled(values, slope, intercept, true);
  if (!found) throw damaged(label);
  if (header.text("PhotometricInterpretation") === "MONOCHROME1") found.forEach((value, i) => { found[i] = -value; });
  const kept = found.filter((_, i) => !padding[i]);
  if (kept.length && kept.length < found.length) {
    const darkest = kept.reduce((a, b) => Math.min(a, b));
    padding.forEach((is, i) => { if (is) found[i] = darkest; });
  }
  return found;
}

function checkMeaning(image: Header, label: string): void {
  const photometric = image.text("PhotometricInterpretation");
  if (photometric !== "MONOCHROME1" && photometric !== "MONOCHROME2")
    throw new StudyError(
      `${label} is no grey-scale image: its PhotometricInterpretation, which is MONOCHROME1 or MONOCHROME2 in those, is ` +
        (photometric ? "none of these" : "missing"), ORIGINAL);
  if (image.items("ModalityLUTSequence").length)
    throw new StudyError(
      `the pixels of ${label} have a table for a scale (ModalityLUTSequence), which is not supported`, ORIGINAL);
}

function sampleBits(image: Header, label: string): Bits {
  const whole = (keyword: Keyword): number => {
    const value = image.number(keyword);
    if (value === null || !Number.isInteger(value))
      throw new StudyError(`${label} lacks ${keyword}, or has something else than one number there`, "Export the study again from its source");
    return value;
  };
  const [count, allocated, stored, signed] =
    (["SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"] as const).map(whole) as [number, number, number, number];
  const high = image.place("HighBit")?.element.length ? whole("HighBit") : stored - 1;
  if (count !== 1) throw contradiction(label, `SamplesPerPixel is ${count}`);
  if (![8, 16, 32].includes(allocated)) throw contradiction(label, `BitsAllocated is ${allocated}, not 8, 16 or 32`);
  if (!(stored >= 1 && stored <= allocated && high >= stored - 1 && high < allocated))
    throw contradiction(label, `BitsStored ${stored} and HighBit ${high} do not fit BitsAllocated ${allocated}`);
  if (signed !== 0 && signed !== 1) throw contradiction(label, `PixelRepresentation is ${signed}, not 0 or 1`);
  return { allocated, stored, high, signed: signed === 1 };
}

const contradiction = (label: string, what: string): StudyError =>
  new StudyError(`the header of ${label} contradicts its pixels: ${what}`, EXPORT);

/** Unsigned words of a native frame. */
function nativeWords(image: Header, frame: number | null, allocated: number, count: number, big: boolean, label: string): Uint32Array {
  const bytes = image.raw("PixelData");
  const size = allocated / 8;
  const first = ((frame ?? 1) - 1) * count * size;
  if (!bytes || bytes.length < first + count * size) throw damaged(label);
  const view = new DataView(bytes.buffer, bytes.byteOffset + first, count * size);
  const words = new Uint32Array(count);
  for (let i = 0; i < count; i++)
    words[i] = size === 1 ? view.getUint8(i) : size === 2 ? view.getUint16(2 * i, !big) : view.getUint32(4 * i, !big);
  return words;
}

const signedAs = (word: number, bits: number, signed: boolean): number =>
  signed && word >= 2 ** (bits - 1) ? word - 2 ** bits : word;

/** The stored bits of words, with their sign. */
function cutOut(words: Uint32Array, bits: Bits, image: Header, label: string): Float64Array {
  const below = bits.high + 1 - bits.stored;
  if (below && !hasOverlayBelow(image, below) && words.some((word) => word % 2 ** below !== 0))
    throw contradiction(label, `HighBit ${bits.high} and BitsStored ${bits.stored} say that the lowest ${below} bits of its ` +
      "words are unused, and they are not");
  return Float64Array.from(words, (word) =>
    signedAs(Math.floor((word % 2 ** (bits.high + 1)) / 2 ** below), bits.stored, bits.signed));
}

/** True where an overlay plane is said to lie in the lowest bits. */
function hasOverlayBelow(image: Header, bits: number): boolean {
  for (let group = 0x6000; group < 0x6020; group += 2) {
    const place = image.set.uint16(`x${group.toString(16)}0102`);
    if (place !== undefined && place < bits) return true;
  }
  return false;
}

/** Pixels that say that there is none. */
function paddingIn(words: Uint32Array, values: Float64Array, bits: Bits, header: Header): Uint8Array {
  const value = header.number("PixelPaddingValue");
  if (value === null) return new Uint8Array(words.length);
  const limit = header.number("PixelPaddingRangeLimit") ?? value;
  const room = 2 ** bits.allocated;
  const ends = [value, limit].map((end) => signedAs(((Math.trunc(end) % room) + room) % room, bits.allocated, bits.signed));
  const [low, high] = bits.signed ? [-(2 ** (bits.stored - 1)), 2 ** (bits.stored - 1) - 1] : [0, 2 ** bits.stored - 1];
  const fits = ends.every((end) => end >= low && end <= high);
  return Uint8Array.from(words, (word, i) => {
    const at = fits ? values[i]! : signedAs(word, bits.allocated, bits.signed);
    return Number(at >= Math.min(...ends) && at <= Math.max(...ends));
  });
}

function rescale(header: Header, keyword: "RescaleSlope" | "RescaleIntercept", absent: number): number | null {
  return header.place(keyword)?.element.length ? header.number(keyword) : absent;
}
