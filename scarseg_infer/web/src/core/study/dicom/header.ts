/** One DICOM file → the few facts by which slices are sorted into stacks:
 * scarseg_infer/study/dicom/header.py. */

import { crc32 } from "../../crc32";
import { StudyError } from "../../errors";
import { MAX_COORDINATE_MM, plausibleSpacing, unitAxes, type Plane } from "../../geometry/plane";
import type { Vector } from "../../geometry/vectors";
import type { ImageKind } from "../stack";
import { frameHeaders } from "./frames";
import { DeflatedError, hasPreamble, parse, salvage, type Header, type Keyword } from "./parse";
import { fold, isNoAgent, kindOf, namedKind } from "./rules";
import { photometricOf } from "./samples";
import { momentOf } from "./time";

const MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4";
const ENHANCED = ["1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"];
const SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4";
const DICOMDIR = "1.2.840.10008.1.3.10";
const NAMES: Keyword[] = ["SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName"];
const ACQUISITION: Keyword[] = ["AcquisitionTime", "AcquisitionDateTime", "AcquisitionNumber", "TemporalPositionIdentifier"];
const COUNTS: [Keyword, number][] = [["PixelSpacing", 2], ["ImagePositionPatient", 3], ["ImageOrientationPatient", 6]];
const MAX_MATRIX = 4096;
const GREY = ["MONOCHROME1", "MONOCHROME2"];

export type FileKind = "slice" | "not DICOM" | "archive" | "directory" | "other object" | "segmentation" | "multi-frame" | "too large";

/** Facts that decide on the stack of a slice. Texts are "" and numbers null if absent. */
export interface SliceHeader {
  file: number;
  frame: number | null;
  instanceUid: string;
  studyUid: string;
  seriesUid: string;
  frameUid: string;
  seriesNumber: number | null;
  patientId: string;
  patientName: string;
  imageKind: ImageKind;
  namedKind: ImageKind;
  names: string;
  tokens: string[];
  contrastAgent: boolean;
  acquired: number | null;
  inversionTimeMs: number | null;
  echoTimeMs: number | null;
  triggerTimeMs: number | null;
  phaseCount: number;
  acquisition: string;
  sliceThicknessMm: number | null;
  plane: Plane | null;
  unplaced: string;
  /** Alike for images whose stored pixels are alike, those of all frames; null does not count. */
  pixelDigest: number | null;
}

/** A DICOM file that cannot be used, and what is known of it all the same. */
export interface BrokenFile {
  error: StudyError;
  isMr: boolean;
  seriesUid: string;
  plane: Plane | null;
}

export const damaged = (label: string): StudyError =>
  new StudyError(`${label} is a damaged DICOM file or cut short`, "Export or copy the study again");

/** Sort one file, and read its header, or those of its frames, when it holds MR slices. */
export function readHeaders(bytes: Uint8Array, file: number, label: string): { kind: FileKind; found: SliceHeader[] } | BrokenFile {
  if (!looksLikeDicom(bytes)) return { kind: isPacked(bytes) ? "archive" : "not DICOM", found: [] };
  const broken = (error: StudyError, header: Header | null): BrokenFile => {
    const sopClass = header ? sopClassOf(header) : "";
    return {
      error,
      isMr: !sopClass || sopClass === MR_IMAGE || ENHANCED.includes(sopClass),
      seriesUid: header?.text("SeriesInstanceUID") ?? "",
      plane: header ? planeIn(header)[0] : null,
    };
  };
  if (!hasPreamble(bytes))
    return broken(new StudyError(
      `${label} is a DICOM file without its preamble, which the page does not read`,
      "Use the command line, or export the study again",
    ), null);
  let header: Header;
  try {
    header = parse(bytes);
  } catch (error) {
    if (error instanceof DeflatedError)
      return broken(new StudyError(
        `${label} is compressed as a whole (Deflated Explicit VR), which is not supported`,
        "Export the study uncompressed",
      ), null);
    return broken(damaged(label), salvage(error));
  }
  try {
    return sortedOut(header, file, label);
  } catch (error) {
    return broken(error instanceof StudyError ? error : damaged(label), header);
  }
}

function sortedOut(header: Header, file: number, label: string): { kind: FileKind; found: SliceHeader[] } {
  const sopClass = sopClassOf(header);
  if (!sopClass) throw damaged(label);
  const kind = kindOfFile(header, sopClass);
  if (kind !== "slice") return { kind, found: [] };
  if (!header.has("PixelData"))
    throw new StudyError(`${label} has no PixelData, or is cut short`, "Export or copy the study again");
  const digest = digestOf(header);
  if (!ENHANCED.includes(sopClass)) return { kind, found: [sliceHeader(header, file, null, digest)] };
  const frames = frameHeaders(header, label);
  if (!frames) return { kind: "too large", found: [] };
  return { kind, found: frames.map((frame, i) => sliceHeader(frame, file, i + 1, digest)) };
}

const sopClassOf = (header: Header): string => header.text("MediaStorageSOPClassUID") || header.text("SOPClassUID");

