/** RLE of PS3.5 annex G: a segment for each byte of a word, the uppermost first. */

/** Unsigned words. Throws on damage. */
export function unpackRle(bytes: Uint8Array, count: number, allocated: number): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const segments = view.getUint32(0, true);
  if (segments !== allocated / 8) throw new Error("another number of segments");
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
