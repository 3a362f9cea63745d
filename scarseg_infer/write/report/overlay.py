"""Montage of the slices in standard display orientation with contours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.write.report.drawing import (
    ENDOCARDIUM,
    EPICARDIUM,
    FAINT,
    IMAGE_ONLY,
    INK,
    PAPER,
    SCAR,
    footer,
    headline,
    shrink,
    text,
)
from scarseg_runtime.contract import LEFT_VENTRICLE, Label

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from scarseg_infer.result import ScarResult

TILE: Final = 230
"""Side of a slice on the page, pixels."""
MARGIN_MM: Final = 18.0
"""Shown around the left ventricle."""
MIN_WIDTH: Final = 760
_FINE: Final = 2
"""Contours are drawn so many times too large and then reduced."""
_GAP, _TOP, _BOTTOM = 6, 66, 46
_REACH: Final = 3
"""Pixels of the slice around a mask that its smooth enlargement may reach (two), and one more."""


def overlay_image(result: ScarResult) -> Image:
    """The montage: base first, apex last; numbers are those of the stack's own order.

    Contours: epicardium, endocardium, scar (filled lightly), and what the image alone calls scar
    where an ECG had a say. No patient data.
    """
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    pixels = result.display.to_display(result.stack.pixels)
    labels = result.display.to_display(result.labels)
    image_only = result.display.to_display(result.image_only_labels) == Label.SCAR
    if result.ecg.weight == 0:  # the same contour twice
        image_only = np.zeros_like(image_only)
    spacing = result.display.display_spacing(result.stack.pixel_spacing_mm)
    window = heart_window(labels, spacing)
    frame = Frame.around(window, labels.shape[1:], spacing, result.display.turn_deg)
    low, high = grey_range(pixels[:, window[0], window[1]])
    count = len(pixels)
    columns = min(count, max(3, math.ceil(math.sqrt(count * 1.4))))
    lines = math.ceil(count / columns)
    width = max(MIN_WIDTH, columns * (TILE + _GAP) + _GAP)
    page = PillowImage.new("RGB", (width, _TOP + lines * (TILE + _GAP) + _BOTTOM), PAPER)
    draw = ImageDraw.Draw(page)
    _furniture(draw, result, page.width, page.height)
    left = (width - columns * (TILE + _GAP) + _GAP) // 2
    for index in range(count):
        tile = _tile(pixels[index], labels[index], image_only[index], (low, high), frame)
        row, column = divmod(index, columns)
        corner = (left + column * (TILE + _GAP), _TOP + row * (TILE + _GAP))
        page.paste(tile, corner)
        number = count - index if result.display.reverse_slices else index + 1
        ends = {0: " base", count - 1: " apex"} if count > 1 else {}
        text(
            draw,
            (corner[0] + 8, corner[1] + 6),
            f"{number}{ends.get(index, '')}",
            16,
            PAPER,
            halo=INK,
        )
    return page


def _furniture(draw: ImageDraw, result: ScarResult, width: int, height: int) -> None:
    """Headline, legend, footer."""
    text(draw, (_GAP + 4, 9), headline(result), 20)
    place = float(_GAP + 4)
    names = [(EPICARDIUM, "epicardium"), (ENDOCARDIUM, "endocardium"), (SCAR, "scar")]
    if result.ecg.weight > 0:
        names.append((IMAGE_ONLY, "scar by the image alone"))
    for colour, name in names:
        draw.rectangle((place, 44, place + 22, 53), fill=colour, outline=INK)
        place += 30 + text(draw, (place + 28, 41), name, 14, FAINT) + 16
    footer(draw, result, _GAP + 4, height - 6)


@dataclass(frozen=True)
class Frame:
    """Part of a slice that a square picture shows, how large, and turned by how much."""

    centre: tuple[float, float]
    """(row, column) in pixels from the upper left corner of the slice."""
    side_mm: float
    spacing_mm: tuple[float, float]
    turn_deg: float
    """Clockwise."""

    @classmethod
    def around(
        cls,
        window: tuple[slice, slice],
        shape: tuple[int, ...],
        spacing_mm: tuple[float, float],
        turn_deg: float,
    ) -> Frame:
        """The square about a window of rows and columns of a slice of ``shape``."""
        ends = [part.indices(count)[:2] for part, count in zip(window, shape, strict=True)]
        sides = [(high - low) * mm for (low, high), mm in zip(ends, spacing_mm, strict=True)]
        (top, bottom), (left, right) = ends
        return cls(((top + bottom) / 2, (left + right) / 2), max(sides), spacing_mm, turn_deg)

    def enlarged(
        self,
        values: NDArray[np.float32] | NDArray[np.bool_],
        side: int,
        part: tuple[slice, slice] | None = None,
    ) -> NDArray[np.float32]:
        """A slice in a square of ``side`` pixels, smooth and true to shape; 0 where it ends. Of
        ``part`` alone where only these rows and columns of the square are wanted."""
        from PIL import Image as PillowImage

        rows, columns = part or (slice(0, side), slice(0, side))
        across, down = self._steps(side)
        half = side / 2
        back = []
        for (along_row, along_column), middle in ((across, self.centre[1]), (down, self.centre[0])):
            start = along_row * (columns.start - half) + along_column * (rows.start - half)
            back += [along_row, along_column, middle + start]
        source = PillowImage.fromarray(np.ascontiguousarray(values, np.float32))
        turned = source.transform(
            (columns.stop - columns.start, rows.stop - rows.start),
            PillowImage.Transform.AFFINE, back, PillowImage.Resampling.BICUBIC,
        )  # fmt: skip
        return np.asarray(turned, np.float32)

    def part_of(self, mask: NDArray[np.bool_], side: int) -> tuple[slice, slice] | None:
        """Rows and columns of the square that ``mask`` lies in, with room around it; None where
        nothing of it is seen."""
        rows, columns = (np.nonzero(mask.any(axis=axis))[0] for axis in (1, 0))
        if rows.size == 0:
            return None
        inverse = np.linalg.inv(np.array(self._steps(side)))
        corners = np.array(
            [
                inverse @ (column - self.centre[1], row - self.centre[0])
                for row in (rows[0] - _REACH, rows[-1] + 1 + _REACH)
                for column in (columns[0] - _REACH, columns[-1] + 1 + _REACH)
            ]
        )
        low = np.clip(np.floor(corners.min(axis=0) + side / 2), 0, side).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0) + side / 2), 0, side).astype(int)
        if (low >= high).any():
            return None
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def _steps(self, side: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Columns, then rows, of the slice that one pixel to the right and one down in the square
        stand for."""
        scale, turn = self.side_mm / side, math.radians(self.turn_deg)
        cosine, sine = math.cos(turn) * scale, math.sin(turn) * scale
        row_mm, column_mm = self.spacing_mm
        return (cosine / column_mm, sine / column_mm), (-sine / row_mm, cosine / row_mm)