const looksLikeDicom = (bytes: Uint8Array): boolean =>
  hasPreamble(bytes) || ((bytes[0] === 2 || bytes[0] === 8) && bytes[1] === 0);

function isPacked(bytes: Uint8Array): boolean {
  const begins = (...head: number[]): boolean => head.every((byte, i) => bytes[i] === byte);
  return begins(0x50, 0x4b, 3, 4) || begins(0x37, 0x7a, 0xbc, 0xaf) || begins(0x52, 0x61, 0x72, 0x21) ||
    String.fromCharCode(...bytes.subarray(257, 262)) === "ustar";
}

/** Values of ImageType that say how an image was made, not of what kind it is. */
const HOW_MADE = new Set(["", "ORIGINAL", "DERIVED", "MIXED", "PRIMARY", "SECONDARY"]);

function kindOfFile(header: Header, sopClass: string): FileKind {
  if (sopClass === DICOMDIR) return "directory";
  if ((header.number("SamplesPerPixel") ?? 1) !== 1) return "other object";
  if (!["", ...GREY].includes(photometricOf(header))) return "other object";
  if (ENHANCED.includes(sopClass)) return "slice";
  if (sopClass === SEGMENTATION) return "segmentation";
  if (sopClass !== MR_IMAGE) return "other object";
  const mosaic = header.text("ImageType").toUpperCase().split("\\").includes("MOSAIC");
  return mosaic || (header.number("NumberOfFrames") ?? 1) > 1 ? "multi-frame" : "slice";
}

const whole = (value: number | null): number | null => (value === null ? null : Math.trunc(value));

function sliceHeader(header: Header, file: number, frame: number | null, pixelDigest: number | null): SliceHeader {
  const names = fold(NAMES.map((name) => header.text(name)).join(" "));
  const tokens = [
    ...header.text("ImageType").toUpperCase().split("\\").filter((value, i) => i >= 2 || !HOW_MADE.has(value)),
    ...header.text("ComplexImageComponent").toUpperCase().split(/\s+/).filter(Boolean),
  ];
  const [plane, unplaced] = planeIn(header);
  const agent = fold(header.text("ContrastBolusAgent")).trim();
  return {
    file, frame,
    instanceUid: header.text("SOPInstanceUID"),
    studyUid: header.text("StudyInstanceUID"),
    seriesUid: header.text("SeriesInstanceUID"),
    frameUid: header.text("FrameOfReferenceUID"),
    seriesNumber: whole(header.number("SeriesNumber")),
    patientId: header.text("PatientID"),
    patientName: header.text("PatientName"),
    imageKind: kindOf(names, tokens),
    namedKind: namedKind(names),
    names, tokens,
    contrastAgent: !isNoAgent(agent) || header.has("ContrastBolusAgentSequence"),
    acquired: momentOf(header),
    inversionTimeMs: header.first("InversionTime"),
    echoTimeMs: header.number("EchoTime"),
    triggerTimeMs: header.number("TriggerTime"),
    phaseCount: whole(header.number("CardiacNumberOfImages")) ?? 0,
    acquisition: ACQUISITION.map((name) => header.text(name)).join("/"),
    sliceThicknessMm: header.number("SliceThickness"),
    plane, unplaced,
    pixelDigest,
  };
}

function digestOf(header: Header): number | null {
  const { element, set } = header.place("PixelData")!;
  return element.fragments ? null : crc32(set.byteArray.subarray(element.dataOffset, element.dataOffset + element.length));
}

/** The plane of an image and "", or null and what is wrong with which attribute. */
export function planeIn(header: Header): [Plane | null, string] {
  const sizes: number[] = [];
  for (const keyword of ["Rows", "Columns"] as const) {
    const size = header.number(keyword);
    if (size === null || size < 1 || size > MAX_MATRIX) return [null, fault(header, keyword, "is no plausible number")];
    sizes.push(Math.trunc(size));
  }
  const found: number[][] = [];
  for (const [keyword, count] of COUNTS) {
    const values = header.numbers(keyword, count);
    if (!values) return [null, fault(header, keyword, `is not ${count} numbers`)];
    found.push(values);
  }
  const [spacing, origin, orientation] = found as [[number, number], Vector, number[]];
  const axes = unitAxes(orientation.slice(0, 3) as Vector, orientation.slice(3) as Vector);
  if (!axes) return [null, "ImageOrientationPatient is not two orthogonal unit vectors"];
  if (!plausibleSpacing(spacing)) return [null, "PixelSpacing is not two plausible distances in mm"];
  if (Math.max(...origin.map(Math.abs)) > MAX_COORDINATE_MM)
    return [null, "ImagePositionPatient is not plausible in mm"];
  return [{
    rows: sizes[0]!, columns: sizes[1]!, spacing, origin, rowDirection: axes[0], columnDirection: axes[1],
  }, ""];
}

function fault(header: Header, keyword: Keyword, what: string): string {
  const text = header.text(keyword);
  if (!text) return `${keyword} is missing`;
  return `${keyword} ${what}${text.includes(",") ? " (it has decimal commas)" : ""}`;
}
