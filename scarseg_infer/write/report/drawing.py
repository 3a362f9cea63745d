"""Colours, text and furniture that the pictures and the page share. Pillow only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scarseg_infer.write.words import RESEARCH_USE

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from scarseg_infer.result import ScarResult

Colour = tuple[int, int, int]

# Okabe and Ito's palette, safe for colour-blind readers.
ENDOCARDIUM: Final[Colour] = (213, 94, 0)
EPICARDIUM: Final[Colour] = (0, 158, 115)
SCAR: Final[Colour] = (240, 228, 66)
IMAGE_ONLY: Final[Colour] = (86, 180, 233)
ADDED: Final[Colour] = (222, 143, 187)
"""Scar that the ECG added; what it took away has the colour of IMAGE_ONLY. Okabe and Ito's
reddish purple, lighter, so that it stands out on black."""

PAPER: Final[Colour] = (255, 255, 255)
INK: Final[Colour] = (32, 32, 32)
FAINT: Final[Colour] = (110, 110, 110)
WARNING: Final[Colour] = (178, 24, 43)

SCALE: Final[tuple[Colour, ...]] = (
    (247, 247, 247), (253, 212, 158), (252, 141, 89), (215, 48, 31), (127, 0, 0),
)  # fmt: skip
"""Sequential scale from 0 to 100 % on paper, falling evenly in lightness (ColorBrewer's OrRd)."""
NIGHT_SCALE: Final[tuple[Colour, ...]] = (
    (43, 50, 57), (112, 44, 30), (190, 66, 30), (245, 146, 62), (255, 236, 179),
)  # fmt: skip
"""The same for dark screens: lightness rises, so that the eye still goes to the most scar."""
NO_DATA: Final[Colour] = (205, 205, 205)
NIGHT_NO_DATA: Final[Colour] = (74, 82, 90)


def colour_of(
    share: float | None, scale: Sequence[Colour] = SCALE, no_data: Colour = NO_DATA
) -> Colour:
    """Colour of a share 0–1; ``no_data`` where there is none."""
    if share is None or math.isnan(share):
        return no_data
    place = min(max(share, 0.0), 1.0) * (len(scale) - 1)
    low = min(int(place), len(scale) - 2)
    mixed = [
        round(a + (b - a) * (place - low)) for a, b in zip(scale[low], scale[low + 1], strict=True)
    ]
    return mixed[0], mixed[1], mixed[2]


def contrast(one: Colour, other: Colour) -> float:
    """Contrast ratio 1–21 of two colours (WCAG 2.2, definitions of contrast ratio and relative
    luminance)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink_on(fill: Colour) -> Colour:
    """Black or white, whichever reads better on ``fill``: never below WCAG AA (4.5)."""
    black, white = (0, 0, 0), (255, 255, 255)
    return max(black, white, key=lambda ink: contrast(ink, fill))


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def text(
    draw: ImageDraw,
    place: tuple[float, float],
    words: str,
    size: float,
    colour: Colour = INK,
    anchor: str = "la",
    halo: Colour | None = None,
) -> float:
    """Draw words, on an image with a dark or light halo, and return their width in pixels."""
    font = _font(size)
    draw.text(
        place, words, fill=colour, font=font, anchor=anchor,
        stroke_width=0 if halo is None else 1, stroke_fill=halo,
    )  # fmt: skip
    return float(draw.textlength(words, font=font))


@cache
def _font(size: float) -> Any:
    """Pillow's own font: unpacked once, which takes as long as drawing the words."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def shrink(image: Image, factor: int) -> Image:
    """An image drawn ``factor`` times too large, reduced with anti-aliasing."""
    return image.reduce(factor)


def save_png(image: Image, path: Path) -> None:
    """Write ``path``. Half of Pillow's time for the last tenth of the size is not spent."""
    image.save(path, "PNG", compress_level=3)


FOOTER_LETTERS = 125
"""About what fits under the narrowest picture."""


def headline(result: ScarResult) -> str:
    """Scar and ECG in one line."""
    whole, ecg = result.quantities, result.ecg
    if whole.scar_percent_of_lv_mass is None:
        return "No left ventricle found"
    share = f"{whole.scar_ml:.1f} mL, {whole.scar_percent_of_lv_mass:.1f} % of LV mass"
    if not ecg.given:
        return f"Scar {share}; image alone"
    gap = f", {ecg.gap_days:.1f} days apart" if ecg.weight > 0 and ecg.gap_days is not None else ""
    return f"Scar {share}; ECG weight {ecg.weight:.2f}{gap}"


def footer(draw: ImageDraw, result: ScarResult, left: float, bottom: float) -> None:
    """Two lines that end at ``bottom``: what the picture is for, and which model drew it."""
    model = result.model
    text(draw, (left, bottom - 34), RESEARCH_USE, 12, FAINT)
    words = f"Model {model.name} {model.version}. {model.training_data}"
    if len(words) > FOOTER_LETTERS:  # page and result.json have the whole statement
        words = words[: FOOTER_LETTERS - 1].rsplit(" ", 1)[0] + " …"
    text(draw, (left, bottom - 18), words, 12, FAINT)
