/** AHA-17 bull's-eye as SVG: scarseg_infer/write/report/polar.py and bullseye.py. */

import type { SegmentQuantities } from "../quantify/quantities";
import { escapeHtml, fixed, general } from "../words";
import { NIGHT_NO_DATA, NIGHT_SCALE, NO_DATA, SCALE, colourOf, css, inkOn } from "./colours";

const RADIUS = 140;
const THEMES = [["day", SCALE, NO_DATA], ["night", NIGHT_SCALE, NIGHT_NO_DATA]] as const;
export const UNKNOWN_WALLS = "How the heart lies is not known: walls are assumed";

/** Inner and outer radius (0–1) and start and end angle of a segment in the map. */
function wedgeOf(number: number): [number, number, number, number] {
  if (number <= 12) {
    const start = 60 + 60 * ((number - 1) % 6);
    return number <= 6 ? [0.75, 1, start, start + 60] : [0.5, 0.75, start, start + 60];
  }
  if (number <= 16) return [0.25, 0.5, 45 + 90 * (number - 13), 135 + 90 * (number - 13)];
  return [0, 0.25, 0, 360];
}

export function polarSvg(segments: readonly SegmentQuantities[], belief: readonly number[] | null): string {
  const wedges = segments.map((segment) => wedge(segment, belief ? belief[segment.number - 1]! : null)).join("\n");
  return `<svg id="polar" viewBox="-172 -166 344 332" role="group"
 aria-label="AHA 17-segment map; anterior on top, septum on the left">
<g class="walls" aria-hidden="true"><text y="-148">anterior</text><text y="158">inferior</text>
<text transform="translate(-151 0) rotate(-90)">septal</text>
<text transform="translate(158 0) rotate(-90)">lateral</text></g>
${wedges}
<path id="chosen-wedge" aria-hidden="true"/>
</svg>`;
}

export function scaleHtml(): string {
  const bars = THEMES.map(([theme, scale]) =>
    `<span class="bar ${theme}" style="background:linear-gradient(90deg,${scale.map(css).join(",")})"></span>`).join("");
  return `<div class="scale"><span>0 %</span>${bars}<span>100 %</span>` +
    '<span class="swatch no-data"></span><span>not imaged</span></div>';
}

const percent = (share: number | null): string =>
  share === null ? "no data" : share > 0 && share < 0.005 ? "<1 %" : `${fixed(100 * share, 0)} %`;

function segmentWords(segment: SegmentQuantities): string {
  const name = `Segment ${segment.number}, ${segment.name}, ${segment.territory}`;
  if (segment.burden === null) return `${name}: not imaged`;
  return `${name}: burden ${percent(segment.burden)}, transmurality ${percent(segment.transmurality)}, scar ` +
    `${fixed(segment.scar_ml, 1)} of ${fixed(segment.myocardium_ml, 1)} mL`;
}

function wedge(segment: SegmentQuantities, belief: number | null): string {
  const { number } = segment;
  const [inner, outer, start, end] = wedgeOf(number);
  const middle = ((start + end) / 2) * (Math.PI / 180);
  const reach = inner ? ((inner + outer) / 2) * RADIUS : 0;
  const x = fixed(reach * Math.cos(middle), 1), y = -reach * Math.sin(middle);
  const measures: [string, number | null][] = [
    ["burden", segment.burden], ["transmurality", segment.transmurality], ["belief", belief],
  ];
  const style = measures.flatMap(([measure, share]) => THEMES.map(([theme, scale, noData]) => {
    const fill = colourOf(share, scale, noData);
    return `--${theme}-${measure}:${css(fill)};--${theme}-${measure}-ink:${css(inkOn(fill))}`;
  })).join(";");
  const values = measures.map(([measure, share]) =>
    `<text class="value ${measure}" x="${x}" y="${fixed(y + 9, 1)}">${escapeHtml(percent(share))}</text>`).join("");
  return `<g class="wedge" role="button" tabindex="0" aria-pressed="false" data-segment="${number}"` +
    ` aria-label="${escapeHtml(segmentWords(segment))}" style="${style}">` +
    `<path d="${outline(number)}"/>` +
    `<text class="number" x="${x}" y="${fixed(y - 5, 1)}">${number}</text>${values}</g>`;
}

function outline(number: number): string {
  const [inner, outer, start, end] = wedgeOf(number);
  if (inner === 0) {
    const r = general(outer * RADIUS);
    return `M${r} 0A${r} ${r} 0 1 0 -${r} 0A${r} ${r} 0 1 0 ${r} 0Z`;
  }
  const at = (radius: number, angle: number): string => {
    const turn = angle * (Math.PI / 180);
    return `${fixed(radius * RADIUS * Math.cos(turn), 2)} ${fixed(-radius * RADIUS * Math.sin(turn), 2)}`;
  };
  const out = general(outer * RADIUS), into = general(inner * RADIUS);
  return `M${at(outer, start)}A${out} ${out} 0 0 0 ${at(outer, end)}` +
    `L${at(inner, end)}A${into} ${into} 0 0 1 ${at(inner, start)}Z`;
}
