/** The page: files in, progress, errors, the report. */

import type { DroppedFile, Stage } from "../core/index";
import { part } from "./data";
import { TooMuchError, chosen, contents, dropped, type Held } from "./files";
import type { FromWorker, Parts, ToWorker } from "./messages";

const MAX_THREADS = 4;
const LIMIT_MS = 10 * 60_000;
/** Of the page's address: `#webgpu=off`, or `#webgpu=any`, however slow it is. */
const GPU_WISH = new URLSearchParams(location.hash.slice(1)).get("webgpu");
const STAGES: Record<Stage, string> = {
  read_study: "Reading the study …", read_ecg: "Reading the ECG …", load_model: "Loading the network …",
  prepare_ecg: "Preparing the ECG …", network: "Looking for scar …", quantify: "Measuring …",
};

const by = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const [form, working, error, result] = ["form", "working", "error", "result"].map((id) => by(id)) as
  [HTMLElement, HTMLElement, HTMLElement, HTMLElement];
const start = by<HTMLButtonElement>("start"), clear = by<HTMLButtonElement>("clear");
const gap = by<HTMLInputElement>("gap");

const held: Record<"study" | "ecg", Held[]> = { study: [], ecg: [] };
let saved = { html: "", json: "" };
let timer = 0;

// ---- the worker

let unpackedDemo: Promise<Uint8Array> | null = null;
const demo = (): Promise<Uint8Array> => (unpackedDemo ??= part("demo"));

/** True where a graphics processor can be tried. One that software imitates is slower than WebAssembly. */
async function hasGpu(): Promise<boolean> {
  if (GPU_WISH === "off" || !("gpu" in navigator) || !("Suspending" in WebAssembly)) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter !== null && (GPU_WISH === "any" || !adapter.info.isFallbackAdapter);
}

const loading = (async () => {
  const names = ["worker", "loader", "wasm", "model"] as const;
  const [worker, loader, wasm, model] = await Promise.all(names.map(part)) as
    [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>];
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS) : 1;
  const [gpu, patient] = await hasGpu() ? await Promise.all([part("gpu"), demo()]) : [null, null];
  return {
    address: URL.createObjectURL(new Blob([worker], { type: "text/javascript" })),
    parts: { loader, wasm, model, threads, gpu, demo: patient, gpuAnyway: GPU_WISH === "any" },
  };
})();
let worker = loading.then(({ address, parts }) => open(address, parts));

function open(address: string, parts: Parts): Worker {
  const made = new Worker(address);
  made.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => hear(data));
  made.addEventListener("error", (event) => {
    event.preventDefault();
    by("engine").textContent = "The network could not be loaded.";
    fail("the computation could not be started or ran out of memory", "Close other pages, or use a newer browser");
  });
  tell(made, { kind: "load", parts });
  return made;
}

const tell = (to: Worker, message: ToWorker): void => to.postMessage(message);

/** End what runs and load anew. */
async function renew(): Promise<void> {
  const old = worker;
  worker = Promise.all([old, loading]).then(([made, { address, parts }]) => {
    made.terminate();
    return open(address, parts);
  });
  await worker;
}

function hear(message: FromWorker): void {
  if (message.kind === "ready") by("engine").textContent = `Computes on ${message.engine}.`;
  else if (message.kind === "progress") {
    by("stage").textContent = STAGES[message.stage];
    by<HTMLProgressElement>("progress").value = message.share;
  } else if (message.kind === "error") fail(message.what, message.advice);
  else show(message);
}

// ---- states of the page

function only(section: HTMLElement): void {
  clearTimeout(timer);
  for (const one of [form, working, result]) one.hidden = one !== section;
  document.body.classList.toggle("shows-result", section === result);
}

function fail(what: string, advice: string): void {
  only(form);
  const words = ([["what", what], ["advice", advice]] as const).filter(([, text]) => text).map(([kind, text]) =>
    Object.assign(document.createElement("p"), { className: kind, textContent: `${text[0]!.toUpperCase()}${text.slice(1)}.` }));
  error.replaceChildren(...words);
  error.hidden = false;
  error.scrollIntoView({ block: "nearest" });
}

