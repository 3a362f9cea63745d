// Myocardial scar from JavaScript: scarseg-infer's model file on ONNX Runtime. Research use only.
// Build  npm install --ignore-scripts    (its script would fetch CUDA; the package holds the CPU)
// Run    node scar_host.mjs MODEL STUDY labels.u8 > result.json    (MODEL and STUDY: ../README.md)
import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
process.env.ORT_DISABLE_TELEMETRY = "1"; // read on import: else it may report to its makers
const { default: ort } = await import("onnxruntime-node");

/** An expected failure: 2 usage, 3 study, 4 ECG, 5 model, 6 output. */
const fail = (code, text) => {
  throw Object.assign(new Error(text), { code });
};
const require = (holds, code, text) => holds || fail(code, text);

/** Return of `action`; what it throws is said in words that name no file. */
function attempt(action, code, text) {
  try {
    return action();
  } catch {
    return fail(code, text);
  }
}

const float = (values, shape = [values.length]) =>
  new ort.Tensor("float32", Float32Array.from(values), shape);

function readTensor(file, shape, code) {
  const count = shape.reduce((all, size) => all * size);
  const wrong = `${basename(file)} is missing or does not have the size that study.txt says`;
  require(attempt(() => statSync(file).size, code, wrong) === 4 * count, code, wrong);
  const bytes = attempt(() => readFileSync(file), code, `${basename(file)} cannot be read`);
  const values = new Float32Array(new Uint8Array(bytes).buffer);
  require(values.every(Number.isFinite), code, `${basename(file)} holds NaN or infinity`);
  return new ort.Tensor("float32", values, shape);
}

