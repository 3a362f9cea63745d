/** Decoders in WebAssembly: OpenJPEG, CharLS and libjpeg-turbo, as the codecs of Cornerstone. Each is
 * compiled when the first frame needs it. */

import charls from "@cornerstonejs/codec-charls/decodewasmjs";
import charlsBytes from "@cornerstonejs/codec-charls/decodewasm";
import jpeg from "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs";
import jpegBytes from "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm";
import openjpeg from "@cornerstonejs/codec-openjpeg/decodewasmjs";
import openjpegBytes from "@cornerstonejs/codec-openjpeg/decodewasm";

export type Codec = "JPEG" | "JPEG-LS" | "JPEG 2000";

const PARTS = { JPEG: [jpeg, jpegBytes], "JPEG-LS": [charls, charlsBytes], "JPEG 2000": [openjpeg, openjpegBytes] } as const;
const opened = new Map<Codec, ReturnType<typeof jpeg>>();

/** Samples of one frame, in bytes as many as they need, little-endian. Throws on damage. */
export async function runCodec(codec: Codec, encoded: Uint8Array): Promise<Uint8Array> {
  const [open, wasmBinary] = PARTS[codec];
  const found = opened.get(codec) ?? open({ wasmBinary, print: () => undefined, printErr: () => undefined });
  opened.set(codec, found);
  try {
    const { JPEGDecoder, JpegLSDecoder, J2KDecoder } = await found;
    const decoder = new (JPEGDecoder ?? JpegLSDecoder ?? J2KDecoder)!();
    decoder.getEncodedBuffer(encoded.length).set(encoded);
    decoder.decode();
    const bytes = decoder.getDecodedBuffer().slice();
    decoder.delete();
    return bytes;
  } catch (error) {
    opened.delete(codec); // what ended in the middle is not used again
    throw error;
  }
}
