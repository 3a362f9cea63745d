/** Errors a user can meet: what is wrong and where, and what to do. Never a file's name or a value
 * of the patient. */

export class ScarsegError extends Error {
  constructor(readonly what: string, readonly advice = "") {
    super(advice ? `${what}. ${advice}.` : `${what}.`);
    this.name = new.target.name;
  }
}
export class StudyError extends ScarsegError {}
export class EcgError extends ScarsegError {}
export class ModelError extends ScarsegError {}
