/** Items that SCMR asks for beside the amount of scar, and rules that readers compare it with:
 * scarseg_runtime/quantify/characteristics.py. */

import { fixed } from "../words";
import { CAVITY, SCAR, SEGMENT_COUNT, isWall, type Labels, type Pixels } from "../contract";
import { percentile, turnOf } from "../numbers";
import { cut, heartBox } from "../window";
import { SEGMENT_NAMES } from "./atlas";
import { withDarkCores, type Mask } from "./components";
import { MYOCARDIUM_G_PER_ML, voxelMl } from "./quantities";
import { count, inside, regionStatistics, remoteRegion } from "./remote";
import { above, fwhmLevel } from "./thresholds";
import { wallDepth } from "./wall_depth";

const LAYERS = 3;
const INVOLVED = 0.5;
const TRANSMURAL = 0.75;
const MIN_SHARE = 0.01;
const SD_RULES = [2, 3, 5, 6] as const;
const FWHM_GREY = 0.35;
const FWHM_LEAST_SD = 3;
const FWHM_SMALL_SHARE = 0.05;
const FWHM_MOST = 3;
const DARK_CORE_SD = 5;
const MUCH_DARK = 0.2;
const SECTORS = 60;
const NAMES = ["subendocardial", "mid-wall", "epicardial"] as const;

export type Distribution = (typeof NAMES)[number] | "transmural";
export interface Amount { ml: number; g: number; percent_of_lv_mass: number }
export interface Zones { core: Amount; grey_zone: Amount }

/** Keys as in the result document. */
export interface Characteristics {
  location: string[];
  distribution: Distribution | null;
  segment_distribution: (Distribution | null)[];
  microvascular_obstruction_ml: number | null;
  fwhm: Zones | null;
  sd: Zones | null;
  n_sd: Record<string, Amount> | null;
  schmidt: Zones | null;
}

export function characterise(
  allPixels: Pixels, allLabels: Labels, allSegments: Labels, spacing: readonly [number, number],
  heights: readonly number[],
): Characteristics {
  const box = heartBox(allLabels);
  const pixels = cut(allPixels, box), labels = cut(allLabels, box), segments = cut(allSegments, box);
  const wall = new Float64Array(SEGMENT_COUNT + 1), scarred = wall.slice();
  labels.data.forEach((label, i) => {
    if (!isWall(label)) return;
    wall[segments.data[i]!]!++;
    if (label === SCAR) scarred[segments.data[i]!]!++;
  });
  if (!wall.some(Boolean))
    return {
      location: [], distribution: null, segment_distribution: new Array(SEGMENT_COUNT).fill(null),
      microvascular_obstruction_ml: null, fwhm: null, sd: null, n_sd: null, schmidt: null,
    };
  const numbers = SEGMENT_NAMES.map((_, k) => k + 1);
  const burden = (number: number): number => scarred[number]! / Math.max(wall[number]!, 1);
  const order = numbers.filter((number) => burden(number) > 0).sort((a, b) => burden(b) - burden(a));
  const layers = new Layers(labels, wallDepth(labels, spacing), spacing);
  const each = numbers.map((number) =>
    burden(number) >= MIN_SHARE ? layers.distribution((i) => segments.data[i] === number) : null);
  const rules = new Rules(pixels, labels, voxelMl(heights, spacing));
  return {
    location: order.map((number) => SEGMENT_NAMES[number - 1]!),
    distribution: commonest(each, scarred) ?? layers.distribution(() => true),
    segment_distribution: each,
    microvascular_obstruction_ml: rules.obstructionMl(),
    fwhm: rules.fwhm(),
    sd: rules.sd(),
    n_sd: rules.nSd(),
    schmidt: rules.schmidt(),
  };
}

/** Sentences on what cannot be given of a stack with a ventricle, and why. */
export function thresholdDoubts(pixels: Pixels, labels: Labels, volume: readonly number[]): string[] {
  if (!labels.data.some(isWall)) return [];
  const box = heartBox(labels);
  const rules = new Rules(cut(pixels, box), cut(labels, box), volume);
  if (rules.remote === null)
    return ["No remote (healthy) wall was found: scar and grey zone by signal thresholds and " +
      "microvascular obstruction cannot be given."];
  if (!labels.data.includes(SCAR)) return [];
  const missing = [
    ...(rules.hasCore() ? [] : ["scar by FWHM"]),
    ...(rules.hasDarkCore() ? [] : ["microvascular obstruction"]),
  ];
  const share = rules.darkBeside();
  const dark = share < MUCH_DARK ? [] : [`${fixed(100 * share, 0)} % of the scar is no brighter than healthy wall and no core ` +
    "enclosed by scar: microvascular obstruction may be larger than given, or the scar smaller."];
  if (!missing.length) return dark;
  return ["The scar is too small or too faint for its maximum, or a dark core in it, to mean " +
    `anything: ${missing.join(" and ")} cannot be given.`, ...dark];
}

