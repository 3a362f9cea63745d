/** NIfTI file → LGE stack: scarseg_infer/study/nifti.py and nifti_axes.py. The file's frame (RAS) is
 * turned into the patient frame of DICOM (LPS). */

import { StudyError } from "../errors";
import { gunzipped } from "../files";
import { SHORT_AXIS_TRUST_DEG, shortAxisTilt } from "../geometry/display";
import {
  MAX_COORDINATE_MM, MAX_SLICE_HEIGHT_MM, MIN_SLICE_HEIGHT_MM, SAME_POSITION_MM, plausibleSpacing, unitAxes,
} from "../geometry/plane";
import { cross, dot, norm, plus, scaled, unit, type Vector } from "../geometry/vectors";
import { fixed, general } from "../words";
import { checkSize, rescaled } from "./checks";
import { readHead, type Head } from "./nifti_header";
import { inOtherByteOrder } from "./pixel_order";
import type { Stack } from "./stack";

const MAX_NIFTI_BYTES = 512 * 2 ** 20;
const MIN_STEP_COSINE = 0.5;
const AFFINE_TOLERANCE = 0.01;
const COARSEST_TOLERANCE = 0.99;
const FORM_TOLERANCE_MM = 2;
const EXPORT_AGAIN = "Export or copy it again";
const UNKNOWN =
  "The NIfTI file does not say how the heart lies: AHA segments follow from the right ventricle that is found, " +
  "and lie on the wrong walls if the image is stored mirrored.";
const INVERTED =
  "scl_slope of the NIfTI file is negative, so that what is stored as bright is read as dark: check in the pictures " +
  "that scar is bright.";
const UNIT_MM: Record<number, number> = { 0: 1, 1: 1000, 2: 1, 3: 0.001 };
/** Bytes, DataView reader, and whether whole numbers, by datatype code. */
const TYPES: Record<number, [number, "Uint8" | "Int16" | "Int32" | "Float32" | "Float64" | "Int8" | "Uint16" | "Uint32", boolean]> = {
  2: [1, "Uint8", true], 4: [2, "Int16", true], 8: [4, "Int32", true], 16: [4, "Float32", false],
  64: [8, "Float64", false], 256: [1, "Int8", true], 512: [2, "Uint16", true], 768: [4, "Uint32", true],
};
const COLOURS = new Set([32, 128, 1792, 2304, 1, 0]);

/** Columns of a 3 × 4 matrix: the three axes and the origin. */
type Affine = [Vector, Vector, Vector, Vector];

/** Read a NIfTI-1 or -2 file. Throws StudyError. */
export function readNifti(packed: Uint8Array): Stack {
  const bytes = gunzipped(packed, MAX_NIFTI_BYTES);
  const head = headerOf(bytes);
  const size = head.dim.slice(1, 4);
  const unitMm = UNIT_MM[head.units & 7];
  if (unitMm === undefined) throw new StudyError("the NIfTI file has an unknown unit of length", EXPORT_AGAIN);
  const stored = head.pixdim.slice(1, 4).map((mm) => mm * unitMm) as Vector;
  const lps = affineOf(head).map((column) => [-column[0] * unitMm, -column[1] * unitMm, column[2] * unitMm]) as Affine;
  const order = slicesLast(stored, lps);
  const spacing = order.map((axis) => stored[axis]!) as Vector;
  const [columns, rows, slices] = order.map((axis) => size[axis]!) as Vector;
  checkSpacing(spacing, slices);
  checkSize(slices, rows, columns, "Pass one LGE short-axis stack");
  const voxels = voxelsOf(bytes, head);
  const grid = gridOf([lps[order[0]]!, lps[order[1]]!, lps[order[2]]!, lps[3]], spacing, formsApart(head, stored, unitMm) ?? 0);
  const reverse = dot(cross(grid.rowDirection, grid.columnDirection), grid.step) < 0;
  const strides = [1, size[0]!, size[0]! * size[1]!];
  const data = new Float32Array(voxels.length);
  const origins: Vector[] = [];
  let at = 0;
  for (let k = 0; k < slices; k++) {
    const slice = reverse ? slices - 1 - k : k;
    origins.push(plus(grid.first, scaled(grid.step, slice)));
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++)
        data[at++] = voxels[slice * strides[order[2]]! + r * strides[order[1]]! + c * strides[order[0]]!]!;
  }
  return {
    pixels: { data, shape: [slices, rows, columns] },
    spacing: [spacing[1], spacing[0]],
    origins,
    rowDirection: grid.rowDirection,
    columnDirection: grid.columnDirection,
    sliceThicknessMm: spacing[2],
    source: "nifti",
    orientationKnown: grid.known,
    acquired: null, dateOnly: false, imageKind: "unknown type",
    studyUid: null, seriesUids: [], patientId: null,
    warnings: [...grid.warnings, ...(head.slope < 0 ? [INVERTED] : []), ...(slices === 1 ? ["The study has a single slice: its height is the voxel depth."] : [])],
  };
}

