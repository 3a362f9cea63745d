/** Bits of a stored word that are the value of a pixel, in every encoding alike:
 * scarseg_infer/study/dicom/samples.py. */

import { StudyError } from "../../errors";
import type { Claim } from "./codestream";
import type { Header, Keyword } from "./parse";

const OVERSHOOT = 1 / 8;
const UNDECLARED_PLANES = 1;
const EXPORT = "Export the study uncompressed, or correct the header";
const ORIGINAL = "Export the original images of the scanner";

/** Place of the value in a word; `high` is its uppermost bit, from 0. */
export interface Bits { allocated: number; stored: number; high: number; signed: boolean }

/** PhotometricInterpretation in capitals, which some writers do not use; "" if absent. */
export function photometricOf(image: Header): string {
  return image.text("PhotometricInterpretation").toUpperCase();
}

/** Throws StudyError where a sample is no shade of grey with a line for its scale. */
export function checkMeaning(image: Header, label: string): void {
  const photometric = photometricOf(image);
  if (photometric !== "MONOCHROME1" && photometric !== "MONOCHROME2")
    throw new StudyError(
      `${label} is no grey-scale image: its PhotometricInterpretation, which is MONOCHROME1 or MONOCHROME2 in those, is ` +
        (photometric ? "none of these" : "missing"), ORIGINAL);
  if (image.items("ModalityLUTSequence").length)
    throw new StudyError(
      `the pixels of ${label} have a table for a scale (ModalityLUTSequence), which is not supported`, ORIGINAL);
}

