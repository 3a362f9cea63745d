"""AHA-17 inside the graph: LV centre, RV direction and long-axis level from predicted anatomy.

The same definitions as :mod:`scarseg_runtime.atlas`, in operators that every provider has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scarseg_runtime.atlas import RING_ENDS

PRESENT_MM2 = 120.0
"""A slice shows the LV if its predicted cavity + myocardium exceed this area."""
CAVITY_SHARE = 0.08
"""A slice has a cavity if at least this share of its LV area is cavity."""


RINGS = ((1, 60.0, 6), (7, 60.0, 6), (13, 90.0, 4), (17, 0.0, 1))
"""Rings from base to apex: lowest segment number, degrees of a sector, and number of sectors. The
septal sectors of each lie evenly about the direction of the RV."""


def _borders() -> tuple[list[list[list[list[float]]]], list[list[float]]]:
    """Borders between the sectors of each ring [4, 3, 2, 2], and its first and last number [4, 2].

    A border through the centre leaves a point at (x, y) on its anticlockwise side where
    A·x + B·y > 0, and (A, B) is a matrix times the direction of the RV (columns, rows). Six sectors
    have three such borders, four have two and one has none; what is missing has no such side.
    """
    borders, numbers = [], []
    for first, sector_deg, count in RINGS:
        # Of six sectors two lie before the septal ones, between which the RV's direction lies; of
        # four one before the septal one, in whose middle it lies.
        before = {6: 2.0, 4: 1.5, 1: 0.0}[count] * sector_deg
        ring = []
        for k in range(3):
            turn = math.radians(k * sector_deg - before)
            sine, cosine = (math.sin(turn), math.cos(turn)) if k < count // 2 else (0.0, 0.0)
            ring.append([[-sine, cosine], [-cosine, -sine]])
        borders.append(ring)
        numbers.append([float(first), float(first + count - 1)])
    return borders, numbers


BORDERS, NUMBERS = _borders()


@dataclass(frozen=True)
class HeartFrame:
    """The LV as located in one stack, in the axes of its crops."""

    centre_mm: Tensor
    """[S, 2] LV centre relative to the crop centre, (column, row)."""
    towards: Tensor
    """[2] unit vector from the LV to the RV, (column, row)."""
    long_axis: Tensor
    """[S] position along the LV, 0 base … 1 apex."""


@dataclass(frozen=True)
class Sectors:
    """Where the segments of each slice border each other.

    Half-planes instead of angles: no arc tangent, which some providers lack, and per pixel nothing
    but comparisons of what is known by row with what is known by column.
    """

    borders: Tensor
    """[S, 3, 2] a pixel lies beyond a border where its (column, row) · border > ``offsets``."""
    offsets: Tensor
    """[S, 3]"""
    numbers: Tensor
    """[S, 2] first and last segment."""

    def turned(self, turn: Tensor, centres_mm: Tensor) -> Sectors:
        """The same in the axes of the image, in which the crops lie about ``centres_mm`` [S, 2]."""
        back = torch.stack([torch.stack([turn[0], turn[1]]), torch.stack([-turn[1], turn[0]])])
        borders = self.borders @ back
        offsets = self.offsets + (borders @ centres_mm[:, :, None])[:, :, 0]
        return Sectors(borders, offsets, self.numbers)


def locate(anatomy: Tensor, axis_mm: Tensor, slice_level: Tensor) -> HeartFrame:
    """Heart frame from anatomy probabilities [S, 4, h, w] (background, cavity, wall, RV).

    Args:
        axis_mm: [h] pixel positions of the square crop about its centre (h = w).
        slice_level: [S] 0 … 1 from the most basal to the most apical slice of the stack.
    """
    ventricle = (anatomy[:, 1] + anatomy[:, 2]) ** 2
    found = moments(ventricle, axis_mm)
    # Slices with little LV lean on the stack's mean axis, so that an empty one stays sane.
    total = found.sum(0)
    whole = total[:2] / (total[2] + 1.0)
    centre = (found[:, :2] + 20.0 * whole) / (found[:, 2:] + 20.0)
    dx = axis_mm[None, None, :] - centre[:, None, None, 0]
    dy = axis_mm[None, :, None] - centre[:, None, None, 1]
    right = anatomy[:, 3] ** 2 / torch.sqrt(dx * dx + dy * dy + 1.0)
    x, y = (right * dx).sum(), (right * dy).sum()
    # With no RV in sight, assume it where the standard display has it: on the left.
    towards = torch.stack([x - 1e-3, y])
    towards = towards / torch.sqrt((towards * towards).sum() + 1e-12)
    return HeartFrame(centre, towards, _long_axis(anatomy, axis_mm, slice_level))


def moments(weights: Tensor, axis_mm: Tensor) -> Tensor:
    """[S, 3] moment along columns, along rows, and sum of weights [S, n, n] on a square grid: two
    products with [1, position] in place of sums over every pixel."""
    basis = torch.stack([torch.ones_like(axis_mm), axis_mm], 1)
    found = (basis.T @ weights @ basis).flatten(1)
    return found.index_select(1, torch.tensor([1, 2, 0], device=axis_mm.device))


def sectors_of(frame: HeartFrame) -> Sectors:
    """Where the segments border each other, in the axes of the crops."""
    towards = frame.towards
    ends, borders, numbers = (
        torch.tensor(table, dtype=towards.dtype, device=towards.device)
        for table in (RING_ENDS, BORDERS, NUMBERS)
    )
    ring = (frame.long_axis[:, None] >= ends).sum(1)
    found = (borders @ towards)[ring]
    offsets = (found @ frame.centre_mm[:, :, None])[:, :, 0]
    return Sectors(found, offsets, numbers[ring])


def segment_map(columns: Tensor, rows: Tensor, sectors: Sectors) -> Tensor:
    """AHA segments 1–17 (float) [S, h, w] of pixels at columns [w] and rows [h]."""
    across = sectors.borders[:, :, 0, None] * columns
    down = sectors.offsets[:, :, None] - sectors.borders[:, :, 1, None] * rows
    beyond = across[:, :, None, :] > down[:, :, :, None]
    # Anticlockwise from the first border: beyond it the others are passed one by one, on the other
    # side they are left one by one.
    passed = beyond[:, 1:].to(columns.dtype).sum(1)
    first, last = sectors.numbers[:, 0, None, None], sectors.numbers[:, 1, None, None]
    return torch.where(beyond[:, 0], first + passed, last - passed)


def _long_axis(anatomy: Tensor, axis_mm: Tensor, slice_level: Tensor) -> Tensor:
    """[S] position along the LV: the slices that show it span it, half a pitch beyond each end.

    Where even the most apical slice still has a cavity, the stack ends above the cap, so its
    end is where the cap (segment 17) begins.
    """
    pixel_mm2 = (axis_mm[1] - axis_mm[0]) ** 2
    cavity = anatomy[:, 1].sum((1, 2)) * pixel_mm2
    area = cavity + anatomy[:, 2].sum((1, 2)) * pixel_mm2
    present = (area > PRESENT_MM2).to(area.dtype)
    first = (slice_level + 9.0 * (1.0 - present)).amin(0).clamp_max(1.0)
    last = (slice_level - 9.0 * (1.0 - present)).amax(0).clamp_min(0.0)
    last = torch.maximum(last, first)
    is_last = present * (slice_level >= last - 1e-4).to(area.dtype)
    open_end = (is_last * (cavity > CAVITY_SHARE * area).to(area.dtype)).amax(0)
    end = 1.0 - (1.0 - RING_ENDS[2]) * open_end
    half = (0.5 * (last - first) / (present.sum() - 1.0).clamp_min(1.0)).clamp_min(1e-3)
    return (slice_level - first + half) / (last - first + 2.0 * half) * end
