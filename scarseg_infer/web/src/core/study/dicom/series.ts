/** From MR slices to groups of them that may be stacks: scarseg_infer/study/dicom/series.py. */

import { MISSING_SLICE_STEP, SAME_POSITION_MM, normalOf, sameGrid, samePlace, usualStep, type Plane } from "../../geometry/plane";
import { shortAxisTilt } from "../../geometry/display";
import { MOST_TILT_DEG, alignedOrigins, middlePlane } from "../../geometry/slight_tilt";
import { dot, type Vector } from "../../geometry/vectors";
import { argsort } from "../../numbers";
import { rint } from "../../words";
import type { ImageKind } from "../stack";
import type { SliceHeader } from "./header";
import { LEAST_SCORE, clueOf, signsOf } from "./rules";

export const MIN_STACK_SLICES = 3;
export const CINE_PHASES = 5;
const LONGEST_BEAT_MS = 2000;
const MAX_GRIDS = 100;
const TOUCHING = 0.9;
export const LATE_ENHANCEMENT = "late_enhancement";
export const ADVICE = "Export the short-axis LGE series (PSIR or magnitude), one image per slice";

export type Placed = SliceHeader & { plane: Plane };

/** Parallel slices on one grid, sorted along their normal. */
export class SliceGroup {
  /** `plane` is the one whose axes are those of all. */
  constructor(readonly slices: readonly Placed[], readonly imagesPerPosition: readonly number[], readonly plane: Plane) {}

  get first(): Placed { return this.slices[0]!; }
  get positionCount(): number { return this.imagesPerPosition.length; }
  get isStack(): boolean { return Math.max(...this.imagesPerPosition) === 1; }
  /** A stack in which some slices were taken again. */
  get isNearlyStack(): boolean {
    return this.imagesPerPosition.filter((n) => n === 1).length * 2 > this.positionCount;
  }
  get signs(): string[] {
    return [...new Set(this.slices.flatMap((header) => signsOf(header.names, header.tokens)))];
  }
  get imageKind(): ImageKind { return this.first.imageKind; }
  get seriesNumber(): number | null {
    const known = this.slices.flatMap((header) => (header.seriesNumber === null ? [] : [header.seriesNumber]));
    return known.length ? Math.min(...known) : null;
  }
  get acquired(): number | null {
    const known = this.slices.flatMap((header) => (header.acquired === null ? [] : [header.acquired]));
    return known.length === this.slices.length ? Math.min(...known) : null;
  }
  get phaseCount(): number { return Math.max(...this.slices.map((header) => header.phaseCount)); }
  get origins(): Vector[] { return alignedOrigins(this.slices.map((header) => header.plane), this.plane); }
  get tiltDeg(): number { return shortAxisTilt(normalOf(this.plane)); }

  atPositions(): Placed[][] {
    let end = 0;
    return this.imagesPerPosition.map((n) => this.slices.slice(end, (end += n)));
  }

  sameSlices(other: SliceGroup): boolean {
    return this.isStack && other.isStack && this.positionCount === other.positionCount &&
      this.slices.every((one, i) => samePlace(one.plane, other.slices[i]!.plane));
  }

  sameAcquisition(other: SliceGroup): boolean {
    if (!this.sameSlices(other)) return false;
    const all = (same: (one: Placed, two: Placed) => boolean): boolean =>
      this.slices.every((one, i) => same(one, other.slices[i]!));
    return all((one, two) => one.seriesUid === two.seriesUid) ||
      all((one, two) => one.acquired !== null && one.acquired === two.acquired);
  }
}

/** Sort placed slices into groups that may be stacks. */
export function groupSlices(headers: readonly Placed[]): SliceGroup[] {
  const all = clusters(headers, (h) => `${h.seriesUid}|${h.imageKind}`)
    .flatMap(withSlightTilts).flatMap((slices) => byImageType(sortedGroup(slices)));
  const groups = all.filter((group) => group.positionCount > 1);
  const lone = all.filter((group) => group.positionCount === 1);
  for (const repeated of [false, true]) {
    const slices = lone.filter((group) => group.isStack !== repeated).flatMap((group) => group.slices);
    groups.push(...clusters(slices, (h) => `${h.frameUid}|${h.imageKind}|${family(h)}`)
      .flatMap(withSlightTilts).map(sortedGroup));
  }
  return withComplements(groups);
}

/** Groups, those joined that are parts of one stack taken in several series, as in several breath-holds. */
function withComplements(groups: readonly SliceGroup[]): SliceGroup[] {
  const kept: SliceGroup[] = [];
  for (const group of [...groups].sort((a, b) => b.positionCount - a.positionCount)) {
    const joined = kept.map((other) => complemented(other, group));
    const at = joined.findIndex((one) => one !== null);
    if (at < 0) kept.push(group);
    else kept[at] = joined[at]!;
  }
  return kept;
}

