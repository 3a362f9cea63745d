/** All computing, away from the page so that it stays responsive and can end it. */

import { ScarsegError, readMetadata, reportHtml, resultDocument, segment, type LoadedModel, type Result } from "../core/index";
import type { FromWorker, Parts, ToWorker } from "./messages";
import { openSession } from "./session";
import { heldAgainst } from "./webgpu";

const say = (message: FromWorker): void => self.postMessage(message);
let model: Promise<LoadedModel> | null = null;

self.addEventListener("message", async ({ data }: MessageEvent<ToWorker>) => {
  try {
    if (data.kind === "load") {
      model = load(data.parts);
      const loaded = await model;
      const engine = `WebAssembly, ${data.parts.threads === 1 ? "1 thread" : `${data.parts.threads} threads`}`;
      say({ kind: "ready", engine });
      if (data.parts.gpu) say({ kind: "ready", engine: await withGpu(loaded, data.parts, engine) });
      return;
    }
    const result = await segment(data.request, model!, (stage, share) => say({ kind: "progress", stage, share }));
    say({ kind: "result", html: reportHtml(result), json: JSON.stringify(resultDocument(result), null, 2), words: wordsOf(result) });
  } catch (error) {
    // What is no error of ours may quote a file: it is not shown.
    say(error instanceof ScarsegError
      ? { kind: "error", what: error.what, advice: error.advice }
      : { kind: "error", what: "something went wrong that should not", advice: "Try the command line, which may say more" });
  }
});

async function load(parts: Parts): Promise<LoadedModel> {
  const metadata = readMetadata(parts.model);
  const digest = new Uint8Array(await sha256(parts.model));
  return {
    metadata,
    sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    session: await openSession(parts),
  };
}

/** Compute on WebGPU from now on, where that can be relied on. What it computes on then. */
async function withGpu(loaded: LoadedModel, parts: Parts, engine: string): Promise<string> {
  const found = await heldAgainst({ ...loaded }, parts, parts.gpuAnyway);
  if (typeof found === "string") return `${engine}, as WebGPU ${found}`;
  loaded.session = found;
  return "WebGPU, held against WebAssembly";
}

const sha256 = (bytes: Uint8Array): Promise<ArrayBuffer> => crypto.subtle.digest("SHA-256", bytes.slice());

function wordsOf({ quantities, warnings }: Result): string {
  const share = quantities.scar_percent_of_lv_mass;
  const scar = share === null ? "No left ventricle was found."
    : `Scar ${quantities.scar_ml.toFixed(1)} mL, ${share.toFixed(1)} % of LV mass.`;
  return `${scar} ${!warnings.length ? "No warnings." : warnings.length === 1 ? "1 warning." : `${warnings.length} warnings.`}`;
}
