/** The network on WebGPU, where that gives what WebAssembly gives, in less time. */

import * as ort from "onnxruntime-web/jspi";
import { segment, unpacked, type LoadedModel, type Request, type Result, type Session } from "../core/index";
import type { Parts } from "./messages";
import { orElse } from "./or-else";
import { sessionOf } from "./session";

/** Of labels that have to be equal, as for every other way of computing. */
const LEAST_SHARE = 0.999;
const MOST_BURDEN = 0.005;
const PATIENCE_MS = 30_000;

/**
 * Session on WebGPU that was held against the one on WebAssembly, or why there is none.
 *
 * One slice of the simulated patient is computed on both. `anyway`: however long it takes.
 */
export async function heldAgainst(sure: LoadedModel, { model, gpu, demo }: Parts, anyway: boolean): Promise<Session | string> {
  try {
    const request = middleSlice(demo!);
    const tried = (async () => {
      const graph = await opened(model, gpu!);
      const fast = { ...sure, session: sessionOf(ort, graph, "webgpu") };
      await timed(request, fast); // compiles what runs on the graphics processor
      return { session: fast.session, fast: await timed(request, fast), slow: await timed(request, sure) };
    })();
    const found = await (anyway ? tried : Promise.race([tried, patience()]));
    if (!found) return "takes too long";
    const { session, fast, slow } = found;
    if (!alike(fast.result, slow.result)) return "gives other labels";
    if (!anyway && fast.ms > slow.ms) return "takes longer";
    return orElse(session, sure.session);
  } catch {
    return "does not run the network";
  }
}

async function opened(model: Uint8Array, wasm: Uint8Array): Promise<ort.InferenceSession> {
  ort.env.logLevel = "fatal";
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm.slice().buffer;
  return ort.InferenceSession.create(model, { executionProviders: ["webgpu"], logSeverityLevel: 4 });
}

function middleSlice(demo: Uint8Array): Request {
  const files = unpacked([{ path: "demo.zip", bytes: demo }]);
  const slices = files.filter(({ path }) => path.endsWith(".dcm"));
  return { study: [slices[slices.length >> 1]!], ecg: files.filter((file) => !slices.includes(file)), gapDays: 3 };
}

async function timed(request: Request, model: LoadedModel): Promise<{ result: Result; ms: number }> {
  const result = await segment(request, Promise.resolve(model), () => {});
  return { result, ms: result.timingsMs.network! };
}

const patience = (): Promise<null> => new Promise((end) => { setTimeout(() => end(null), PATIENCE_MS); });

function alike(one: Result, other: Result): boolean {
  const volumes = [[one.labels, other.labels], [one.imageOnlyLabels, other.imageOnlyLabels], [one.segments, other.segments]];
  const equal = volumes.every(([a, b]) => {
    let count = 0;
    for (let i = 0; i < a!.data.length; i++) count += Number(a!.data[i] === b!.data[i]);
    return count >= LEAST_SHARE * a!.data.length;
  });
  const share = ({ quantities }: Result): number => (quantities.scar_percent_of_lv_mass ?? -1) / 100;
  return equal && Math.abs(share(one) - share(other)) <= MOST_BURDEN;
}
