/** The rules by which series are told apart: series_rules.toml of the command line, turned into JSON
 * when the page is built. */

import table from "virtual:series_rules";
import type { ImageKind } from "../stack";

export interface Clue { points: number; says: string }
interface Pattern { words: RegExp | null; tokens: Set<string>; forms: RegExp | null }
interface Written { words?: string[]; tokens?: string[]; forms?: string[] }

/** Text as rules compare it: lower case, without accents. */
export const fold = (text: string): string =>
  text.toLowerCase().replace(/ß/g, "ss").normalize("NFKD").replace(/\p{Mn}/gu, "");

function pattern({ words, tokens, forms }: Written): Pattern {
  return { words: oneOf(words), tokens: new Set(tokens), forms: oneOf(forms) };
}

function oneOf(words: readonly string[] = []): RegExp | null {
  const folded = words.map(fold).join("|");
  return folded ? new RegExp(`(?<![a-z])(?:${folded})`) : null;
}

const named = (found: Pattern, names: string): boolean => found.words?.test(names) ?? false;
const coded = (found: Pattern, tokens: readonly string[]): boolean => tokens.some((token) => found.tokens.has(token));

export const LEAST_SCORE: number = table.least_score;
export const FACTS: Record<string, Clue> = table.facts;
const NO_AGENT = new Set<string>(table.contrast_agent.absent);
const SIGNS = new Map(table.sign.map((sign) => [sign.id, { clue: { points: sign.points, says: sign.says }, pattern: pattern(sign) }]));
const KINDS = table.kind.map((kind) => [kind.name as ImageKind, pattern(kind)] as const);

export const clueOf = (sign: string): Clue => SIGNS.get(sign)!.clue;
export const isNoAgent = (agent: string): boolean => NO_AGENT.has(agent);

/** Ids of the signs that a series of these folded names and tokens bears. */
export const signsOf = (names: string, tokens: readonly string[]): string[] =>
  [...SIGNS].filter(([, sign]) => named(sign.pattern, names) || coded(sign.pattern, tokens)).map(([id]) => id);

export const namedKind = (names: string): ImageKind =>
  KINDS.find(([, found]) => named(found, names))?.[0] ?? "unknown type";

/** Kinds by tokens that no kind lists, such as `PSIR_MAG`: the first that fits each. */
const spelt = (tokens: readonly string[]): ImageKind[] =>
  tokens.filter((token) => !KINDS.some(([, kind]) => kind.tokens.has(token)))
    .flatMap((token) => KINDS.find(([, kind]) => kind.forms?.test(fold(token)))?.[0] ?? []);

/** Kinds that tokens name beside each other; none where they agree. `M` is left out: beside PSIR some
 * vendors write it for an image that is not complex. */
export function contradictoryKinds(tokens: readonly string[]): ImageKind[] {
  const told = tokens.filter((token) => token !== "M");
  const known = KINDS.filter(([, kind]) => coded(kind, told)).map(([name]) => name);
  const kinds = [...new Set([...known, ...spelt(told)])];
  return kinds.length > 1 ? kinds : [];
}

/** Tokens are coded by the scanner, names typed by staff: names decide where tokens do not. */
export function kindOf(names: string, tokens: readonly string[]): ImageKind {
  const known = KINDS.filter(([, kind]) => coded(kind, tokens)).map(([name]) => name);
  const found = [...new Set([...known, ...spelt(tokens)])];
  const byName = namedKind(names);
  return found.length === 1 || (found.length && !found.includes(byName)) ? found[0]! : byName;
}
