/** The model file: what it says of itself, and running it. */

import { BEAT_SAMPLES, FORMAT_VERSION, LEADS, type Labels, type Pixels, type Shape } from "./contract";
import { ModelError } from "./errors";

const PREFIX = "scarseg.";
const ADVICE = "Export it again with scarseg-export onnx";

export interface ModelMetadata {
  name: string;
  version: string;
  training_data: string;
  tau_days: number;
  disagreement_threshold: number;
  min_scar_ml: number;
  image_only: boolean;
  precision: string;
  ecg_scores: Record<string, unknown>;
}

/** Metadata of an ONNX file: its `metadata_props` with our prefix. Throws ModelError. */
export function readMetadata(file: Uint8Array): ModelMetadata {
  const entries: Record<string, unknown> = {};
  try {
    for (const [key, value] of metadataProps(file))
      if (key.startsWith(PREFIX)) entries[key.slice(PREFIX.length)] = JSON.parse(value);
  } catch {
    throw new ModelError("the model file's metadata is damaged", ADVICE);
  }
  if (entries.format_version !== FORMAT_VERSION)
    throw new ModelError("the model file is not of the format version that this page reads", "Use the matching release");
  const wanted: [keyof ModelMetadata, string][] = [
    ["name", "string"], ["version", "string"], ["training_data", "string"], ["tau_days", "number"],
    ["disagreement_threshold", "number"], ["min_scar_ml", "number"], ["image_only", "boolean"], ["precision", "string"],
  ];
  for (const [key, type] of wanted)
    if (typeof entries[key] !== type) throw new ModelError(`the model file's ${key} is of a wrong type or size`, ADVICE);
  return { ecg_scores: {}, ...entries } as unknown as ModelMetadata;
}

/** Key and value of field 14 of ModelProto; other fields are passed over. */
function* metadataProps(file: Uint8Array): Generator<[string, string]> {
  for (const [field, content] of fields(file)) {
    if (field !== 14) continue;
    const texts = new Map([...fields(content)].map(([number, bytes]) => [number, new TextDecoder().decode(bytes)]));
    yield [texts.get(1) ?? "", texts.get(2) ?? ""];
  }
}

/** Fields of a protobuf message that have a length, with their content. */
function* fields(message: Uint8Array): Generator<[number, Uint8Array]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++];
      if (byte === undefined || shift > 2 ** 49) throw new Error("cut short");
      value += (byte & 0x7f) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length > message.length) throw new Error("cut short");
      yield [Math.floor(key / 8), message.subarray(at, (at += length))];
    } else throw new Error("unknown kind of field");
  }
}

/** Work of a host for the network: run the graph on arrays by the names of the contract. */
export interface Session {
  provider: string;
  /** Reason why this way of computing is not known to give right answers; "" where it is. */
  gate: string;
  run(inputs: Record<string, Tensor>): Promise<Record<string, Tensor>>;
}
export interface Tensor { data: Float32Array | Uint8Array; dims: readonly number[] }

export interface NetworkOutput {
  labels: Labels;
  scarProbability: Pixels;
  imageOnlyLabels: Labels;
  segments: Labels;
  ecgSegmentBelief: number[];
  ecgWeight: number;
  ecgImageDisagreement: number;
}

export interface NetworkInput {
  lge: Pixels;
  spacing: readonly [number, number];
  levels: readonly number[];
  beatMv: Float32Array | null;
  valid: boolean;
  gapDays: number;
}

/** Run the graph on one study. Throws ModelError where it fails or answers in another shape. */
export async function runNetwork(session: Session, metadata: ModelMetadata, input: NetworkInput): Promise<NetworkOutput> {
  const inputs: Record<string, Tensor> = {
    lge: { data: input.lge.data, dims: input.lge.shape },
    pixel_spacing: { data: Float32Array.from(input.spacing), dims: [2] },
    slice_level: { data: Float32Array.from(input.levels), dims: [input.levels.length] },
  };
  if (!metadata.image_only) {
    const valid = input.valid && input.beatMv !== null;
    inputs.ecg = { data: input.beatMv ?? new Float32Array(LEADS.length * BEAT_SAMPLES), dims: [LEADS.length, BEAT_SAMPLES] };
    inputs.gap_days = { data: Float32Array.of(valid ? input.gapDays : 0), dims: [1] };
    inputs.ecg_valid = { data: Float32Array.of(Number(valid)), dims: [1] };
  }
  let found: Record<string, Tensor>;
  try {
    found = await session.run(inputs);
  } catch {
    throw new ModelError("the network failed in this browser", "Close other pages to free memory, and try again");
  }
  const { shape } = input.lge;
  const volume = <T extends Float32Array | Uint8Array>(name: string): { data: T; shape: Shape } =>
    ({ data: found[name]!.data as T, shape });
  const number = (name: string): number => Number(found[name]!.data[0]);
  return {
    labels: volume("labels"),
    scarProbability: volume("scar_probability"),
    imageOnlyLabels: volume("image_only_labels"),
    segments: volume("segments"),
    ecgSegmentBelief: Array.from(found.ecg_segment_belief!.data),
    ecgWeight: number("ecg_weight"),
    ecgImageDisagreement: number("ecg_image_disagreement"),
  };
}
