/** Compressed frames. */

import dicomParser from "dicom-parser";
import { StudyError } from "../../errors";
import type { Plane } from "../../geometry/plane";
import { damaged } from "./header";
import type { Header } from "./parse";

const RLE = "1.2.840.10008.1.2.5";

interface Bits { allocated: number }

/** Unsigned words of a compressed frame. Throws StudyError where its encoding is not supported. */
export async function decoded(
  image: Header, syntax: string, frame: number | null, plane: Plane, bits: Bits, label: string,
): Promise<Uint32Array> {
  const element = image.place("PixelData")!.element;
  if (syntax !== RLE)
    throw new StudyError(
      `the images are compressed (transfer syntax ${/^[0-9.]{1,64}$/.test(syntax) ? syntax : "unknown"}) and the page ` +
        "has no decoder for that",
      "Export the study uncompressed, or use the command line",
    );
  try {
    const frames = frame === null ? 1 : image.number("NumberOfFrames")!;
    const table = element.basicOffsetTable?.length ? element.basicOffsetTable
      : frames === element.fragments?.length ? dicomParser.createJPEGBasicOffsetTable : null;
    if (frames === 1) return unpackRle(dicomParser.readEncapsulatedPixelDataFromFragments(image.set, element, 0, element.fragments!.length), plane, bits);
    const index = frame! - 1;
    const encoded = Array.isArray(table)
      ? dicomParser.readEncapsulatedImageFrame(image.set, element, index)
      : dicomParser.readEncapsulatedPixelDataFromFragments(image.set, element, index, 1);
    return unpackRle(encoded, plane, bits);
  } catch (error) {
    if (error instanceof StudyError) throw error;
    throw damaged(label);
  }
}

/** RLE of PS3.5 annex G: a segment for each byte of a word, the uppermost first. */
function unpackRle(data: ArrayLike<number>, plane: Plane, bits: Bits): Uint32Array {
  const bytes = Uint8Array.from(data);
  const view = new DataView(bytes.buffer);
  const count = plane.rows * plane.columns;
  const segments = view.getUint32(0, true);
  if (segments !== bits.allocated / 8) throw new Error("another number of segments");
  const words = new Uint32Array(count);
  for (let segment = 0; segment < segments; segment++) {
    let at = view.getUint32(4 + 4 * segment, true);
    const end = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : bytes.length;
    let i = 0;
    const put = (byte: number): void => { if (i < count) words[i] = words[i]! * 256 + byte; i++; };
    while (i < count && at < end) {
      const code = (bytes[at++]! << 24) >> 24;
      if (code >= 0) for (let k = 0; k <= code && at < end; k++) put(bytes[at++]!);
      else if (code > -128) {
        for (let k = 0; k < 1 - code; k++) put(bytes[at]!);
        at++;
      }
    }
    if (i < count) throw new Error("cut short");
  }
  return words;
}
