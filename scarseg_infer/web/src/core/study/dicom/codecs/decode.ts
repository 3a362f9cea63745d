/** Words of compressed frames, by transfer syntax (PS3.5, annex A.4). */

import dicomParser from "dicom-parser";
import { Decoder as LosslessDecoder } from "jpeg-lossless-decoder-js";
import { StudyError } from "../../../errors";
import type { Plane } from "../../../geometry/plane";
import { jpeg2000Claims, jpegClaims, type Claim } from "../codestream";
import { damaged } from "../header";
import type { Header } from "../parse";
import type { Bits } from "../samples";
import { unpackRle } from "./rle";
import { runCodec, type Codec } from "./wasm";

const RLE = "1.2.840.10008.1.2.5";
const BASELINE = "1.2.840.10008.1.2.4.50", EXTENDED = "1.2.840.10008.1.2.4.51";
const JPEG_LS_NEAR = "1.2.840.10008.1.2.4.81", JPEG_2000 = "1.2.840.10008.1.2.4.91";
const CODECS: Record<string, Codec | "JPEG lossless"> = {
  [BASELINE]: "JPEG", [EXTENDED]: "JPEG",
  "1.2.840.10008.1.2.4.57": "JPEG lossless", "1.2.840.10008.1.2.4.70": "JPEG lossless",
  "1.2.840.10008.1.2.4.80": "JPEG-LS", [JPEG_LS_NEAR]: "JPEG-LS",
  "1.2.840.10008.1.2.4.90": "JPEG 2000", [JPEG_2000]: "JPEG 2000",
};
/** Bits for which the decoder of each is written. */
const MOST_BITS: Record<Codec | "JPEG lossless", number> = { JPEG: 8, "JPEG lossless": 16, "JPEG-LS": 16, "JPEG 2000": 16 };
const LOSSY = [BASELINE, EXTENDED, JPEG_LS_NEAR, JPEG_2000];

export const isLossy = (syntax: string): boolean => LOSSY.includes(syntax);

/** Unsigned words of a compressed frame, and what its codestream claims: null for RLE, which claims
 * nothing. Throws StudyError where it is damaged or there is no decoder. */
export async function decoded(
  image: Header, syntax: string, frame: number | null, plane: Plane, bits: Bits, label: string,
): Promise<{ words: Uint32Array; claim: Claim | null }> {
  const codec = CODECS[syntax];
  if (!codec && syntax !== RLE)
    throw noDecoder(`transfer syntax ${/^[0-9.]{1,64}$/.test(syntax) ? syntax : "unknown"}`);
  try {
    const encoded = encodedFrame(image, frame);
    if (!codec) return { words: unpackRle(encoded, plane.rows * plane.columns, bits.allocated), claim: null };
    const claim = claimOf(codec === "JPEG 2000" ? jpeg2000Claims(encoded) : jpegClaims(encoded), plane, bits);
    if (claim.bits > MOST_BITS[codec]) throw noDecoder(`${codec} with ${claim.bits} bits`);
    return { words: await wordsOf(codec, encoded, claim, bits), claim };
  } catch (error) {
    if (error instanceof StudyError) throw error;
    throw damaged(label);
  }
}

const noDecoder = (what: string): StudyError => new StudyError(
  `the images are compressed (${what}) and the page has no decoder for that`,
  "Export the study uncompressed, or use the command line",
);

/** Bytes of one frame. One frame may lie in several fragments (PS3.5, A.4). */
function encodedFrame(image: Header, frame: number | null): Uint8Array {
  const { element } = image.place("PixelData")!;
  const { fragments = [], basicOffsetTable } = element;
  const frames = frame === null ? 1 : image.number("NumberOfFrames")!;
  const index = (frame ?? 1) - 1;
  const some = (first: number, count: number): ArrayLike<number> =>
    dicomParser.readEncapsulatedPixelDataFromFragments(image.set, element, first, count);
  if (frames === 1) return Uint8Array.from(some(0, fragments.length));
  if (basicOffsetTable?.length) return Uint8Array.from(dicomParser.readEncapsulatedImageFrame(image.set, element, index));
  if (fragments.length === frames) return Uint8Array.from(some(index, 1));
  const table = dicomParser.createJPEGBasicOffsetTable(image.set, element);
  if (table.length !== frames) throw new Error("another number of frames");
  return Uint8Array.from(dicomParser.readEncapsulatedImageFrame(image.set, element, index, table));
}

/** The claim of a frame that is of the size of its slice. */
function claimOf(claims: readonly Claim[], plane: Plane, bits: Bits): Claim {
  const [first] = claims;
  const fits = ({ rows, columns, samples, bits: own }: Claim): boolean =>
    rows === plane.rows && columns === plane.columns && samples === 1 && own <= bits.allocated;
  if (!first || !claims.every((claim) => fits(claim) && claim.bits === first.bits && claim.signed === first.signed))
    throw new Error("a compressed frame of another size than its header says");
  return first;
}

async function wordsOf(codec: Codec | "JPEG lossless", encoded: Uint8Array, claim: Claim, bits: Bits): Promise<Uint32Array> {
  const count = claim.rows * claim.columns;
  if (codec === "JPEG lossless") return Uint32Array.from(lossless(encoded, count));
  const bytes = await runCodec(codec, encoded);
  const size = claim.bits > 8 ? 2 : 1;
  if (bytes.length !== count * size) throw new Error("cut short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const room = 2 ** bits.allocated;
  const read = (i: number): number => {
    if (!claim.signed) return size === 1 ? view.getUint8(i) : view.getUint16(2 * i, true);
    return ((size === 1 ? view.getInt8(i) : view.getInt16(2 * i, true)) + room) % room;
  };
  return new Uint32Array(count).map((_, i) => read(i));
}

/** JPEG process 14. */
function lossless(encoded: Uint8Array, count: number): Uint8Array | Uint16Array {
  const decoder = new LosslessDecoder();
  const found = decoder.decode(encoded.buffer as ArrayBuffer, encoded.byteOffset, encoded.length);
  // It reads on behind the end of a stream that is cut short, and says nothing.
  if (found.length !== count || decoder.yLoc < decoder.yDim || decoder.stream.index > encoded.length) throw new Error("cut short");
  return found;
}
