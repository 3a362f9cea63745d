/** Messages between the page and its worker. */

import type { Request, Stage } from "../core/index";

export interface Parts {
  loader: Uint8Array;
  wasm: Uint8Array;
  model: Uint8Array;
  threads: number;
  /** ONNX Runtime with WebGPU, where there is a graphics processor, and the simulated patient to try it with. */
  gpu: Uint8Array | null;
  demo: Uint8Array | null;
  /** Take WebGPU however slow it is. */
  gpuAnyway: boolean;
}

export type ToWorker = { kind: "load"; parts: Parts } | { kind: "segment"; request: Request };

export type FromWorker =
  | { kind: "ready"; engine: string }
  | { kind: "progress"; stage: Stage; share: number }
  | { kind: "result"; html: string; json: string; words: string }
  | { kind: "error"; what: string; advice: string };