/** Layout of the words by the Image Pixel module (PS3.3, C.7.6.3). Throws StudyError. */
export function sampleBits(image: Header, label: string): Bits {
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

/** The values in decoded words, right-aligned at the precision of `claim`, which is null where there
 * is no codestream. Throws StudyError where header and codestream contradict each other. */
export function samples(
  words: Uint32Array, bits: Bits, claim: Claim | null, lossy: boolean, image: Header, label: string,
): Float64Array {
  if (claim && claim.bits < bits.high + 1) return shortWords(words, bits, claim, label);
  if (claim && lossy) return nearly(words, bits, claim, label);
  checkAbove(words, bits, claim, image, label);
  const below = unusedBelow(bits);
  if (below && !overlayPlanes(image).some((place) => place < below) && words.some((word) => bitsOf(word, 0, below)))
    throw contradiction(label, `HighBit ${bits.high} and BitsStored ${bits.stored} say that the lowest ${below} bits of its ` +
      "words are unused, and they are not");
  return cutOut(words, bits.stored, bits.high, bits.signed);
}

/** Pixels that say that there is none (PS3.3, C.7.5.1.1.2). */
export function paddingIn(words: Uint32Array, values: Float64Array, bits: Bits, header: Header): Uint8Array {
  const value = header.number("PixelPaddingValue");
  if (value === null) return new Uint8Array(words.length);
  const limit = header.number("PixelPaddingRangeLimit") ?? value;
  const ends = [value, limit].map((end) => signedAs(asWord(end, bits), bits.allocated, bits.signed));
  const [low, high] = rangeOf(bits);
  const fits = ends.every((end) => end >= low && end <= high);
  const [first, last] = [Math.min(...ends), Math.max(...ends)];
  return new Uint8Array(words.length).map((_, i) => {
    const at = fits ? values[i]! : signedAs(words[i]!, bits.allocated, bits.signed);
    return Number(at >= first && at <= last);
  });
}

/** Throws where what lies above the value belongs to it. An old overlay plane is a single bit; several
 * that nothing declares are a value of more bits, or a sign that PixelRepresentation denies. */
function checkAbove(words: Uint32Array, bits: Bits, claim: Claim | null, image: Header, label: string): void {
  let above = bits.allocated - bits.high - 1;
  if (claim) {
    above = Math.min(above, claim.bits - bits.high - 1);
    if (claim.signed && !bits.signed && words.some((word) => isNegative(word, claim.bits)))
      throw contradiction(label, "its compressed pixels have values below zero and PixelRepresentation 0 says that it has none");
  }
  if (!above) return;
  const all = 2 ** above - 1;
  const value = image.number("PixelPaddingValue");
  const padding = value === null ? null : asWord(value, bits);
  let planes = 0, sign = !bits.signed && above > 1;
  for (const word of words) {
    if (word === padding) continue; // may be what no value can be
    const held = bitsOf(word, bits.high + 1, above);
    if (!bits.signed || held !== all) planes = (planes | held) >>> 0;
    if (held !== 0 && held !== all) sign = false;
  }
  const partial = claim !== null && claim.bits !== bits.high + 1 && claim.bits !== bits.allocated;
  const few = ones(planes) <= UNDECLARED_PLANES && !sign && !partial && !goesOn(words, bits, planes, image);
  if (planes && !few && !overlayPlanes(image).some((place) => place > bits.high))
    throw contradiction(label, `its words hold more bits than BitsStored ${bits.stored} and HighBit ${bits.high} say`);
}

/** Tell whether an image is smoother with the bits above its value than without them: they are of the value
 * then, which jumps where they are cut off. The outline of an overlay plane is a jump. */
function goesOn(words: Uint32Array, bits: Bits, planes: number, image: Header): boolean {
  if (!planes) return false;
  const above = planes.toString(2).length, columns = image.number("Columns")!;
  const jumps = (values: Float64Array): number => values.reduce((sum, value, i) =>
    sum + (i % columns ? Math.abs(value - values[i - 1]!) : 0) + (i >= columns ? Math.abs(value - values[i - columns]!) : 0), 0);
  return jumps(cutOut(words, bits.stored + above, bits.high + above, bits.signed)) <
    jumps(cutOut(words, bits.stored, bits.high, bits.signed));
}

/** Values of a codestream that has fewer bits than the header says: harmless while no value is
 * negative in one of the two only. */
function shortWords(words: Uint32Array, bits: Bits, claim: Claim, label: string): Float64Array {
  if (unusedBelow(bits) || (claim.signed !== bits.signed && words.some((word) => isNegative(word, claim.bits))))
    throw contradiction(label, `BitsStored ${bits.stored} and HighBit ${bits.high} of its header need more than the ` +
      `${claim.bits} bits of its compressed pixels`);
  return cutOut(words, claim.bits, claim.bits - 1, claim.signed);
}

/** Values that have been compressed with loss: bits beside them cannot have survived. */
function nearly(words: Uint32Array, bits: Bits, claim: Claim, label: string): Float64Array {
  const found = cutOut(words, claim.bits, claim.bits - 1, bits.signed || claim.signed);
  const [low, high] = rangeOf(bits);
  const beyond = OVERSHOOT * (high - low + 1);
  if (unusedBelow(bits) || found.some((value) => value < low - beyond || value > high + beyond))
    throw contradiction(label, `it was compressed with loss and has values that BitsStored ${bits.stored} and HighBit ` +
      `${bits.high} of its header cannot hold`);
  return found.map((value) => Math.min(Math.max(value, low), high));
}

const unusedBelow = (bits: Bits): number => bits.high + 1 - bits.stored;
const bitsOf = (word: number, from: number, count: number): number => Math.floor(word / 2 ** from) % 2 ** count;
const isNegative = (word: number, bits: number): boolean => bitsOf(word, bits - 1, 1) === 1;
const signedAs = (word: number, bits: number, signed: boolean): number =>
  signed && word >= 2 ** (bits - 1) ? word - 2 ** bits : word;
const ones = (word: number): number => word.toString(2).replaceAll("0", "").length;

const cutOut = (words: Uint32Array, stored: number, high: number, signed: boolean): Float64Array =>
  new Float64Array(words.length).map((_, i) => signedAs(bitsOf(words[i]!, high + 1 - stored, stored), stored, signed));

/** A value as a word, whether its sign was written or not: the VR depends on PixelRepresentation. */
function asWord(value: number, { allocated }: Bits): number {
  const room = 2 ** allocated;
  return ((Math.trunc(value) % room) + room) % room;
}

const rangeOf = ({ stored, signed }: Bits): [number, number] =>
  signed ? [-(2 ** (stored - 1)), 2 ** (stored - 1) - 1] : [0, 2 ** stored - 1];

/** Bits of a word that are said to be an overlay plane (PS3.3, C.9.2). */
function overlayPlanes(image: Header): number[] {
  const found: number[] = [];
  for (let group = 0x6000; group < 0x6020; group += 2) {
    const place = image.set.uint16(`x${group.toString(16)}0102`);
    if (place !== undefined) found.push(place);
  }
  return found;
}

const contradiction = (label: string, what: string): StudyError =>
  new StudyError(`the header of ${label} contradicts its pixels: ${what}`, EXPORT);