/** The header, if it describes one grey-scale volume that is all there. */
function headerOf(bytes: Uint8Array): Head {
  const head = readHead(bytes);
  if (!head) throw new StudyError("the file is not NIfTI, or damaged", EXPORT_AGAIN);
  if (COLOURS.has(head.datatype) || !(head.datatype in TYPES))
    throw new StudyError(
      COLOURS.has(head.datatype) ? "the NIfTI file holds colours or complex numbers"
        : "the NIfTI file holds numbers of a kind that the page does not read", "Pass grey-scale LGE");
  const count = head.dim[0]!;
  const shape = head.dim.slice(1, 1 + count);
  if (count < 3 || count > 7 || shape.slice(3).some((n) => n !== 1) || shape.some((n) => n < 1))
    throw new StudyError(`the NIfTI file is not one volume (${shape.join(" × ")})`, "Pass one 3-D LGE volume");
  if (head.offset < head.leastOffset)
    throw new StudyError("the voxels of the NIfTI file begin inside its header", EXPORT_AGAIN);
  const voxels = shape.reduce((a, b) => a * b, 1);
  if (head.offset + voxels * TYPES[head.datatype]![0] > bytes.length)
    throw new StudyError("the NIfTI file is cut short", EXPORT_AGAIN);
  return head;
}

function voxelsOf(bytes: Uint8Array, head: Head): Float32Array {
  const [size, reader, integers] = TYPES[head.datatype]!;
  const count = head.dim[1]! * head.dim[2]! * head.dim[3]!;
  const view = new DataView(bytes.buffer, bytes.byteOffset + head.offset, count * size);
  const stored = new Float64Array(count);
  for (let i = 0; i < count; i++) stored[i] = view[`get${reader}`](i * size, head.littleEndian);
  if (integers && inOtherByteOrder(stored, size, reader.startsWith("I"), head.dim[1]!))
    throw new StudyError("the voxels of the NIfTI file have their bytes in another order than its header says", EXPORT_AGAIN);
  const scales = Number.isFinite(head.slope) && head.slope !== 0;
  if (scales && !Number.isFinite(head.intercept))
    throw new StudyError("the voxels of the NIfTI file cannot be read", EXPORT_AGAIN);
  const found = rescaled(stored, scales ? head.slope : 1, scales ? head.intercept : 0, integers);
  if (!found) throw new StudyError("the NIfTI file has voxels that are not finite numbers", EXPORT_AGAIN);
  return found;
}

/** The affine that counts: sform where it is set, else qform, else voxels alone (RAS). */
function affineOf(head: Head): Affine {
  if (head.sformCode !== 0) return sformOf(head);
  if (head.qformCode !== 0) {
    const found = qformOf(head);
    if (found) return found;
  }
  const zooms = head.pixdim.slice(1, 4).map((mm) => Math.abs(mm) || 1) as Vector;
  const middle = head.dim.slice(1, 4).map((n, i) => ((n - 1) / 2) * zooms[i]!) as Vector;
  // Nothing places it: nibabel turns the first axis round and puts the middle at the origin.
  return [[-zooms[0], 0, 0], [0, zooms[1], 0], [0, 0, zooms[2]], [middle[0], -middle[1], -middle[2]]];
}

const sformOf = (head: Head): Affine =>
  [0, 1, 2, 3].map((column) => head.srow.map((row) => row[column]!) as Vector) as Affine;

/** null for a quaternion that is none. */
function qformOf(head: Head): Affine | null {
  const [b, c, d] = head.quaternion;
  const square = 1 - (b * b + c * c + d * d);
  if (!(square >= -3e-7 * 3)) return null;
  const a = Math.sqrt(Math.max(square, 0));
  const rotation: [Vector, Vector, Vector] = [
    [a * a + b * b - c * c - d * d, 2 * (b * c + a * d), 2 * (b * d - a * c)],
    [2 * (b * c - a * d), a * a + c * c - b * b - d * d, 2 * (c * d + a * b)],
    [2 * (b * d + a * c), 2 * (c * d - a * b), a * a + d * d - b * b - c * c],
  ];
  const side = head.pixdim[0] === -1 ? -1 : 1;
  const zooms = head.pixdim.slice(1, 4).map(Math.abs);
  return [
    scaled(rotation[0], zooms[0]!), scaled(rotation[1], zooms[1]!), scaled(rotation[2], side * zooms[2]!),
    head.qoffset,
  ];
}

const close = (a: number, b: number): boolean => Math.abs(a - b) <= AFFINE_TOLERANCE * Math.abs(b);

