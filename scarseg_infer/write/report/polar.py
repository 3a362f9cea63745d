"""AHA-17 bull's-eye as SVG, in the places and colours of ``bullseye.png``.

Fills and inks of both measures, for light and dark screens, travel as CSS variables of each
segment, so that a switch of measure or of the colour scheme needs no redrawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from scarseg_infer.write.report.bullseye import segment_wedge
from scarseg_infer.write.report.drawing import (
    NIGHT_NO_DATA,
    NIGHT_SCALE,
    NO_DATA,
    SCALE,
    Colour,
    colour_of,
    ink_on,
)

MEASURES: Final = ("burden", "transmurality", "belief")
"""Measures that the map can show; the last is what the ECG alone believes."""
_RADIUS: Final = 140.0
_THEMES: Final = {"day": (SCALE, NO_DATA), "night": (NIGHT_SCALE, NIGHT_NO_DATA)}


def polar_svg(segments: list[dict[str, Any]], belief: Sequence[float] | None = None) -> str:
    """The map of the ``segments`` of a result document; every segment is a button.

    ``belief`` is the scar belief of the ECG alone, 0–1 by segment.
    """
    wedges = "\n".join(
        _wedge(segment | {"belief": None if belief is None else belief[segment["number"] - 1]})
        for segment in segments
    )
    return f"""<svg id="polar" viewBox="-172 -166 344 332" role="group"
 aria-label="AHA 17-segment map; anterior on top, septum on the left">
<g class="walls" aria-hidden="true"><text y="-148">anterior</text><text y="158">inferior</text>
<text transform="translate(-151 0) rotate(-90)">septal</text>
<text transform="translate(158 0) rotate(-90)">lateral</text></g>
{wedges}
<path id="chosen-wedge" aria-hidden="true"/>
</svg>"""


def scale_html() -> str:
    """Legend: the colour bar from 0 to 100 % and the colour of missing data."""
    bars = "".join(
        f'<span class="bar {theme}" style="background:linear-gradient(90deg,'
        f'{",".join(css(colour) for colour in scale)})"></span>'
        for theme, (scale, _) in _THEMES.items()
    )
    return (
        f'<div class="scale"><span>0 %</span>{bars}<span>100 %</span>'
        '<span class="swatch no-data"></span><span>not imaged</span></div>'
    )


def css(colour: Colour) -> str:
    """A colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def percent(share: float | None) -> str:
    """A share 0–1 in whole percent; no scar at all is the only thing that reads 0 %."""
    if share is None:
        return "no data"
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def segment_words(segment: dict[str, Any]) -> str:
    """One segment in a sentence, for screen readers and the panel beside the map."""
    name = f"Segment {segment['number']}, {segment['name']}, {segment['territory']}"
    if segment["burden"] is None:
        return f"{name}: not imaged"
    return (
        f"{name}: burden {percent(segment['burden'])}, transmurality "
        f"{percent(segment['transmurality'])}, scar {segment['scar_ml']:.1f} of "
        f"{segment['myocardium_ml']:.1f} mL"
    )


def _wedge(segment: dict[str, Any]) -> str:
    number = segment["number"]
    inner, outer, start, end = segment_wedge(number)
    middle = math.radians((start + end) / 2)
    reach = (inner + outer) / 2 * _RADIUS if inner else 0.0
    x, y = reach * math.cos(middle), -reach * math.sin(middle)
    style = ";".join(_variables(measure, segment[measure]) for measure in MEASURES)
    values = "".join(
        f'<text class="value {measure}" x="{x:.1f}" y="{y + 9:.1f}">'
        f"{escape(percent(segment[measure]))}</text>"
        for measure in MEASURES
    )
    return (
        f'<g class="wedge" role="button" tabindex="0" aria-pressed="false" data-segment="{number}"'
        f' aria-label="{escape(segment_words(segment))}" style="{style}">'
        f'<path d="{_outline(number)}"/>'
        f'<text class="number" x="{x:.1f}" y="{y - 5:.1f}">{number}</text>{values}</g>'
    )


def _variables(measure: str, share: float | None) -> str:
    """CSS variables: fill and ink of one measure on light and dark screens."""
    words = []
    for theme, (scale, no_data) in _THEMES.items():
        fill = colour_of(share, scale, no_data)
        words.append(f"--{theme}-{measure}:{css(fill)};--{theme}-{measure}-ink:{css(ink_on(fill))}")
    return ";".join(words)


def _outline(number: int) -> str:
    """SVG path of a segment; y grows downwards."""
    inner, outer, start, end = segment_wedge(number)
    if inner == 0.0:
        r = outer * _RADIUS
        return f"M{r:g} 0A{r:g} {r:g} 0 1 0 {-r:g} 0A{r:g} {r:g} 0 1 0 {r:g} 0Z"
    points = [
        (
            radius * _RADIUS * math.cos(math.radians(a)),
            -radius * _RADIUS * math.sin(math.radians(a)),
        )
        for radius, a in ((outer, start), (outer, end), (inner, end), (inner, start))
    ]
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
    out, into = outer * _RADIUS, inner * _RADIUS
    return (
        f"M{ax:.2f} {ay:.2f}A{out:g} {out:g} 0 0 0 {bx:.2f} {by:.2f}"
        f"L{cx:.2f} {cy:.2f}A{into:g} {into:g} 0 0 1 {dx:.2f} {dy:.2f}Z"
    )