/** The stack that two groups make together; null where they are none. */
function complemented(group: SliceGroup, part: SliceGroup): SliceGroup | null {
  const one = group.first, two = part.first;
  const told = [one, two].map((h) => JSON.stringify([
    h.frameUid, h.imageKind, isLate(h), h.names.replace(/\d+/g, "").split(/\s+/).filter(Boolean),
  ]));
  const apart = !group.slices.some((h) => part.slices.some((other) => other.seriesUid === h.seriesUid));
  const alike = told[0] === told[1] && isLate(one) && sameGrid(one.plane, two.plane);
  if (!(apart && alike && group.isStack && part.isStack && group.positionCount > 1)) return null;
  const joined = sortedGroup([...group.slices, ...part.slices]);
  if (joined.positionCount < group.positionCount + part.positionCount) return null;
  const positions = (of: SliceGroup): number[] => of.origins.map((origin) => dot(origin, normalOf(of.plane)));
  const all = positions(joined), step = usualStep(all);
  const steps = all.slice(1).map((at, i) => at - all[i]!);
  const even = Math.max(...steps) < MISSING_SLICE_STEP * step && Math.min(...steps) * MISSING_SLICE_STEP > step;
  return even && step >= TOUCHING * (one.sliceThicknessMm || usualStep(positions(group))) ? joined : null;
}

const isLate = (header: SliceHeader): boolean => signsOf(header.names, header.tokens).includes(LATE_ENHANCEMENT);

/** Parts of one series, the largest of them joined by those that lean a little against it. */
function withSlightTilts(parts: readonly Placed[][]): Placed[][] {
  const [largest, ...rest] = [...parts].sort((a, b) => b.length - a.length);
  let first = largest!;
  const apart: Placed[][] = [];
  for (const part of rest) {
    const alike = sameGrid(first[0]!.plane, part[0]!.plane, MOST_TILT_DEG);
    if (alike && fillIn(first, part)) first = [...first, ...part];
    else apart.push(part);
  }
  return [first, ...apart];
}

/** True where both show different positions, or a few that by their times were taken again. */
function fillIn(first: readonly Placed[], part: readonly Placed[]): boolean {
  const joined = sortedGroup([...first, ...part]);
  if (joined.positionCount === sortedGroup(first).positionCount + sortedGroup(part).positionCount) return true;
  return joined.isNearlyStack && joined.atPositions().every((images) => images.length === 1 ||
    (new Set(images.map((header) => header.acquired)).size === images.length &&
      images.every((header) => header.acquired !== null)));
}

/** A group with several images at each position as the stacks that ImageType makes of it. */
function byImageType(group: SliceGroup): SliceGroup[] {
  if (group.isNearlyStack || group.positionCount === 1) return [group];
  const kinds = new Map<string, Placed[]>();
  for (const header of group.slices) {
    const key = header.tokens.join("\\");
    kinds.set(key, [...(kinds.get(key) ?? []), header]);
  }
  const parts = [...kinds.values()].map(sortedGroup);
  const whole = parts.every((part) => part.positionCount === group.positionCount && part.isNearlyStack);
  return whole ? parts : [group];
}

function clusters(headers: readonly Placed[], key: (header: Placed) => string): Placed[][][] {
  const found = new Map<string, Placed[][]>();
  for (const header of headers) {
    const name = key(header);
    if (!found.has(name)) found.set(name, []);
    const alike = found.get(name)!;
    const fit = alike.find((members) => sameGrid(members[0]!.plane, header.plane));
    if (fit) fit.push(header);
    else if (alike.length < MAX_GRIDS) alike.push([header]);
  }
  return [...found.values()];
}

function family(header: SliceHeader): string {
  const signs = signsOf(header.names, header.tokens);
  const other = signs.some((sign) => sign !== "long_axis" && clueOf(sign).points < LEAST_SCORE);
  return `${signs.includes(LATE_ENHANCEMENT)} ${other}`;
}

function sortedGroup(slices: readonly Placed[]): SliceGroup {
  const planes = slices.map((header) => header.plane);
  const usual = middlePlane(planes);
  const normal = normalOf(usual);
  const positions = alignedOrigins(planes, usual).map((origin) => dot(origin, normal));
  const order = argsort(positions);
  const counts = [1];
  for (let i = 1; i < order.length; i++) {
    if (positions[order[i]!]! - positions[order[i - 1]!]! < SAME_POSITION_MM) counts[counts.length - 1]!++;
    else counts.push(1);
  }
  return new SliceGroup(order.map((i) => slices[i]!), counts, usual);
}

/** Kind of several images at each slice position, judged by what differs among them. */
export function whatRepeats(group: SliceGroup): string {
  const first = group.slices.slice(0, group.imagesPerPosition[0]);
  const triggers = distinct(first.map((h) => h.triggerTimeMs));
  const low = Math.min(...group.imagesPerPosition), high = Math.max(...group.imagesPerPosition);
  const images = low === high ? `${low} images` : `${low} to ${high} images`;
  const n = group.positionCount;
  const where = n > 1 ? `at each of ${n} slice positions` : "at one slice position";
  if (distinct(first.map((h) => h.inversionTimeMs)).length > 1)
    return `this looks like T1 mapping or an inversion time scout (${images} with different inversion times ${where})`;
  if (distinct(first.map((h) => h.echoTimeMs)).length > 1)
    return `this looks like T2 mapping (${images} with different echo times ${where})`;
  const beats = triggers.length > 0 && triggers.at(-1)! - triggers[0]! > LONGEST_BEAT_MS;
  if (!beats && (triggers.length > 1 || Math.max(...first.map((h) => h.phaseCount)) >= CINE_PHASES))
    return `this looks like a cine series (${images} ${where})`;
  if (beats || new Set(first.map((h) => h.acquisition)).size > 1)
    return `this looks like perfusion or another series repeated in time (${images} ${where})`;
  return `this series has ${images} ${where}`;
}

const distinct = (values: readonly (number | null)[]): number[] =>
  [...new Set(values.flatMap((value) => (value === null ? [] : [rint(value * 10) / 10])))].sort((a, b) => a - b);
