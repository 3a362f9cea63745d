/** DICOM files → the LGE stack in them: read.py, foreign.py of scarseg_infer/study/dicom. */

import { StudyError } from "../../errors";
import type { DroppedFile } from "../../files";
import { SHORT_AXIS_TRUST_DEG, countedFrom } from "../../geometry/display";
import {
  MAX_SLICE_HEIGHT_MM, MIN_SLICE_HEIGHT_MM, besideWarnings, normalOf, sameGrid, stepWarnings,
} from "../../geometry/plane";
import { MOST_TILT_DEG, tiltWarnings } from "../../geometry/slight_tilt";
import { dot, radians } from "../../geometry/vectors";
import { fixed } from "../../words";
import { checkSize } from "../checks";
import type { Stack } from "../stack";
import { choose, judge, type Candidate } from "./choose";
import { contradictions } from "./contradictions";
import { frameHeaders } from "./frames";
import { damaged, readHeaders, type BrokenFile, type FileKind, type SliceHeader } from "./header";
import { encodingOf, isUtf8, parse, type Header } from "./parse";
import { slicePixels } from "./pixels";
import { scaleWarnings } from "./scales";
import { ADVICE, MIN_STACK_SLICES, groupSlices, type Placed, type SliceGroup } from "./series";
import { acquisitionTime } from "./time";

const ALIKE_DEG = 20;
const MAX_BYTES = 256 * 2 ** 20;
const IGNORED: [FileKind, string, string][] = [
  ["not DICOM", "file that is not DICOM", "files that are not DICOM"],
  ["archive", "packed archive", "packed archives"],
  ["other object", "DICOM object that is not an MR image", "DICOM objects that are not MR images"],
  ["segmentation", "DICOM segmentation", "DICOM segmentations"],
  ["multi-frame", "multi-frame MR object", "multi-frame MR objects"],
  ["too large", "file too large or complex to be an LGE image", "files too large or complex to be LGE images"],
];

interface Scan { headers: SliceHeader[]; kinds: Map<FileKind, number>; broken: BrokenFile[] }
type Label = (file: number) => string;

/** Read the LGE short-axis stack among files in name order. `progress` is told a share 0–1. */
export async function readDicom(files: readonly DroppedFile[], progress: (share: number) => void): Promise<Stack> {
  const label: Label = (file) => `file ${file + 1} of ${files.length} in name order`;
  const found = scan(files, label, (share) => progress(share / 2));
  onePatient(found.headers);
  const [headers, clashes] = withoutCopies(found.headers);
  const notes = IGNORED.flatMap(([kind, one, many]) => {
    const count = found.kinds.get(kind) ?? 0;
    return count ? [were(count, one, many, "ignored")] : [];
  });
  const copies = found.headers.length - headers.length;
  if (copies) notes.push(were(copies, "copy of an image", "copies of images", "ignored"));
  const placed = headers.filter((header): header is Placed => header.plane !== null);
  if (!placed.length) throw unplaced(headers);
  const choice = chosenOf(placed, clashes, found.broken, label);
  const { group } = choice.chosen;
  checkClashes(clashes, group, label);
  notes.push(...brokenNotes(found.broken, group), ...leftOut(headers, group, choice.superseded, label), ...choice.notes);
  return load(files, choice.chosen, notes, label, (share) => progress(0.5 + share / 2));
}

function chosenOf(placed: readonly Placed[], clashes: readonly Clash[], broken: readonly BrokenFile[], label: Label): ReturnType<typeof choose> {
  try {
    return choose(judge(groupSlices(placed)));
  } catch (error) {
    checkClashes(clashes, null, label);
    const one = broken.find((file) => file.isMr);
    if (!one || !(error instanceof StudyError)) throw error;
    throw new StudyError(`${error.what}; besides, ${one.error.what}`, error.advice);
  }
}

