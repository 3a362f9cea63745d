/** The network on ONNX Runtime's WebAssembly, with SIMD, and threads where the page may have them. */

import * as ort from "onnxruntime-web/wasm";
import type { Session, Tensor } from "../core/index";
import type { Parts } from "./messages";

/** A session on what is in the page: nothing is fetched. */
export async function openSession(parts: Parts): Promise<Session> {
  ort.env.logLevel = "fatal";
  ort.env.wasm.numThreads = parts.threads;
  // Threads load the loader as a module of their own, which a page opened as a file could not.
  if (parts.threads > 1)
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([parts.loader.slice()], { type: "text/javascript" })) };
  ort.env.wasm.wasmBinary = parts.wasm.slice().buffer;
  return sessionOf(ort, await ort.InferenceSession.create(parts.model, { executionProviders: ["wasm"] }), "wasm");
}

/** Answers to the core, of a graph that either build of ONNX Runtime has opened. */
export function sessionOf(build: Pick<typeof ort, "Tensor">, graph: ort.InferenceSession, provider: string): Session {
  return {
    provider,
    gate: "",
    async run(inputs) {
      const feeds = Object.fromEntries(Object.entries(inputs).map(([name, { data, dims }]) =>
        [name, data instanceof Float32Array ? new build.Tensor("float32", data, dims) : new build.Tensor("uint8", data, dims)]));
      const found = await graph.run(feeds);
      return Object.fromEntries(Object.entries(found).map(([name, tensor]) =>
        [name, { data: tensor.data as Tensor["data"], dims: tensor.dims }]));
    },
  };
}
