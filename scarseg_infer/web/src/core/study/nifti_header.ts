/** Fields of a NIfTI-1 or -2 header, as they stand in it. */

import type { Vector } from "../geometry/vectors";

export interface Head {
  littleEndian: boolean;
  /** Number of axes, then their lengths. */
  dim: number[];
  datatype: number;
  /** qfac, then the voxel sizes. */
  pixdim: number[];
  /** Of the voxels; the least is behind the header. */
  offset: number;
  leastOffset: number;
  slope: number;
  intercept: number;
  units: number;
  qformCode: number;
  sformCode: number;
  quaternion: Vector;
  qoffset: Vector;
  srow: number[][];
}

const SIZES = [348, 540] as const;

/** null where the bytes are no header of a single file. */
export function readHead(bytes: Uint8Array): Head | null {
  if (bytes.length < 352) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (const little of [true, false]) {
    const size = view.getInt32(0, little);
    const magic = (at: number): string => String.fromCharCode(...bytes.subarray(at, at + 3));
    if (size === SIZES[0] && magic(344) === "n+1") return first(view, little);
    if (size === SIZES[1] && bytes.length >= 544 && magic(4) === "n+2") return second(view, little);
  }
  return null;
}

const several = (count: number, read: (i: number) => number): number[] => Array.from({ length: count }, (_, i) => read(i));

function first(view: DataView, little: boolean): Head {
  const short = (at: number): number => view.getInt16(at, little);
  const float = (at: number): number => view.getFloat32(at, little);
  return {
    littleEndian: little, leastOffset: 352,
    dim: several(8, (i) => short(40 + 2 * i)), datatype: short(70), pixdim: several(8, (i) => float(76 + 4 * i)),
    offset: Math.trunc(float(108)), slope: float(112), intercept: float(116), units: view.getUint8(123),
    qformCode: short(252), sformCode: short(254),
    quaternion: several(3, (i) => float(256 + 4 * i)) as Vector, qoffset: several(3, (i) => float(268 + 4 * i)) as Vector,
    srow: several(3, (i) => i).map((row) => several(4, (i) => float(280 + 16 * row + 4 * i))),
  };
}

function second(view: DataView, little: boolean): Head {
  const long = (at: number): number => Number(view.getBigInt64(at, little));
  const int = (at: number): number => view.getInt32(at, little);
  const double = (at: number): number => view.getFloat64(at, little);
  return {
    littleEndian: little, leastOffset: 544,
    dim: several(8, (i) => long(16 + 8 * i)), datatype: view.getInt16(12, little),
    pixdim: several(8, (i) => double(104 + 8 * i)),
    offset: long(168), slope: double(176), intercept: double(184), units: int(500),
    qformCode: int(344), sformCode: int(348),
    quaternion: several(3, (i) => double(352 + 8 * i)) as Vector, qoffset: several(3, (i) => double(376 + 8 * i)) as Vector,
    srow: several(3, (i) => i).map((row) => several(4, (i) => double(400 + 32 * row + 8 * i))),
  };
}