// As preprocess.slice_levels and quantify.slice_heights_mm: a missing slice leaves its gap.
function placeSlices(atMm, thicknessMm) {
  const last = atMm.length - 1;
  const length = atMm[last] - atMm[0];
  const steps = atMm.slice(1).map((at, s) => (at - atMm[s]) * Math.sign(length));
  const sorted = last === 0 ? [thicknessMm] : [...steps].sort((a, b) => a - b);
  require(sorted[0] > 0, 3, "the slices are not in order, or one is of unknown thickness");
  const usual = (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  return {
    levels: atMm.map((at) => (last === 0 ? 0.5 : (at - atMm[0]) / length)),
    heightsMm: atMm.map((_, s) => ((steps[s - 1] ?? usual) + (steps[s] ?? usual)) / 2),
  };
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i; // Number would take 0xa, too
function readStudy(folder) {
  const file = join(folder, "study.txt"); // latin1: no mark or space beyond ASCII is skipped
  const text = attempt(() => readFileSync(file, "latin1"), 3, "study.txt is missing");
  const n = (text.match(/[^ \t-\r]+/g) ?? []).map((w) => (NUMBER.test(w) ? Number(w) : NaN));
  const within = (first, count, least, most) =>
    n.slice(first, first + count).every((value) => value >= least && value <= most);
  const shape = n.slice(0, 3);
  require(n.length > 3 && n.every(Number.isFinite) && shape.every(Number.isInteger) &&
    within(0, 3, 1, 4096) && n[0] * n[1] * n[2] <= 2 ** 26, 3,
    "study.txt is missing or does not begin with three whole sizes to 4096, 2^26 in all");
  const end = 5 + shape[0]; // thickness, validity and, where they are known, days
  require(n.length === end + 2 || n.length === end + 3, 3, "study.txt has too many or few numbers");
  require(within(3, 2, 0.1, 10) && within(5, shape[0], -1e4, 1e4) && within(end, 1, 0, 50), 3,
    "pixel spacing, slice positions or thickness in study.txt are not in mm");
  const { levels, heightsMm } = placeSlices(n.slice(5, end), n[end]);
  const given = n[end + 1] === 1 || existsSync(join(folder, "ecg.f32"));
  // As taff.decide: a time that is unknown or negative is no time of zero days.
  const valid = n[end + 1] === 1 && n.length === end + 3 && n[end + 2] >= 0;
  const inputs = {
    lge: readTensor(join(folder, "lge.f32"), shape, 3),
    pixel_spacing: float(n.slice(3, 5)),
    slice_level: float(levels),
    ecg: given ? readTensor(join(folder, "ecg.f32"), [12, 512], 4)
      : float(new Float32Array(12 * 512), [12, 512]),
    gap_days: float([valid ? n[end + 2] : 0]),
    ecg_valid: float([valid ? 1 : 0]),
  };
  return { inputs, voxelMl: heightsMm.map((height) => (height * n[3] * n[4]) / 1000) };
}

const volumes = (outputs) => [outputs.labels, outputs.image_only_labels, outputs.segments];

/** Outputs of the graph. A host of many studies keeps the session. */
async function infer(file, inputs) {
  const bytes = attempt(() => readFileSync(file), 5, "the model file is missing");
  // onnxruntime-node does not give metadata: this is the entry's end as it stands in the file.
  require(bytes.includes('scarseg.format_version\x12\x03"3"'), 5,
    "the model file is none of scarseg-export, or has another format version than this host");
  try {
    const extra = { session: { load_model_format: "ONNX" } }; // else guessed: another graph may run
    const options = { enableCpuMemArena: false, logSeverityLevel: 4, extra }; // arenas never shrink
    const session = await ort.InferenceSession.create(bytes, options);
    const asked = session.inputNames.map((name) => [name, inputs[name]]); // image-only: three
    const outputs = await session.run(Object.fromEntries(asked));
    if (volumes(outputs).every(({ type, size }) => type === "uint8" && size === inputs.lge.size))
      return outputs;
  } catch {} // its text has many lines and names files
  fail(5, "ONNX Runtime cannot run the model file: take one of scarseg-export onnx");
}

/** As quantities.py; burden, the scar's share of the myocardium, is null where there is none. */
function quantities(outputs, voxelMl) {
  const [labels, alone, segments] = volumes(outputs).map(({ data }) => data);
  const plane = labels.length / voxelMl.length;
  const [scar, wall] = [new Float64Array(256), new Float64Array(256)]; // mL by AHA segment, [0] all
  let imageOnlyScar = 0;
  for (let i = 0; i < labels.length; i++) {
    const ml = voxelMl[Math.floor(i / plane)];
    if (labels[i] === 2 || labels[i] === 3) wall[segments[i]] += ml;
    if (labels[i] === 3) scar[segments[i]] += ml;
    if (alone[i] === 3) imageOnlyScar += ml;
  }
  for (const ml of [scar, wall]) ml[0] = ml.reduce((all, part) => all + part);
  const burden = Array.from(wall.subarray(0, 18), (ml, n) => (ml > 0 ? scar[n] / ml : null));
  return {
    scar_ml: scar[0],
    myocardium_g: wall[0] * 1.05,
    image_only_scar_ml: imageOnlyScar,
    ecg_weight: outputs.ecg_weight.data[0],
    ecg_image_disagreement: outputs.ecg_image_disagreement.data[0],
    burden: burden[0], segment_burden: burden.slice(1),
  };
}

/** Whole or not at all; no device is replaced by a file. */
function save(target, labels) {
  const part = `${target}.part`;
  if (statSync(target, { throwIfNoEntry: false })?.isFile() === false) throw new Error();
  try {
    writeFileSync(part, labels);
    renameSync(part, target);
  } finally {
    rmSync(part, { force: true });
  }
}

try {
  const [model, folder, target, ...more] = process.argv.slice(2);
  require(target && more.length === 0, 2, "usage: node scar_host.mjs MODEL STUDY LABELS");
  const { inputs, voxelMl } = readStudy(folder);
  const outputs = await infer(model, inputs);
  const text = `${JSON.stringify(quantities(outputs, voxelMl))}\n`;
  attempt(() => save(target, outputs.labels.data), 6, "the labels cannot be written");
  attempt(() => writeFileSync(1, text), 6, "the result cannot be written");
} catch (error) {
  if (!Number.isInteger(error.code)) throw error; // a defect of this host
  console.error(`${error.message}.`);
  process.exitCode = error.code;
}
