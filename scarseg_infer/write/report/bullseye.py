"""AHA-17 polar map: anterior on top, septum on the left, numbered anticlockwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from scarseg_infer.write.report.drawing import (
    FAINT,
    INK,
    NO_DATA,
    PAPER,
    WARNING,
    Colour,
    colour_of,
    footer,
    headline,
    ink_on,
    shrink,
    text,
)
from scarseg_runtime.contract import SEGMENT_COUNT

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from scarseg_infer.result import ScarResult

_FINE: Final = 3
"""Drawn so many times too large and then reduced."""
_WIDTH, _HEIGHT = 860, 620

UNKNOWN_WALLS: Final = "How the heart lies is not known: walls are assumed"


def segment_wedge(number: int) -> tuple[float, float, float, float]:
    """Inner and outer radius (0–1) and start and end angle of a segment in the map.

    Angles in degrees anticlockwise from the right, as in the standard short-axis display.
    """
    if number <= 12:
        ring, start = (0.75, 1.0) if number <= 6 else (0.5, 0.75), 60.0 + 60.0 * ((number - 1) % 6)
        return *ring, start, start + 60.0
    if number <= 16:
        start = 45.0 + 90.0 * (number - 13)
        return 0.25, 0.5, start, start + 90.0
    return 0.0, 0.25, 0.0, 360.0


def bullseye_image(result: ScarResult) -> Image:
    """Scar burden of each segment, and beside it what the ECG alone believes. No patient data."""
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    page = PillowImage.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), PAPER)
    draw = ImageDraw.Draw(page)
    burdens = [segment.burden for segment in result.quantities.segments]
    _polar_map(draw, (285, 318), 210, burdens, numbered=True)
    for place, words, anchor in (
        ((285, 92), "anterior", "ms"), ((285, 548), "inferior", "ma"),
    ):  # fmt: skip
        _words(draw, place, words, 15, FAINT, anchor)
    _words(draw, (62, 318), "septal", 15, FAINT, "rm")
    _words(draw, (505, 318), "lateral", 15, FAINT, "lm")
    belief = result.ecg.segment_belief
    _words(draw, (715, 106), "What the ECG alone believes", 15, INK, "ms")
    if belief is None:
        _words(draw, (715, 215), "no ECG", 15, FAINT, "mm")
    else:
        _polar_map(draw, (715, 215), 92, [float(value) for value in belief], numbered=False)
        _words(draw, (715, 330), f"weight in this result: {result.ecg.weight:.2f}", 14, FAINT, "ms")
    _scale(draw, (625, 420))
    _words(draw, (20, 14), headline(result), 20, INK, "la")
    _words(draw, (20, 42), "Scar burden of each AHA segment, % of its volume", 14, FAINT, "la")
    if not result.stack.orientation_known:
        _words(draw, (350, 42), UNKNOWN_WALLS, 14, WARNING, "la")
    page = shrink(page, _FINE)
    footer(ImageDraw.Draw(page), result, 20, _HEIGHT - 6)
    return page


def _polar_map(
    draw: ImageDraw,
    centre: tuple[float, float],
    radius: float,
    shares: Sequence[float | None],
    *,
    numbered: bool,
) -> None:
    # Outer rings first: each inner ring is painted over them.
    for number in range(1, SEGMENT_COUNT + 1):
        inner, outer, start, end = segment_wedge(number)
        box = [(c + side * outer * radius) * _FINE for side in (-1, 1) for c in centre]
        # Pillow's angles run clockwise.
        draw.pieslice(box, -end, -start, fill=colour_of(shares[number - 1]), outline=INK, width=3)
    for number in range(1, SEGMENT_COUNT + 1):
        inner, outer, start, end = segment_wedge(number)
        middle = math.radians((start + end) / 2)
        reach = (inner + outer) / 2 * radius if number < SEGMENT_COUNT else 0.0
        place = (centre[0] + reach * math.cos(middle), centre[1] - reach * math.sin(middle))
        if numbered:
            _segment_words(draw, place, number, shares[number - 1])


def _segment_words(
    draw: ImageDraw, place: tuple[float, float], number: int, share: float | None
) -> None:
    ink = ink_on(colour_of(share))
    percent = "no data" if share is None else f"{100 * share:.0f} %"
    _words(draw, (place[0], place[1] - 10), str(number), 12, ink, "mm")
    _words(draw, (place[0], place[1] + 7), percent, 12 if share is None else 16, ink, "mm")


def _scale(draw: ImageDraw, corner: tuple[float, float]) -> None:
    """Colour bar from 0 to 100 %, and the colour of missing data."""
    x, y, width, height = corner[0], corner[1], 180.0, 16.0
    for step in range(int(width)):
        box = ((x + step) * _FINE, y * _FINE, (x + step + 1) * _FINE, (y + height) * _FINE)
        draw.rectangle(box, fill=colour_of(step / width))
    outline = (x * _FINE, y * _FINE, (x + width) * _FINE, (y + height) * _FINE)
    draw.rectangle(outline, outline=INK, width=_FINE)
    for share in (0.0, 0.5, 1.0):
        _words(draw, (x + share * width, y + 22), f"{100 * share:.0f} %", 13, FAINT, "ma")
    box = (x * _FINE, (y + 58) * _FINE, (x + 22) * _FINE, (y + 72) * _FINE)
    draw.rectangle(box, fill=NO_DATA, outline=INK, width=_FINE)
    _words(draw, (x + 30, y + 65), "segment not imaged", 13, FAINT, "lm")


def _words(
    draw: ImageDraw,
    place: tuple[float, float],
    words: str,
    size: float,
    colour: Colour,
    anchor: str,
) -> None:
    """Text in page coordinates."""
    fine = (place[0] * _FINE, place[1] * _FINE)
    text(draw, fine, words, size * _FINE, colour, anchor)