/** The order of array axes in which the slices lie along the last one. */
function slicesLast(spacing: Vector, lps: Affine): [number, number, number] {
  const lengths = lps.slice(0, 3).map(norm);
  if (!lengths.every((length, i) => close(length, spacing[i]!))) return [0, 1, 2];
  const most = Math.max(...spacing);
  const coarse = [2, 1, 0].filter((axis) => spacing[axis]! >= COARSEST_TOLERANCE * most);
  const tilts = coarse.map((axis) => {
    const [first, second] = [0, 1, 2].filter((one) => one !== axis).map((one) => scaled(lps[one]!, 1 / lengths[one]!)) as [Vector, Vector];
    const normal = cross(first, second);
    return norm(normal) > 0 ? shortAxisTilt(unit(normal)) : 90;
  });
  const least = Math.min(...tilts);
  let best = coarse[tilts.indexOf(least)]!;
  if (coarse[0] === 2 && (tilts[0]! <= SHORT_AXIS_TRUST_DEG || least > SHORT_AXIS_TRUST_DEG)) best = 2;
  const [first, second] = [0, 1, 2].filter((axis) => axis !== best) as [number, number];
  return [first, second, best];
}

/** Largest distance between a voxel by sform and by qform; null unless both place the image. */
function formsApart(head: Head, spacing: Vector, unitMm: number): number | null {
  const forms = [head.sformCode !== 0 ? sformOf(head) : null, head.qformCode !== 0 ? qformOf(head) : null];
  if (!forms[0] || !forms[1]) return null;
  let most = 0;
  for (let corner = 0; corner < 8; corner++) {
    const [one, two] = forms.map((form) => {
      let at = scaled(form![3], unitMm);
      for (let axis = 0; axis < 3; axis++)
        if (corner & (1 << axis))
          at = plus(at, scaled(form![axis]!, ((head.dim[axis + 1]! - 1) * spacing[axis]!) / norm(form![axis]!)));
      return at;
    }) as [Vector, Vector];
    most = Math.max(most, norm([one[0] - two[0], one[1] - two[1], one[2] - two[2]]));
  }
  return Number.isFinite(most) ? most : null;
}

function checkSpacing(spacing: Vector, slices: number): void {
  const size = spacing.map((mm) => general(mm, 3)).join(" × ");
  if (!spacing.every((mm) => Number.isFinite(mm) && mm > 0))
    throw new StudyError(`the NIfTI file has impossible voxel sizes (${size} mm)`, EXPORT_AGAIN);
  const thin = slices > 1 ? SAME_POSITION_MM : MIN_SLICE_HEIGHT_MM;
  const [one, two, coarsest] = [...spacing].sort((a, b) => a - b) as Vector;
  if (!plausibleSpacing([one, two]) || !(coarsest >= thin && coarsest <= MAX_SLICE_HEIGHT_MM) || spacing[2] < thin)
    throw new StudyError(
      `the NIfTI file has voxels of ${size} mm, which cannot be those of a heart image`,
      "Check the unit of length in its header",
    );
  if (spacing[2] < COARSEST_TOLERANCE * coarsest)
    throw new StudyError(
      `the NIfTI file has voxels of ${size} mm: its slices do not lie along the third axis`,
      "Reorder its axes, or pass the DICOM study",
    );
}

interface Grid { first: Vector; rowDirection: Vector; columnDirection: Vector; step: Vector; known: boolean; warnings: string[] }

/** The grid that affine and pixdim together describe; pixdim decides on sizes. */
function gridOf(lps: Affine, spacing: Vector, apartMm: number): Grid {
  const lengths = lps.slice(0, 3).map(norm) as Vector;
  const usable = lps.flat().every((value) => Math.abs(value) <= MAX_COORDINATE_MM) && lengths.every((length) => length > 0);
  const axes = usable ? unitAxes(scaled(lps[0], 1 / lengths[0]), scaled(lps[1], 1 / lengths[1])) : null;
  if (!axes)
    return {
      first: [0, 0, 0], rowDirection: [-1, 0, 0], columnDirection: [0, -1, 0], step: [0, 0, spacing[2]],
      known: false, warnings: ["The affine of the NIfTI file is unusable: pixdim is used.", UNKNOWN],
    };
  const normal = cross(axes[0], axes[1]);
  const step = scaled(lps[2], spacing[2] / lengths[2]);
  if (Math.abs(dot(step, normal)) < MIN_STEP_COSINE * spacing[2])
    throw new StudyError("the slices of the NIfTI file do not lie on top of each other (sheared affine)", "Pass the DICOM study");
  const warnings: string[] = [];
  if (!lengths.every((length, i) => close(length, spacing[i]!))) {
    const [claimed, real] = [lengths, spacing].map((sizes) => sizes.map((mm) => fixed(mm, 2)).join(" × "));
    warnings.push(`The affine of the NIfTI file claims voxels of ${claimed} mm, pixdim ${real} mm: pixdim is used.`);
  }
  if (apartMm > FORM_TOLERANCE_MM)
    warnings.push(`The NIfTI file has two placements (sform and qform) that lie up to ${fixed(apartMm, 0)} mm ` +
      "apart: results are placed by the sform.");
  const known = shortAxisTilt(normal) <= SHORT_AXIS_TRUST_DEG && !warnings.length;
  return {
    first: lps[3], rowDirection: axes[0], columnDirection: axes[1], step, known,
    warnings: [...warnings, ...(known ? [] : [UNKNOWN])],
  };
}
