// Runs the page's core in Node, with onnxruntime-web's WASM on one thread:
// node run_core.mjs CORE ORT MODEL JOBS. JOBS is a JSON list of {study, ecg, gapDays, out}; study and
// ecg are lists of [path within what is dropped, path of the file]. Each writes OUT.json with the
// document or the error, and where there is a result OUT.bin with its labels, those of the image
// alone and the segments one after the other, and OUT.html. Without a MODEL ("") studies are only
// read: OUT.json has the shape and the warnings, OUT.bin the pixels as 32-bit floats.

import { readFileSync, writeFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";

const [corePath, ortPath, modelPath, jobsPath] = process.argv.slice(2);
const core = await import(pathToFileURL(corePath));
const dropped = (files) => files.map(([path, file]) => ({ path, bytes: new Uint8Array(readFileSync(file)) }));

async function openModel() {
  const ort = await import(pathToFileURL(ortPath));
  ort.env.wasm.numThreads = 1;
  const bytes = new Uint8Array(readFileSync(modelPath));
  const graph = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const session = {
    provider: "wasm",
    gate: "",
    async run(inputs) {
      const feeds = Object.fromEntries(Object.entries(inputs).map(([name, { data, dims }]) => [name, new ort.Tensor(data, dims)]));
      return graph.run(feeds);
    },
  };
  return { metadata: core.readMetadata(bytes), session, sha256: createHash("sha256").update(bytes).digest("hex") };
}

async function segment({ study, ecg, gapDays, out }, model) {
  const result = await core.segment({ study: dropped(study), ecg: dropped(ecg), gapDays }, model, () => {});
  writeFileSync(`${out}.json`, JSON.stringify(core.resultDocument(result)));
  writeFileSync(`${out}.bin`, Buffer.concat([result.labels, result.imageOnlyLabels, result.segments].map(({ data }) => data)));
  writeFileSync(`${out}.html`, core.reportHtml(result));
}

async function read({ study, out }) {
  const { stack } = await core.readInput(dropped(study), [], () => {});
  writeFileSync(`${out}.json`, JSON.stringify({ shape: stack.pixels.shape, warnings: stack.warnings }));
  writeFileSync(`${out}.bin`, stack.pixels.data);
}

const model = modelPath ? Promise.resolve(await openModel()) : null;
for (const job of JSON.parse(readFileSync(jobsPath, "utf8"))) {
  try {
    await (model ? segment(job, model) : read(job));
  } catch (error) {
    if (!(error instanceof core.ScarsegError)) throw error;
    writeFileSync(`${job.out}.json`, JSON.stringify({ error: error.message, kind: error.name }));
  }
}
