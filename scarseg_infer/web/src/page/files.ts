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

type Item = FileSystemHandle | FileSystemEntry;
interface Placed { path: string; item: Item }

/** Chromium's way to a dropped file or folder, the only one that it allows a page opened from disk. */
type WithHandle = Partial<{ getAsFileSystemHandle(): Promise<FileSystemHandle | null> }>;

/** Files of a drop, those in folders included. */
export async function dropped(transfer: DataTransfer): Promise<Held[]> {
  // A browser answers only while the event lasts: everything is asked for before anything is awaited.
  const files = [...transfer.files];
  const asked = [...transfer.items].filter(({ kind }) => kind === "file").map((item) => {
    const entry = item.webkitGetAsEntry?.() ?? null;
    return (item as WithHandle).getAsFileSystemHandle?.().catch(() => entry) ?? entry;
  });
  const items = (await Promise.all(asked)).filter((item) => item !== null);
  if (!items.length) return bounded(files.map((file) => ({ path: file.name, file })));
  const found: Held[] = [];
  const queue: Placed[] = items.map((item) => ({ path: item.name, item }));
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { path, item } = next;
    const file = await fileOf(item);
    if (file) found.push({ path, file });
    else for await (const inner of inside(item)) {
      queue.push({ path: `${path}/${inner.name}`, item: inner });
      checkCount(found.length + queue.length);
    }
  }
  return bounded(found);
}

/** The file; null for a folder. */
async function fileOf(item: Item): Promise<File | null> {
  if ("kind" in item) return item.kind === "file" ? (item as FileSystemFileHandle).getFile() : null;
  return item.isFile ? new Promise((resolve, reject) => (item as FileSystemFileEntry).file(resolve, reject)) : null;
}

/** Entries that lie directly in a folder; browsers hand them out by the hundred. */
async function* inside(folder: Item): AsyncGenerator<Item> {
  if ("kind" in folder) return yield* (folder as FileSystemDirectoryHandle).values();
  const reader = (folder as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    yield* some;
  }
}

function checkCount(count: number): void {
  if (count > MAX_FILES) throw new TooMuchError(`more than ${MAX_FILES} files were given`);
}

function bounded(files: Held[]): Held[] {
  checkCount(files.length);
  if (files.reduce((total, { file }) => total + file.size, 0) > MAX_BYTES)
    throw new TooMuchError(`the files hold more than ${MAX_BYTES >> 20} MB`);
  return files;
}

export const contents = (files: readonly Held[]): Promise<DroppedFile[]> =>
  Promise.all(files.map(async ({ path, file }) => ({ path, bytes: new Uint8Array(await file.arrayBuffer()) })));
