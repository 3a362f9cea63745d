/** Study and ECG among the dropped files. */

import { readDicomEcg, isDicomEcg } from "./ecg/dicom";
import type { EcgRecord } from "./ecg/record";
import { readWfdb } from "./ecg/wfdb";
import { EcgError, StudyError } from "./errors";
import { unpacked, type DroppedFile } from "./files";
import { readDicom } from "./study/dicom/read";
import { hasPreamble } from "./study/dicom/parse";
import { checkNoLabelMap } from "./study/checks";
import { checkRowLength } from "./study/pixel_order";
import { readNifti } from "./study/nifti";
import type { Stack } from "./study/stack";
import { LEADS } from "./contract";

const NIFTI = /\.nii(\.gz)?$/i;
const ECG_DATA = /\.(hea|dat)$/i;
/** Beside a WFDB record lie files that are no part of it; the formats of vendors are another matter. */
const VENDOR_ECG = [/<restingecgdata/i, /<RestingECG/i, /<AnnotatedECG/i];

export interface Found {
  stack: Stack;
  record: EcgRecord | null;
  ecgWarnings: string[];
}

/** Read study and ECG. ECG files may be given apart (`ecg`), or lie among the files of the study. */
export async function readInput(
  study: readonly DroppedFile[], ecg: readonly DroppedFile[], progress: (share: number) => void,
): Promise<Found> {
  const apart = unpacked(ecg);
  const files = unpacked(study);
  const headers = files.filter((file) => /\.hea$/i.test(file.path));
  const images = headers.length ? files.filter((file) => !ECG_DATA.test(file.path)) : files;
  const stack = await readStack(images, progress);
  checkNoLabelMap(stack.pixels);
  checkRowLength(stack.pixels);
  if (apart.length) return { stack, record: namedEcg(apart), ecgWarnings: [] };
  return { stack, ...foundEcg(files, headers) };
}

async function readStack(files: readonly DroppedFile[], progress: (share: number) => void): Promise<Stack> {
  const nifti = files.filter((file) => NIFTI.test(file.path));
  const dicom = files.some((file) => hasPreamble(file.bytes));
  if (!nifti.length || dicom) return readDicom(files, progress);
  if (nifti.length > 1)
    throw new StudyError(`${nifti.length} NIfTI files were given`, "Drop the image alone, without labels or other volumes");
  return readNifti(nifti[0]!.bytes);
}

/** The ECG that the user gave as such. Throws EcgError. */
function namedEcg(files: readonly DroppedFile[]): EcgRecord {
  const headers = files.filter((file) => /\.hea$/i.test(file.path));
  const dicom = files.filter((file) => isDicomEcg(file.bytes) || hasPreamble(file.bytes));
  if (headers.length + dicom.length > 1)
    throw new EcgError(`${headers.length + dicom.length} ECGs were given`, "Give one");
  if (headers[0]) return readWfdb(headers[0], files);
  if (dicom[0]) return readDicomEcg(dicom[0].bytes);
  const head = new TextDecoder("latin1").decode(files[0]!.bytes.subarray(0, 4096)).replace(/\0/g, "");
  if (VENDOR_ECG.some((begin) => begin.test(head)))
    throw new EcgError("the ECG is in a format of a vendor (XML), which the page does not read",
      "Export it as DICOM, or use the command line");
  if (/\.dat$/i.test(files[0]!.path))
    throw new EcgError("the ECG's .dat file has no header (.hea) beside it", "Give the .hea file of the same name together with it");
  throw new EcgError("the ECG file is not a WFDB record, nor a DICOM ECG", "Give a .hea file with its .dat file, or a DICOM ECG");
}

/** The newest usable ECG among the files of the study, and what to say about the choice. */
function foundEcg(files: readonly DroppedFile[], headers: readonly DroppedFile[]): { record: EcgRecord | null; ecgWarnings: string[] } {
  const usable: EcgRecord[] = [];
  let useless = 0;
  const look = (read: () => EcgRecord): void => {
    try {
      const record = read();
      if (hasTwelveLeads(record)) usable.push(record);
      else useless++;
    } catch (error) {
      if (!(error instanceof EcgError)) throw error;
      useless++;
    }
  };
  for (const header of headers) look(() => readWfdb(header, files));
  for (const file of files) if (isDicomEcg(file.bytes)) look(() => readDicomEcg(file.bytes));
  const ecgWarnings: string[] = [];
  if (useless)
    ecgWarnings.push(`${useless === 1 ? "1 ECG was" : `${useless} ECGs were`} found in the study and left out: not ` +
      "readable, or without the leads needed.");
  const newest = usable.reduce<EcgRecord | null>((best, one) =>
    best === null || age(one) > age(best) ? one : best, null);
  if (newest && usable.length > 1)
    ecgWarnings.push(`The study holds ${usable.length} ECGs: the ${newest.recorded ? "newest by date" : "first of them, none has a date,"} was used.`);
  if (newest) ecgWarnings.unshift("No ECG was named; the one in the study was used.");
  return { record: newest, ecgWarnings };
}

const age = (record: EcgRecord): number => record.recorded?.at ?? -Infinity;

function hasTwelveLeads(record: EcgRecord): boolean {
  const names = new Set(record.leadNames.map((name) => name.toLowerCase()));
  const has = (lead: string): boolean => names.has(lead.toLowerCase());
  return LEADS.slice(0, 6).filter(has).length >= 2 && LEADS.slice(6).every(has);
}