function scan(files: readonly DroppedFile[], label: Label, progress: (share: number) => void): Scan {
  if (!files.length) throw new StudyError("the study holds no files", "Drop the folder of the exported study");
  const found: Scan = { headers: [], kinds: new Map(), broken: [] };
  const count = (kind: FileKind): unknown => found.kinds.set(kind, (found.kinds.get(kind) ?? 0) + 1);
  files.forEach(({ bytes }, index) => {
    progress(index / files.length);
    if (bytes.length > MAX_BYTES) { count("too large"); return; }
    const read = readHeaders(bytes, index, label(index));
    if ("error" in read) { found.broken.push(read); return; }
    count(read.kind);
    found.headers.push(...read.found);
  });
  if (found.headers.length) return found;
  const first = found.broken.find((one) => one.isMr) ?? found.broken[0];
  if (first) throw first.error;
  const is = (kind: FileKind): boolean => found.kinds.has(kind);
  if (is("multi-frame"))
    throw new StudyError(
      "the study holds multi-frame MR images that do not say where their frames lie",
      "Export them as enhanced or as classic single-frame MR images",
    );
  if (is("too large")) throw new StudyError("the study holds files that are too large or complex for LGE", ADVICE);
  if (is("segmentation"))
    throw new StudyError(
      "the study holds a segmentation (DICOM SEG), which is a result, but no MR images", "Drop the images that it was made of");
  if (is("other object")) throw new StudyError("the study holds DICOM objects but no MR images", ADVICE);
  if (is("archive"))
    throw new StudyError("the study holds a packed archive instead of images", "Unpack it and drop the folder");
  throw new StudyError(
    files.length === 1 ? "the file is no DICOM image and no NIfTI file" : `none of the files in the study (${files.length}) is a DICOM image`,
    "Drop the folder of the exported study, a zip of it, or one NIfTI file",
  );
}

const were = (count: number, one: string, many: string, what: string): string =>
  count === 1 ? `1 ${one} was ${what}.` : `${count} ${many} were ${what}.`;

function unplaced(headers: readonly SliceHeader[]): StudyError {
  const counts = new Map<string, number>();
  for (const header of headers) counts.set(header.unplaced, (counts.get(header.unplaced) ?? 0) + 1);
  const [fault] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
  return new StudyError(
    `the MR images do not say how they lie in the patient: ${fault}`,
    "Export the original images, not screenshots or reformatted ones",
  );
}

/** A PN without what may be left out at its end, and with one way to write accents and spaces. */
const sameName = (name: string): string =>
  name.normalize("NFKC").toLowerCase().split("=")
    .map((group) => group.split("^").map((part) => part.split(/\s+/).filter(Boolean).join(" ")).join("^").replace(/\^+$/, ""))
    .join("=").replace(/=+$/, "");

function onePatient(headers: readonly SliceHeader[]): void {
  let patients = new Set(headers.map((header) => header.patientId.toLowerCase()).filter(Boolean));
  if (!headers.every((header) => header.patientId) && patients.size < 2)
    patients = new Set(headers.map((header) => sameName(header.patientName)).filter(Boolean));
  if (patients.size > 1)
    throw new StudyError(`the files mix images of ${patients.size} patients`, "Drop one patient at a time");
  const studies = new Set(headers.map((header) => header.studyUid).filter(Boolean));
  if (studies.size > 1)
    throw new StudyError(`the files mix images of ${studies.size} studies`, "Drop one study at a time");
}

type Clash = [SliceHeader, SliceHeader];

/** Headers with every image once, and different images that bear one name. */
function withoutCopies(headers: readonly SliceHeader[]): [SliceHeader[], Clash[]] {
  const seen = new Map<string, SliceHeader>();
  const kept: SliceHeader[] = [], clashes: Clash[] = [];
  const content = (header: SliceHeader): string => JSON.stringify({ ...header, file: 0, pixelDigest: null });
  const byPixels = new Map<string, SliceHeader>();
  const nameless = (header: SliceHeader): string => content({ ...header, instanceUid: "" });
  for (const header of headers) {
    const name = `${header.instanceUid} ${header.frame}`;
    const first = header.instanceUid ? seen.get(name) : undefined;
    if (!first) seen.set(name, header);
    else if (content(first) === content(header)) continue;
    if (header.plane !== null && header.pixelDigest !== null) {
      const pixels = `${header.seriesUid} ${header.pixelDigest} ${header.frame}`;
      const twin = byPixels.get(pixels);
      if (!twin) byPixels.set(pixels, header);
      else if (nameless(twin) === nameless(header)) continue;
    }
    if (first) clashes.push([first, header]);
    kept.push(header);
  }
  return [withoutCopiedSeries(kept), clashes];
}

/** Headers without those of series whose images are all in one other series too, pixels included. */
function withoutCopiedSeries(headers: readonly SliceHeader[]): SliceHeader[] {
  const series = new Map<string, { images: Set<string>; told: boolean }>();
  for (const header of headers) {
    const { images, told } = series.get(header.seriesUid) ?? { images: new Set<string>(), told: true };
    images.add(JSON.stringify({ ...header, file: 0, instanceUid: "", seriesUid: "", seriesNumber: null }));
    series.set(header.seriesUid, { images, told: told && header.plane !== null && header.pixelDigest !== null });
  }
  const holders = new Map<string, Set<string>>(), copied = new Set<string>();
  for (const [uid, { images, told }] of [...series].sort((a, b) => b[1].images.size - a[1].images.size)) {
    const [first, ...rest] = [...images].map((image) => holders.get(image) ?? new Set<string>());
    if (told && [...first!].some((holder) => rest.every((others) => others.has(holder)))) { copied.add(uid); continue; }
    for (const image of images) holders.set(image, (holders.get(image) ?? new Set<string>()).add(uid));
  }
  return headers.filter((header) => !copied.has(header.seriesUid));
}

