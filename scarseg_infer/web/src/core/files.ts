/** Files that were dropped, unpacked where they were a zip, with limits on size and number. */

import { Gunzip, Unzip, UnzipInflate } from "fflate";
import { crc32 } from "./crc32";
import { StudyError } from "./errors";

/** A file by its path within what was dropped. Paths are never shown: they may hold names. */
export interface DroppedFile {
  path: string;
  bytes: Uint8Array;
}

export const MAX_FILE_BYTES = 256 * 2 ** 20;
export const MAX_FILES = 50_000;
const MAX_TOTAL_BYTES = 2 ** 30;
const UNPACK = "Unpack it and drop the folder";

const isZip = (bytes: Uint8Array): boolean =>
  bytes[0] === 0x50 && bytes[1] === 0x4b && (bytes[2] === 3 || bytes[2] === 5);

/** All files, those in zip archives in place of the archives, in name order. */
export function unpacked(files: readonly DroppedFile[]): DroppedFile[] {
  const found: DroppedFile[] = [];
  let total = 0;
  for (const file of files) {
    const parts = isZip(file.bytes) ? unzipped(file, MAX_TOTAL_BYTES - total) : [file];
    for (const part of parts) {
      total += part.bytes.length;
      found.push(part);
    }
    if (found.length > MAX_FILES)
      throw new StudyError(`more than ${MAX_FILES} files were given`, "Drop the folder of one study");
    if (total > MAX_TOTAL_BYTES) throw tooLarge();
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

const tooLarge = (): StudyError =>
  new StudyError(`the files hold more than ${MAX_TOTAL_BYTES >> 20} MB`, "Drop the folder of one study");

/** Members of a zip archive; stops as soon as they grow beyond `limit` bytes. */
function unzipped(archive: DroppedFile, limit: number): DroppedFile[] {
  const found: DroppedFile[] = [];
  let failed = false, total = 0, open = 0;
  const reader = new Unzip((member) => {
    if (member.name.endsWith("/")) return;
    if (member.compression !== 0 && member.compression !== 8) { failed = true; return; }
    const parts: Uint8Array[] = [];
    open++;
    member.ondata = (error, data, last) => {
      if (error) { failed = true; return; }
      total += data.length;
      if (total > limit) throw tooLarge();
      parts.push(data.slice());
      if (!last) return;
      open--;
      found.push({ path: `${archive.path}/${member.name}`, bytes: joined(parts) });
    };
    if (found.length > MAX_FILES) throw tooLarge();
    member.start();
  });
  reader.register(UnzipInflate);
  try {
    const step = 1 << 16;
    for (let at = 0; at < archive.bytes.length; at += step)
      reader.push(archive.bytes.subarray(at, at + step), at + step >= archive.bytes.length);
  } catch (error) {
    if (error instanceof StudyError) throw error;
    failed = true;
  }
  if (failed || open || !sumsFit(archive.bytes, found))
    throw new StudyError("the zip archive is damaged, encrypted or not Deflate", UNPACK);
  return found;
}

/** True where the members are those of the archive's list, by their CRC-32, which the reader does not compare. */
function sumsFit(archive: Uint8Array, members: readonly DroppedFile[]): boolean {
  const listed = listedSums(archive)?.sort((a, b) => a - b);
  const own = members.map(({ bytes }) => crc32(bytes)).sort((a, b) => a - b);
  return listed?.length === own.length && own.every((sum, i) => sum === listed[i]);
}

/** CRC-32 of each file in the list at the end of an archive (APPNOTE 4.3.12 and 4.3.16); null where there is none. */
function listedSums(archive: Uint8Array): number[] | null {
  const view = new DataView(archive.buffer, archive.byteOffset, archive.length);
  let end = archive.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) return null;
  const found: number[] = [];
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) return null;
    const [name, extra, comment] = [28, 30, 32].map((place) => view.getUint16(at + place, true)) as [number, number, number];
    const isFolder = archive[at + 45 + name] === 0x2f;
    if (!isFolder) found.push(view.getUint32(at + 16, true));
    at += 46 + name + extra + comment;
  }
  return found;
}

/** Content of a file, unpacked where it is gzip, up to `limit` bytes. */
export function gunzipped(bytes: Uint8Array, limit: number): Uint8Array {
  if (!(bytes[0] === 0x1f && bytes[1] === 0x8b)) return bytes;
  const parts: Uint8Array[] = [];
  let total = 0, ended = false;
  const reader = new Gunzip((data, last) => {
    total += data.length;
    if (total > limit)
      throw new StudyError(`the NIfTI file expands to more than ${limit >> 20} MB`, "Pass one LGE short-axis stack");
    parts.push(data.slice());
    ended ||= last;
  });
  try {
    const step = 1 << 16;
    for (let at = 0; at < bytes.length; at += step)
      reader.push(bytes.subarray(at, at + step), at + step >= bytes.length);
    const whole = joined(parts);
    if (!ended || !endFits(bytes, whole)) throw new Error("cut short");
    return whole;
  } catch (error) {
    if (error instanceof StudyError) throw error;
    throw new StudyError("the NIfTI file is damaged or cut short", "Export or copy it again");
  }
}

/** CRC-32 and length at the end of gzip, which the streaming reader does not compare. */
function endFits(packed: Uint8Array, whole: Uint8Array): boolean {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  return view.getUint32(packed.length - 8, true) === crc32(whole) &&
    view.getUint32(packed.length - 4, true) === whole.length % 2 ** 32;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