function show({ html, json, words }: Extract<FromWorker, { kind: "result" }>): void {
  saved = { html, json };
  only(result);
  by<HTMLIFrameElement>("report").srcdoc = html;
  by("result-title").textContent = words;
  by("result-title").focus();
}

async function run(files: () => Promise<{ study: DroppedFile[]; ecg: DroppedFile[] }>): Promise<void> {
  error.hidden = true;
  only(working);
  by("stage").textContent = STAGES.read_study;
  by<HTMLProgressElement>("progress").value = 0;
  by("working-title").focus();
  timer = window.setTimeout(() => {
    void renew();
    fail("it took longer than 10 minutes", "Drop the LGE series alone, or use the command line");
  }, LIMIT_MS);
  try {
    const days = gap.value === "" ? null : Number(gap.value);
    const request = { ...(await files()), gapDays: days };
    tell(await worker, { kind: "segment", request });
  } catch {
    fail("the files cannot be read", "Check that they are still there and that you may read them");
  }
}

// ---- files

function hold(kind: "study" | "ecg", files: Held[]): void {
  held[kind] = files;
  error.hidden = true;
  const count = files.length;
  const bytes = files.reduce((total, { file }) => total + file.size, 0);
  by(`${kind}-held`).textContent = !count ? "Nothing chosen."
    : `${count} ${count === 1 ? "file" : "files"}, ${bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`}.`;
  by(`zone-${kind}`).classList.toggle("full", count > 0);
  start.disabled = !held.study.length;
  clear.disabled = !held.study.length && !held.ecg.length;
}

async function take(kind: "study" | "ecg", find: () => Held[] | Promise<Held[]>): Promise<void> {
  try {
    const found = await find();
    if (found.length) hold(kind, found);
  } catch (problem) {
    if (problem instanceof TooMuchError) fail(problem.message, "Give the files of one study");
    else fail("the files cannot be read", "Check that you may read them, or choose them by the buttons");
  }
}

for (const [id, kind] of [["study-folder", "study"], ["study-files", "study"], ["ecg-files", "ecg"]] as const)
  by<HTMLInputElement>(id).addEventListener("change", (event) => {
    const input = event.target as HTMLInputElement;
    void take(kind, () => chosen(input)).then(() => { input.value = ""; });
  });

// Anything that is dropped beside the zone of the ECG is the study: a browser would open it.
for (const name of ["dragover", "dragleave", "drop"] as const)
  document.addEventListener(name, (event) => {
    event.preventDefault();
    const ecg = (event.target as Element | null)?.closest?.("#zone-ecg") !== null;
    const over = name === "dragover" && !form.hidden;
    by("zone-ecg").classList.toggle("over", over && ecg);
    by("zone-study").classList.toggle("over", over && !ecg);
    if (name === "drop" && !form.hidden && event.dataTransfer) {
      const transfer = event.dataTransfer;
      void take(ecg ? "ecg" : "study", () => dropped(transfer));
    }
  });

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void run(async () => ({ study: await contents(held.study), ecg: await contents(held.ecg) }));
});
clear.addEventListener("click", () => {
  hold("study", []);
  hold("ecg", []);
  gap.value = "";
});
by("cancel").addEventListener("click", () => {
  void renew();
  only(form);
  start.focus();
});
by("again").addEventListener("click", () => {
  by<HTMLIFrameElement>("report").removeAttribute("srcdoc");
  saved = { html: "", json: "" };
  hold("study", []);
  hold("ecg", []);
  only(form);
  by("study-folder").focus();
});

by("demo").addEventListener("click", () => {
  void run(async () => ({ study: [{ path: "demo.zip", bytes: await demo() }], ecg: [] }));
});

function save(name: string, type: string, content: string): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
by("save-report").addEventListener("click", () => save("report.html", "text/html", saved.html));
by("save-json").addEventListener("click", () => save("result.json", "application/json", saved.json));