def _tile(
    pixels: NDArray[np.float32],
    labels: NDArray[np.uint8],
    image_only: NDArray[np.bool_],
    grey: tuple[float, float],
    frame: Frame,
) -> Image:
    """One slice, enlarged, with its contours."""
    from PIL import Image as PillowImage

    side = TILE * _FINE
    scaled = np.clip((pixels - grey[0]) / max(grey[1] - grey[0], 1e-6), 0, 1)
    # Only contours have edges to smooth: drawing the image finer too would take most of the time.
    shades = (frame.enlarged(scaled, TILE) * 255.0).repeat(_FINE, axis=0).repeat(_FINE, axis=1)
    canvas = np.repeat(_bytes(shades)[:, :, None], 3, axis=2)
    areas = [
        (_Area.of(mask, frame, side), colour)
        for mask, colour in (
            (np.isin(labels, LEFT_VENTRICLE), EPICARDIUM),
            (labels == Label.LV_CAVITY, ENDOCARDIUM),
            (image_only, IMAGE_ONLY),
            (labels == Label.SCAR, SCAR),
        )
    ]
    if scar := areas[-1][0]:
        filled = 0.72 * shades[scar.part][scar.inside][:, None] + 0.28 * np.array(SCAR, np.float64)
        canvas[scar.part][scar.inside] = _bytes(filled)
    for area, colour in areas:
        if area:
            canvas[area.part][area.edge()] = colour
    return shrink(PillowImage.fromarray(canvas), _FINE)


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    clipped: NDArray[Any] = np.clip(values, 0, 255)
    return clipped.astype(np.uint8)


@dataclass(frozen=True)
class _Area:
    """An area of a tile, known only in the part of it that holds some: most of a tile is none."""

    part: tuple[slice, slice]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], frame: Frame, side: int) -> _Area | None:
        """The area of a mask of a slice; None where nothing of it is seen."""
        part = frame.part_of(mask, side)
        return part and cls(part, frame.enlarged(mask, side, part) > 0.5)

    def edge(self) -> NDArray[np.bool_]:
        """The inner edge, three fine pixels wide; none where the tile cuts the area."""
        core = self.inside.copy()
        for _ in range(3):
            inner = core.copy()
            inner[1:] &= core[:-1]
            inner[:-1] &= core[1:]
            inner[:, 1:] &= core[:, :-1]
            inner[:, :-1] &= core[:, 1:]
            core = inner
        return self.inside & ~core


def heart_window(
    labels: NDArray[np.uint8], spacing_mm: tuple[float, float], margin_mm: float = MARGIN_MM
) -> tuple[slice, slice]:
    """Rows and columns to show: the ventricle with a margin, the same square for all slices;
    everything where there is no ventricle. May end beyond the image."""
    where = np.nonzero(np.isin(labels, LEFT_VENTRICLE).any(axis=0))
    if where[0].size == 0:
        return slice(None), slice(None)
    centre = [(index.min() + index.max()) / 2 for index in where]
    extent = [np.ptp(index) * spacing for index, spacing in zip(where, spacing_mm, strict=True)]
    half_mm = max(extent) / 2 + margin_mm
    low = [max(0, int(c - half_mm / s)) for c, s in zip(centre, spacing_mm, strict=True)]
    high = [int(c + half_mm / s) + 1 for c, s in zip(centre, spacing_mm, strict=True)]
    return slice(low[0], high[0]), slice(low[1], high[1])


def grey_range(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Robust display window over all slices."""
    low, high = np.percentile(pixels, (1.0, 99.0))
    return float(low), float(high)
