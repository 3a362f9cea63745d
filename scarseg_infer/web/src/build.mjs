// Builds the page: node build.mjs CONFIG. The command scarseg-web writes CONFIG, a JSON file with
// `version`, `rules` (series_rules.toml), `assets` (folder of the report page), `model` (ONNX file),
// `demo` (folder of the simulated patient), `page` (HTML file to write) and, for tests, `core` (module to write for Node).

import { createHash } from "node:crypto";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { zipSync } from "fflate";
import { parse } from "smol-toml";

const here = path.dirname(fileURLToPath(import.meta.url));
const config = JSON.parse(await readFile(process.argv[2], "utf8"));
const hash = (text) => `sha256-${createHash("sha256").update(text).digest("base64")}`;

const asset = (name) => readFile(path.join(config.assets, name), "utf8");
const reportScript = (await Promise.all(["volume.js", "viewer.js", "page.js"].map(asset))).join("\n");
const virtual = {
  series_rules: `export default ${JSON.stringify(parse(await readFile(config.rules, "utf8")))};`,
  report: Object.entries({
    template: await asset("page.html"),
    style: await asset("page.css"),
    script: reportScript,
    scriptHash: hash(reportScript),
    version: config.version,
  }).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};`).join("\n"),
};

// dicom-parser asks for zlib to inflate whole files, which are refused before. The codecs would ask Node
// for files; they are given bytes, and told that there is no Node, so that tests run what the page runs.
const nodes = ["zlib", "fs", "path"];
for (const name of nodes) virtual[name] = "module.exports = {};";

const plugin = {
  name: "virtual",
  setup(builder) {
    builder.onResolve({ filter: new RegExp(`^(${nodes.join("|")})$`) }, ({ path: name }) => ({ path: name, namespace: "virtual" }));
    builder.onResolve({ filter: /^virtual:/ }, ({ path: name }) => ({ path: name.slice(8), namespace: "virtual" }));
    builder.onLoad({ filter: /.*/, namespace: "virtual" }, ({ path: name }) => ({ contents: virtual[name] }));
  },
};

async function bundle(entry, options = {}) {
  const { outputFiles } = await build({
    entryPoints: [path.join(here, entry)],
    bundle: true, write: false, format: "esm", target: "es2022", charset: "utf8", minify: true, legalComments: "none",
    logLevel: "warning", plugins: [plugin], loader: { ".wasm": "binary" },
    ...options, define: { process: "undefined", ...options.define },
  });
  return outputFiles[0].text;
}

// Text within a script element: neither its end nor a comment may begin there.
const inert = (script) => script.replace(/<(?=\/script|!--|script)/gi, "\\x3c");
const packed = (bytes) => gzipSync(bytes, { level: 9 }).toString("base64");

if (config.core) await writeFile(config.core, await bundle("core/index.ts", { minify: false }));

// Of the two forms of the ECG the WFDB record.
async function demoFiles() {
  const names = (await readdir(config.demo, { recursive: true })).sort();
  const used = names.filter((name) => /lge\d+\.dcm$|\.(hea|dat)$/.test(name));
  return Promise.all(used.map(async (name) => [name.replaceAll("\\", "/"), await readFile(path.join(config.demo, name))]));
}

if (config.page) {
  const dist = path.dirname(createRequire(import.meta.url).resolve("onnxruntime-web/wasm"));
  const part = (name) => readFile(path.join(dist, name));
  const script = inert(await bundle("page/main.ts", { format: "iife" }));
  const data = {
    worker: Buffer.from(await bundle("page/worker.ts", {
      // A page that was opened as a file may start classic workers only.
      format: "iife", define: { "import.meta.url": "self.location.href" },
    })),
    loader: await part("ort-wasm-simd-threaded.mjs"),
    wasm: await part("ort-wasm-simd-threaded.wasm"),
    gpu: await part("ort-wasm-simd-threaded.jspi.wasm"),
    model: await readFile(config.model),
    demo: Buffer.from(zipSync(Object.fromEntries(await demoFiles()), { level: 0, mtime: new Date(Date.UTC(1980, 0, 1)) })),
  };
  const policy = [
    "default-src 'none'",
    `script-src '${hash(script)}' '${hash(reportScript)}' blob: 'wasm-unsafe-eval'`,
    "worker-src blob:", "style-src 'unsafe-inline'", "img-src data:", "base-uri 'none'", "form-action 'none'",
  ].join("; ");
  const page = (await readFile(path.join(here, "page/index.html"), "utf8"))
    .replace("{{policy}}", () => policy)
    .replace("{{style}}", await readFile(path.join(here, "page/page.css"), "utf8"))
    .replace("{{version}}", () => config.version)
    .replace("{{data}}", () => Object.entries(data)
      .map(([name, bytes]) => `<script type="text/plain" id="data-${name}">${packed(bytes)}</script>`).join("\n"))
    .replace("{{script}}", () => script);
  await writeFile(config.page, page);
}