/** The distribution that holds most of the scarred voxels of the segments. */
function commonest(each: readonly (Distribution | null)[], scarred: Float64Array): Distribution | null {
  const held = new Map<Distribution, number>();
  each.forEach((name, k) => { if (name) held.set(name, (held.get(name) ?? 0) + scarred[k + 1]!); });
  let best: Distribution | null = null;
  for (const [name, voxels] of held) if (best === null || voxels > held.get(best)!) best = name;
  return best;
}

/** Findings of the signal thresholds for one labelled stack; null where they cannot. */
class Rules {
  readonly remote: [number, number] | null;
  private readonly wall: Mask;
  private readonly scar: Mask;
  private readonly healthy: Mask;
  private readonly wholeMl: number;
  private readonly levels = new Map<number, Mask>();
  private half: Mask | null = null;

  constructor(private readonly pixels: Pixels, private readonly labels: Labels, private readonly volume: readonly number[]) {
    this.wall = labels.data.map((label) => Number(isWall(label)));
    this.scar = labels.data.map((label) => Number(label === SCAR));
    this.healthy = remoteRegion(pixels, this.wall, this.scar);
    this.remote = regionStatistics(pixels, this.wall, this.healthy);
    this.wholeMl = this.ml(this.wall);
  }

  nSd(): Record<string, Amount> | null {
    if (!this.remote) return null;
    return Object.fromEntries(SD_RULES.map((n) => [String(n), this.amount(this.aboveSd(n))]));
  }

  sd(): Zones | null {
    return this.remote && this.zones(this.aboveSd(3), this.aboveSd(2));
  }

  fwhm(): Zones | null {
    if (!this.hasCore()) return null;
    const lower = this.shareOfMaximum(FWHM_GREY), over = this.aboveSd(2);
    return this.zones(this.core, lower.map((value, i) => value & over[i]!));
  }

  schmidt(): Zones | null {
    return this.hasCore() ? this.zones(this.core, this.aboveSd(3)) : null;
  }

  obstructionMl(): number | null {
    return this.remote && this.hasDarkCore() ? this.ml(this.darkCore().core) : null;
  }

  /** Share of the scar that is dark without being a dark core; 0 where that means nothing. */
  darkBeside(): number {
    if (!this.remote || !this.hasDarkCore()) return 0;
    const { dark, core } = this.darkCore();
    return count(this.scar.map((value, i) => Number(value && dark[i] && !core[i]))) / count(this.scar);
  }

  private darkCore(): { dark: Mask; core: Mask } {
    const level = this.remote![0] + SD_RULES[0] * this.remote![1];
    const dark = this.scar.map((_, i) => Number(this.pixels.data[i]! <= level));
    const cavity = this.labels.data.map((label) => Number(label === CAVITY));
    const bright = this.scar.map((value, i) => Number((value && !dark[i]) || cavity[i]));
    const area = this.scar.map((value, i) => value | cavity[i]!);
    const found = withDarkCores(bright, area, this.labels.shape);
    return { dark, core: found.map((value, i) => value & this.scar[i]! & dark[i]!) };
  }

  hasDarkCore(): boolean {
    if (!this.remote || !this.scar.includes(1)) return false;
    return percentile(inside(this.pixels.data, this.scar), 75) >= this.remote[0] + DARK_CORE_SD * this.remote[1];
  }

  hasCore(): boolean {
    if (!this.remote || !this.scar.includes(1)) return false;
    const [mean, sd] = this.remote;
    const level = fwhmLevel(this.pixels, this.wall, 0.5, mean, this.scar);
    if (level < mean + FWHM_LEAST_SD * sd || level <= mean) return false;
    const scar = this.amount(this.scar);
    if (scar.percent_of_lv_mass >= 100 * FWHM_SMALL_SHARE) return true;
    return this.ml(this.core) <= FWHM_MOST * scar.ml;
  }

  private get core(): Mask {
    return (this.half ??= this.shareOfMaximum(0.5));
  }

  private shareOfMaximum(share: number): Mask {
    const level = fwhmLevel(this.pixels, this.wall, share, this.remote![0], this.scar);
    return above(this.pixels, this.wall, level, this.healthy);
  }

