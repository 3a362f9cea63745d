"""Colours, text and page furniture that the pictures share. Pillow only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from scarseg_infer.result import RESEARCH_USE, ScarResult

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

# Okabe and Ito's palette, safe for colour-blind readers.
ENDOCARDIUM: Final[Colour] = (213, 94, 0)
EPICARDIUM: Final[Colour] = (0, 158, 115)
SCAR: Final[Colour] = (240, 228, 66)
IMAGE_ONLY: Final[Colour] = (86, 180, 233)

PAPER: Final[Colour] = (255, 255, 255)
INK: Final[Colour] = (32, 32, 32)
FAINT: Final[Colour] = (110, 110, 110)
WARNING: Final[Colour] = (178, 24, 43)


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
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    draw.text(
        place, words, fill=colour, font=font, anchor=anchor,
        stroke_width=0 if halo is None else 1, stroke_fill=halo,
    )  # fmt: skip
    return float(draw.textlength(words, font=font))


def shrink(image: Image, factor: int) -> Image:
    """An image drawn ``factor`` times too large, reduced with anti-aliasing."""
    return image.reduce(factor)


def save_png(image: Image, path: Path) -> None:
    """Write ``path``. Half of Pillow's time for the last tenth of the size is not spent."""
    image.save(path, "PNG", compress_level=3)


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
    text(draw, (left, bottom - 18), words, 12, FAINT)
