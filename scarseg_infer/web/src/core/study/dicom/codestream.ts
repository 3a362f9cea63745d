/** Size that a compressed frame claims, read before a decoder believes it:
 * scarseg_infer/study/dicom/codestream.py. Throws anything on damage. */

const SOS = 0xda, LSE = 0xf8, LSE_SIZE = 4;
const MAX_TILES = 4096;

/** Size of a frame. JPEG and JPEG-LS cannot say that values are signed. */
export interface Claim { rows: number; columns: number; samples: number; bits: number; signed: boolean }

/** Start of frame of every JPEG process (T.81, table B.1) and of JPEG-LS (T.87). */
const isFrameHeader = (marker: number): boolean =>
  marker === 0xf7 || (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** Claims of the frame headers of a JPEG or JPEG-LS stream. */
export function jpegClaims(frame: Uint8Array): Claim[] {
  if (frame[0] !== 0xff || frame[1] !== 0xd8) throw new Error("no JPEG stream");
  const found: Claim[] = [];
  for (const [marker, segment] of segments(frame)) {
    if (isFrameHeader(marker))
      found.push({
        bits: segment.getUint8(0), rows: segment.getUint16(1), columns: segment.getUint16(3), samples: segment.getUint8(5), signed: false,
      });
    else if (marker === LSE && segment.byteLength && segment.getUint8(0) === LSE_SIZE)
      throw new Error("size of a JPEG-LS image outside of its frame header");
  }
  return found;
}

/** Marker and content of each segment before the first scan. */
function* segments(frame: Uint8Array): Generator<[number, DataView]> {
  const view = viewOf(frame);
  for (let at = 2; ;) {
    if (view.getUint8(at) !== 0xff) throw new Error("no marker where one must be");
    while (view.getUint8(at) === 0xff) at++; // any number of them may precede the marker
    const marker = view.getUint8(at);
    if (marker === SOS) return;
    const length = view.getUint16(at + 1);
    yield [marker, viewOf(frame.subarray(at + 3, at + 1 + length))];
    at += 1 + Math.max(length, 2);
  }
}

/** Claim of a JPEG 2000 stream, bare or in a JP2 file. */
export function jpeg2000Claims(frame: Uint8Array): Claim[] {
  const view = viewOf(frame);
  const start = view.getUint32(0) === 12 && view.getUint32(4) === 0x6a502020 ? codestream(view) : 0;
  if (view.getUint32(start) !== 0xff4fff51) throw new Error("no JPEG 2000 codestream");
  const [right, bottom, left, top, tileWidth, tileHeight, tileLeft, tileTop] =
    Array.from({ length: 8 }, (_, i) => view.getUint32(start + 8 + 4 * i)) as
      [number, number, number, number, number, number, number, number];
  const tiles = (from: number, to: number, size: number): number => (size ? Math.ceil((to - from) / size) : MAX_TILES + 1);
  const [depth, stepX, stepY] = [42, 43, 44].map((at) => view.getUint8(start + at)) as [number, number, number];
  if (tiles(tileLeft, right, tileWidth) * tiles(tileTop, bottom, tileHeight) > MAX_TILES || stepX !== 1 || stepY !== 1)
    throw new Error("too many tiles, or pixels left out");
  return [{
    rows: bottom - top, columns: right - left, samples: view.getUint16(start + 40), bits: (depth & 0x7f) + 1, signed: depth > 0x7f,
  }];
}

/** Start of the codestream of a JP2 file. */
function codestream(view: DataView): number {
  for (let at = 0; ;) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === 0x6a703263) return at + 8;
    if (length < 8) throw new Error("no codestream in a JP2 file"); // to the end, or longer than DICOM elements
    at += length;
  }
}
