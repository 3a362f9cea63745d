/** The contract between a model file and a host, as scarseg_runtime/contract.py has it. */

export const FORMAT_VERSION = "3";
export const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"] as const;
export const ECG_RATE_HZ = 500;
export const BEAT_SAMPLES = 512;
export const BEAT_R_INDEX = 192;
export const SEGMENT_COUNT = 17;
export const MAX_STACK_PIXELS = 2 ** 26;

export const CAVITY = 1;
export const VIABLE = 2;
export const SCAR = 3;
export const RV_CAVITY = 4;

export const isVentricle = (label: number): boolean => label >= CAVITY && label <= SCAR;
export const isWall = (label: number): boolean => label === VIABLE || label === SCAR;

export const RESEARCH_USE = "Research use only. Not a medical device.";
export const SCHEMA_VERSION = "1.3";

/** Slices, rows and columns. */
export type Shape = [number, number, number];

/** Any [S, H, W] array in C order. */
export interface Volume<T extends Uint8Array | Float32Array | Uint16Array> {
  data: T;
  shape: Shape;
}
export type Labels = Volume<Uint8Array>;
export type Pixels = Volume<Float32Array>;
