/** Names that a host of the core needs: the page's worker, and the tests in Node. */

export { ScarsegError } from "./errors";
export { unpacked, type DroppedFile } from "./files";
export { readInput } from "./input";
export { readMetadata, type Session, type Tensor } from "./model";
export { segment, type LoadedModel, type Request, type Stage } from "./pipeline";
export { reportHtml } from "./report/page";
export { resultDocument, type Result } from "./result";
