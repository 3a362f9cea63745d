/** Files that are chosen or dropped, read with limits on number and size. */

import type { DroppedFile } from "../core/index";

const MAX_FILES = 50_000;
const MAX_BYTES = 2 ** 30;

/** A file and its path within what was chosen. */
export interface Held { path: string; file: File }

/** A limit that was exceeded, in words. */
export class TooMuchError extends Error {}

export const chosen = (input: HTMLInputElement): Held[] =>
  bounded([...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file })));

/** Files of a drop, those in folders included. */
export async function dropped(transfer: DataTransfer): Promise<Held[]> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry?.() ?? []);
  const found: Held[] = [];
  const queue: FileSystemEntry[] = [...entries];
  for (let entry = queue.shift(); entry; entry = queue.shift()) {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.push({ path: entry.fullPath.replace(/^\//, ""), file });
    } else queue.push(...(await inside(entry as FileSystemDirectoryEntry)));
    if (found.length + queue.length > MAX_FILES) break;
  }
  return bounded(found.length || entries.length ? found : [...transfer.files].map((file) => ({ path: file.name, file })));
}

/** All entries of a folder; browsers hand them out by the hundred. */
async function inside(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const found: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length || found.length > MAX_FILES) return found;
    found.push(...some);
  }
}

function bounded(files: Held[]): Held[] {
  if (files.length > MAX_FILES) throw new TooMuchError(`more than ${MAX_FILES} files were given`);
  if (files.reduce((total, { file }) => total + file.size, 0) > MAX_BYTES)
    throw new TooMuchError(`the files hold more than ${MAX_BYTES >> 20} MB`);
  return files;
}

export const contents = (files: readonly Held[]): Promise<DroppedFile[]> =>
  Promise.all(files.map(async ({ path, file }) => ({ path, bytes: new Uint8Array(await file.arrayBuffer()) })));
