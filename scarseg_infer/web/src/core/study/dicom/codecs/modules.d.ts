/** Parts of npm's packages that have no types of their own. */

interface CornerstoneDecoder {
  getEncodedBuffer(length: number): Uint8Array;
  decode(): void;
  getDecodedBuffer(): Uint8Array;
  delete(): void;
}
type CornerstoneCodec = (options: { wasmBinary: Uint8Array; print: () => void; printErr: () => void }) => Promise<
  Partial<Record<"JPEGDecoder" | "JpegLSDecoder" | "J2KDecoder", new () => CornerstoneDecoder>>
>;
declare module "@cornerstonejs/codec-charls/decodewasmjs" { const open: CornerstoneCodec; export default open; }
declare module "@cornerstonejs/codec-charls/decodewasm" { const bytes: Uint8Array; export default bytes; }
declare module "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasmjs" { const open: CornerstoneCodec; export default open; }
declare module "@cornerstonejs/codec-libjpeg-turbo-8bit/decodewasm" { const bytes: Uint8Array; export default bytes; }
declare module "@cornerstonejs/codec-openjpeg/decodewasmjs" { const open: CornerstoneCodec; export default open; }
declare module "@cornerstonejs/codec-openjpeg/decodewasm" { const bytes: Uint8Array; export default bytes; }
declare module "jpeg-lossless-decoder-js" {
  export class Decoder {
    decode(buffer: ArrayBuffer, offset: number, length: number): Uint8Array | Uint16Array;
    readonly yDim: number;
    /** Row of the next pixel. */
    readonly yLoc: number;
    /** Count of the bytes that were read. */
    readonly stream: { readonly index: number };
  }
}