  private aboveSd(n: number): Mask {
    let found = this.levels.get(n);
    if (!found) {
      const [mean, sd] = this.remote!;
      this.levels.set(n, (found = above(this.pixels, this.wall, mean + n * sd, this.healthy)));
    }
    return found;
  }

  private ml(mask: Mask): number {
    const plane = this.labels.shape[1] * this.labels.shape[2];
    return this.volume.reduce((total, ml, slice) =>
      total + ml * count(mask.subarray(slice * plane, (slice + 1) * plane)), 0);
  }

  private amount(mask: Mask): Amount {
    const ml = this.ml(mask);
    return { ml, g: ml * MYOCARDIUM_G_PER_ML, percent_of_lv_mass: (100 * ml) / this.wholeMl };
  }

  private zones(core: Mask, lower: Mask): Zones {
    return { core: this.amount(core), grey_zone: this.amount(lower.map((value, i) => Number(value && !core[i]))) };
  }
}

/** Thirds of the wall that the scar takes, direction by direction. */
class Layers {
  private readonly where: number[] = [];
  private readonly layer: number[] = [];
  private readonly direction: number[] = [];
  private readonly slices: number;
  private readonly empty: Uint8Array;

  constructor(private readonly labels: Labels, depth: Float64Array, spacing: readonly [number, number]) {
    const [slices, rows, columns] = labels.shape;
    this.slices = slices;
    depth.forEach((value, i) => { if (Number.isFinite(value)) this.where.push(i); });
    const n = new Float64Array(slices), row = n.slice(), column = n.slice();
    const place = (i: number): [number, number, number] => {
      const slice = Math.floor(i / (rows * columns));
      return [slice, Math.floor(i / columns) % rows, i % columns];
    };
    for (const i of this.where) {
      const [slice, y, x] = place(i);
      n[slice]!++;
      row[slice]! += y;
      column[slice]! += x;
    }
    for (const i of this.where) {
      const [slice, y, x] = place(i);
      const turn = turnOf((y - row[slice]! / n[slice]!) * spacing[0], (x - column[slice]! / n[slice]!) * spacing[1]);
      this.direction.push(slice * SECTORS + Math.min(Math.trunc(turn * SECTORS), SECTORS - 1));
      this.layer.push(Math.trunc(Math.min(depth[i]! * LAYERS, LAYERS - 1)));
    }
    this.empty = this.hitBy(this.where.map(() => true)).map((value) => 1 - value);
  }

  /** Of the scar within an area; null where there is none. */
  distribution(area: (at: number) => boolean): Distribution | null {
    const within = this.where.map(area);
    const scar = this.where.map((i, k) => within[k]! && this.labels.data[i] === SCAR);
    const hit = this.hit(scar);
    const whole = [0, 0, 0], part = [0, 0, 0];
    this.where.forEach((_, k) => {
      if (!within[k] || !hit[this.direction[k]!]) return;
      whole[this.layer[k]!]!++;
      if (scar[k]) part[this.layer[k]!]!++;
    });
    const share = part.map((n, k) => n / Math.max(whole[k]!, 1)) as [number, number, number];
    if (!share.some(Boolean)) return null;
    const [inner, middle, outer] = share.map((value) => value >= INVOLVED);
    const there = whole.filter(Boolean).length; // a wall of one or two pixels has not all layers
    const mean = (share[0] + share[1] + share[2]) / there;
    if ((middle || !whole[1]) && mean >= TRANSMURAL) return "transmural";
    if (inner || outer) return inner && share[0] >= share[2] ? "subendocardial" : "epicardial";
    if (middle) return "mid-wall";
    return NAMES[share.indexOf(Math.max(...share))]!;
  }

  /** Directions with scar in them and in both neighbours, or none of the wall there; all with scar
   * where it is narrower. */
  private hit(scar: readonly boolean[]): Uint8Array {
    const hit = this.hitBy(scar);
    const beside = hit.map((value, k) => (value || this.empty[k] ? 1 : 0));
    const within = hit.map((value, k) => {
      const first = k - (k % SECTORS), sector = k % SECTORS;
      return value && beside[first + ((sector + 1) % SECTORS)]! && beside[first + ((sector + SECTORS - 1) % SECTORS)]!;
    });
    return within.includes(1) ? within : hit;
  }

  private hitBy(voxels: readonly boolean[]): Uint8Array {
    const hit = new Uint8Array(this.slices * SECTORS);
    voxels.forEach((value, k) => { if (value) hit[this.direction[k]!] = 1; });
    return hit;
  }
}