function checkClashes(clashes: readonly Clash[], group: SliceGroup | null, label: Label): void {
  const series = new Set(group?.slices.map((header) => header.seriesUid));
  for (const [one, two] of clashes)
    if (!group || series.has(one.seriesUid) || series.has(two.seriesUid))
      throw new StudyError(
        `${label(one.file)} and ${label(two.file)} are different images with the same SOP Instance UID`,
        "Export the study again from its source",
      );
}

/** Throws where a broken file may be a slice of the stack; else a warning that counts them. */
function brokenNotes(broken: readonly BrokenFile[], group: SliceGroup): string[] {
  const series = new Set(group.slices.map((header) => header.seriesUid));
  const alone = series.size === group.positionCount && group.positionCount > 1;
  for (const one of broken) {
    if (!one.isMr) continue;
    const may = !one.seriesUid || series.has(one.seriesUid) ||
      (alone && (one.plane === null || sameGrid(one.plane, group.plane, MOST_TILT_DEG)));
    if (may) throw one.error;
  }
  if (!broken.length) return [];
  return [broken.length === 1
    ? "1 damaged or incomplete file is no MR image of the LGE series and was left out."
    : `${broken.length} damaged or incomplete files are no MR images of the LGE series and were left out.`];
}

/** Warnings that count what is not in the stack. */
function leftOut(headers: readonly SliceHeader[], group: SliceGroup, superseded: readonly Placed[], label: Label): string[] {
  const key = (header: SliceHeader): string => `${header.file} ${header.frame}`;
  const taken = new Set([...group.slices, ...superseded].map(key));
  const series = new Set(group.slices.map((header) => header.seriesUid));
  const others = headers.filter((header) => !taken.has(key(header)));
  for (const header of others)
    if (!header.plane && series.has(header.seriesUid))
      throw new StudyError(
        `${label(header.file)} belongs to the LGE series but does not say where it lies in the patient: ${header.unplaced}`,
        "Export or copy the study again",
      );
  const { plane } = group;
  const isApart = (header: SliceHeader): boolean => series.has(header.seriesUid) && header.plane !== null &&
    header.imageKind === group.imageKind && !sameGrid(header.plane, plane) &&
    Math.abs(dot(normalOf(header.plane), normalOf(plane))) >= Math.cos(radians(ALIKE_DEG));
  const apart = others.filter(isApart).length;
  const same = others.filter((header) => series.has(header.seriesUid) && !isApart(header)).length;
  const rest = others.filter((header) => !series.has(header.seriesUid));
  const notes: string[] = [];
  if (apart) {
    const of = "of the LGE series, turned, tilted or on another pixel grid than the others,";
    notes.push(`${were(apart, `image ${of}`, `images ${of}`, "left out").slice(0, -1)}: volumes lack what ${apart === 1 ? "it shows" : "they show"}.`);
  }
  if (same) {
    const of = "of the LGE series, of another view or kind,";
    notes.push(were(same, `image ${of}`, `images ${of}`, "left out"));
  }
  if (rest.length) {
    const count = new Set(rest.map((header) => `${header.seriesUid} ${header.imageKind}`)).size;
    const of = count === 1 ? "of another series" : `of ${count} other series`;
    notes.push(were(rest.length, `image ${of}`, `images ${of}`, "left out"));
  }
  return notes;
}

async function load(
  files: readonly DroppedFile[], chosen: Candidate, notes: readonly string[], label: Label, progress: (share: number) => void,
): Promise<Stack> {
  const { group } = chosen;
  const { plane } = group;
  checkSize(group.slices.length, plane.rows, plane.columns, ADVICE);
  const size = plane.rows * plane.columns;
  const data = new Float32Array(size * group.slices.length);
  const headers: Header[] = [], images: Header[] = [];
  let hidden = 0;
  const opened = new Map<number, { image: Header; frames: Header[] }>();
  for (const [i, header] of group.slices.entries()) {
    progress(i / group.slices.length);
    if (!opened.has(header.file)) opened.set(header.file, open(files[header.file]!.bytes, header.frame !== null, label(header.file)));
    const { image, frames } = opened.get(header.file)!;
    const own = header.frame === null ? image : frames[header.frame - 1]!;
    const { values, paddingHides } = await slicePixels(image, own, header.frame, header.plane, label(header.file));
    data.set(values, i * size);
    hidden += Number(paddingHides);
    headers.push(own);
    images.push(image);
  }
  const time = acquisitionTime(headers);
  const { doubtful, odd } = contradictions(headers, images, group);
  const lossy = headers.some((header) => header.text("LossyImageCompression") === "01")
    ? ["The images have been compressed with loss: fine detail may be gone."] : [];
  return {
    pixels: { data, shape: [group.slices.length, plane.rows, plane.columns] },
    spacing: plane.spacing,
    origins: group.origins,
    rowDirection: plane.rowDirection,
    columnDirection: plane.columnDirection,
    sliceThicknessMm: thickness(group),
    source: "dicom",
    orientationKnown: !doubtful.length,
    acquired: time.acquired,
    dateOnly: time.dateOnly,
    imageKind: group.imageKind,
    studyUid: group.first.studyUid || null,
    seriesUids: [...new Set(group.slices.map((header) => header.seriesUid).filter(Boolean))],
    patientId: group.first.patientId || null,
    warnings: [...notes, ...stackWarnings(chosen), ...doubtful, ...odd, ...lossy, ...scaleWarnings(headers, data, size, countedFrom(normalOf(plane))), ...hiddenWarnings(hidden), ...characterSetWarnings(images), ...time.warnings],
  };
}

/** A warning where what is called padding may be a part of the picture. */
function hiddenWarnings(slices: number): string[] {
  if (!slices) return [];
  const of = slices === 1 ? "1 slice" : `${slices} slices`;
  return [`PixelPaddingValue takes pixels in the middle of ${of} for padding, though they do not look like it: they are ` +
    "read as the darkest, and scar may be missed there."];
}

function open(bytes: Uint8Array, enhanced: boolean, label: string): { image: Header; frames: Header[] } {
  try {
    const image = parse(bytes);
    return { image, frames: enhanced ? frameHeaders(image, label) ?? [] : [] };
  } catch (error) {
    if (error instanceof StudyError) throw error;
    throw damaged(label);
  }
}

function thickness(group: SliceGroup): number | null {
  const mm = group.first.sliceThicknessMm;
  if (mm !== null && mm >= MIN_SLICE_HEIGHT_MM && mm <= MAX_SLICE_HEIGHT_MM) return mm;
  if (group.positionCount === 1)
    throw new StudyError(
      "the only slice of the study has no usable SliceThickness (missing, implausible, or no number, such as one with " +
        "a decimal comma)", ADVICE,
    );
  return null;
}

function stackWarnings({ group, lgeMarked }: Candidate): string[] {
  const { plane, origins } = group;
  const counted = countedFrom(normalOf(plane));
  const series = new Set(group.slices.map((header) => header.seriesUid)).size;
  return [
    ...(lgeMarked ? [] : ["Nothing in the study marks it as LGE: check that it is."]),
    ...(group.imageKind === "phase" ? [
      "These are phase images, whose signal does not say how much is enhanced: what is found in them means nothing; " +
        "read PSIR or magnitude images."] : []),
    ...(group.tiltDeg > SHORT_AXIS_TRUST_DEG ? [
      `The slices are tilted by ${fixed(group.tiltDeg, 0)}° against a usual short-axis view: check the view, and base, ` +
        "apex and walls in the pictures."] : []),
    ...(series > 1 && series < group.positionCount ? [
      `${series} series of one name complement each other and were read as one stack: check in the pictures that they fit.`] : []),
    ...(group.positionCount === 1 ? ["The study has a single slice: its height is the slice thickness."]
      : group.positionCount < MIN_STACK_SLICES ? [`The study has only ${group.positionCount} slices.`] : []),
    ...stepWarnings(origins.map((origin) => dot(origin, normalOf(plane))), counted),
    ...tiltWarnings(group.slices.map((header) => header.plane), plane, counted),
    ...besideWarnings(origins, plane.rowDirection, plane.columnDirection, counted),
  ];
}

const TEXT_VRS = new Set(["SH", "LO", "ST", "LT", "UC", "UT", "PN"]);

/** Warnings about images that hold letters beyond ASCII and do not say in which character set. */
function characterSetWarnings(images: readonly Header[]): string[] {
  let utf8 = false, unknown = false;
  for (const image of images) {
    if (encodingOf(image.characterSet()) !== null) continue;
    for (const element of Object.values(image.set.elements)) {
      if (!TEXT_VRS.has(element.vr ?? "") || !element.length) continue;
      const bytes = image.set.byteArray.subarray(element.dataOffset, element.dataOffset + element.length);
      if (!bytes.some((byte: number) => byte > 127)) continue;
      if (isUtf8(bytes)) utf8 = true;
      else unknown = true;
    }
  }
  if (unknown)
    return ["The images do not truly say in which character set their texts are, and these are not UTF-8: DICOM " +
      "results repeat names byte by byte, undeclared."];
  return utf8 ? ["The images do not say in which character set their texts are: they were read as UTF-8."] : [];
}
