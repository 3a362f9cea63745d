"""AHA-17 inside the graph: LV centre, RV direction and long-axis level from predicted anatomy.

The same definitions as :mod:`scarseg_runtime.atlas`, in operators that every provider has, and in
few of them: points and lines carry a 1, so that what turns and moves them is one product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scarseg_export.net.sampling import SquareGrid, maps_of
from scarseg_runtime.atlas import RING_ENDS

PRESENT_MM2 = 120.0
"""A slice shows the LV if its predicted cavity + myocardium exceed this area."""
CAVITY_SHARE = 0.08
"""A slice has a cavity if at least this share of its LV area is cavity."""
STACK_WEIGHT = 20.0
"""Weight of the stack's axis in the centre of a slice, in pixels of LV."""


RINGS = ((1, 60.0, 6), (7, 60.0, 6), (13, 90.0, 4), (17, 0.0, 1))
"""Rings from base to apex: lowest segment number, degrees of a sector, and number of sectors. The
septal sectors of each lie evenly about the direction of the RV."""


def _ring(first: int, sector_deg: float, count: int) -> list[float]:
    """Row of one ring: what makes the normals of its borders, then two numbers.

    A border through the centre leaves a point at (x, y) on its anticlockwise side where
    A·x + B·y > 0, and (A, B) is a matrix times the direction of the RV (columns, rows). Six sectors
    have three such borders, four have two and one has none; what is missing has no such side.

    Anticlockwise from the first border: beyond it the others are passed one by one, on the other
    side they are left one by one. So the segment is middle ± (start + halves), + beyond the first
    border; the halves are ½ for each other border that a point is beyond, and −½ for the rest.
    Middle and start are the two numbers.
    """
    # Of six sectors two lie before the septal ones, between which the RV's direction lies; of
    # four one before the septal one, in whose middle it lies.
    before = {6: 2.0, 4: 1.5, 1: 0.0}[count] * sector_deg
    row = []
    for k in range(3):
        turn = math.radians(k * sector_deg - before)
        sine, cosine = (math.sin(turn), math.cos(turn)) if k < count // 2 else (0.0, 0.0)
        row += [-sine, cosine, -cosine, -sine]
    last = first + count - 1
    return [*row, (first + last) / 2, (first - last) / 2 + 1.0]


RING_ROWS = [_ring(*ring) for ring in RINGS]
"""[4, 14] see :func:`_ring`."""


@dataclass(frozen=True)
class HeartFrame:
    """The LV as located in one stack, in the axes of its crops."""

    centre: Tensor
    """[S, 1, 3] LV centre relative to the crop centre in mm, (column, row), and 1."""
    towards: Tensor
    """[2] unit vector from the LV to the RV, (column, row)."""
    long_axis: Tensor
    """[S, 1] position along the LV, 0 base … 1 apex."""


@dataclass(frozen=True)
class Sectors:
    """Borders between the segments of each slice.

    Half-planes instead of angles: no arc tangent, which some providers lack, and per pixel nothing
    but comparisons.
    """

    lines: Tensor
    """[S, 3, 3] a point x, y, 1 lies beyond border k where its product with row k is > 0."""
    middle: Tensor
    """[S, 1, 1] see :func:`_ring`."""
    start: Tensor
    """[S, 1, 1] the same."""

    def seen_from(self, affine: Tensor, unit: float) -> Tensor:
        """[S, 3, 3] lines for points x, y and 1 that the map [S, 2, 3] brings to where the lines
        are, in units of which ``unit`` are one of the lines'."""
        normals, through = self.lines.split([2, 1], 2)
        return normals @ affine + through * affine.new_tensor([0.0, 0.0, unit])


def locate(anatomy: Tensor, spacing_mm: float, slice_level: Tensor) -> HeartFrame:
    """Heart frame from anatomy probabilities [S, 4, P] (background, cavity, wall, RV) of the P
    pixels of square crops.

    Args:
        spacing_mm: between pixels.
        slice_level: [S] 0 … 1 from the most basal to the most apical slice of the stack.
    """
    points = SquareGrid.of(math.isqrt(anatomy.shape[2]), spacing_mm, anatomy.device)
    _, cavity, wall, right = anatomy.split(1, 1)
    ventricle = cavity + wall
    found = (ventricle * ventricle) @ points.points
    # Slices with little LV lean on the stack's mean axis, so that an empty one stays sane.
    whole = found.sum(0, keepdim=True) + found.new_tensor([0.0, 0.0, 1.0])
    centre = centre_of(found + leant(whole, STACK_WEIGHT))
    # With no RV in sight, assume it where the standard display has it: on the left.
    towards = direction(right * right, points.rows, centre, -1e-3)
    return HeartFrame(centre, towards, _long_axis(anatomy, spacing_mm, slice_level))


def centre_of(moments: Tensor) -> Tensor:
    """[…, 3] x, y and 1 of the centre of mass from moments [x, y, mass]."""
    return moments / moments[..., 2:]


def leant(moments: Tensor, mass: float) -> Tensor:
    """[…, 3] moments of a mass at the centre of others."""
    share = moments.new_tensor([[0.0] * 3, [0.0] * 3, [1.0 / mass] * 3])
    return moments / (moments @ share)


def direction(
    weights: Tensor, points: Tensor, centre: Tensor, right_mm: float, reach_mm: float | None = None
) -> Tensor:
    """[2] unit vector in which the weights lie from each slice's centre, the whole stack together.

    Args:
        weights: [S, 1, P], or [1, P] of a single slice, of the points [3, P], each x, y and 1.
        centre: [S, 1, 3] or [1, 3] x, y and 1.
        right_mm: sum of weights, to the right, that is added so that no direction is none.
        reach_mm: SD of a window about the centre, if there is one.
    """
    # [S, 3, P]; the third is 1, so that what is within a pixel of the centre has no say.
    away = points - (centre * centre.new_tensor([1.0, 1.0, 0.0])).reshape(-1, 3, 1)
    distance = torch.linalg.vector_norm(away, dim=1, keepdim=True)
    weights = weights / distance
    if reach_mm is not None:
        weights = weights * torch.exp(distance * distance * (-0.5 / reach_mm**2))
    towards = (away * weights).sum((0, 2))[:2] + centre.new_tensor([right_mm, 0.0])
    return towards / torch.linalg.vector_norm(towards, dim=0)


def sectors_of(frame: HeartFrame) -> Sectors:
    """Find where the segments border each other, in the axes of the crops."""
    like = frame.towards
    ends, rows = like.new_tensor(RING_ENDS), like.new_tensor(RING_ROWS)
    # The row of a ring is that of the one before and a step.
    beyond = (frame.long_axis[:, :, None] >= ends).to(like.dtype)
    normals, middle, start = (beyond @ (rows[1:] - rows[:-1]) + rows[0]).split([12, 1, 1], 2)
    # [S, 2, 3] by which a line through the origin becomes one through the centre.
    through = frame.centre @ like.new_tensor(
        [[0.0, 0.0, -1.0, 0.0, 0.0, 0.0], [0.0] * 5 + [-1.0], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    )
    lines = (normals.reshape(-1, 3, 2, 2) @ like) @ through.reshape(-1, 2, 3)
    return Sectors(lines, middle, start)


def segments_at(borders: Tensor, middle: Tensor, start: Tensor) -> Tensor:
    """AHA segments 1–17 (float) [S, 1, …] of points, from what the three lines of each slice make
    of them [S, 3, …], and two numbers of a slice; see :class:`Sectors`."""
    half = borders.new_tensor([1.0, 0.5, 0.5]).reshape(3, *[1] * (borders.ndim - 2))
    first, others = torch.where(borders > 0, half, -half).split([1, 2], 1)
    return middle + first * (others.sum(1, keepdim=True) + start)


def segment_map(columns: Tensor, rows: Tensor, sectors: Sectors) -> Tensor:
    """AHA segments 1–17 (float) [S, h, w] of pixels at columns [w] and rows [h]."""
    borders = maps_of(sectors.lines, columns, rows)
    return segments_at(borders, sectors.middle[..., None], sectors.start[..., None])[:, 0]


def _long_axis(anatomy: Tensor, spacing_mm: float, slice_level: Tensor) -> Tensor:
    """[S, 1] position along the LV: the slices that show it span it, half a pitch beyond each end.

    Where even the most apical slice still has a cavity, the stack ends above the cap, so its
    end is where the cap (segment 17) begins.
    """
    level, like = slice_level[:, None], anatomy
    # [S, 3] whether a slice shows the LV, twice, and whether that has a cavity.
    area = like.new_tensor([[0.0] * 3, [1.0, 1.0, 1.0 - CAVITY_SHARE], [1.0, 1.0, -CAVITY_SHARE],
                            [0.0] * 3])  # fmt: skip
    shown = anatomy.sum(2) @ (area * spacing_mm**2) > like.new_tensor([PRESENT_MM2] * 2 + [0.0])
    present = shown[:, :1]
    ends = torch.where(shown & present, level * like.new_tensor([-1.0, 1.0, 1.0]), -9.0)
    # [1, 3] minus the first level, the last, and the last with a cavity.
    ends = torch.maximum(ends.amax(0, keepdim=True), like.new_tensor([-1.0, 0.0, -9.0]))
    steps = like.new_tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    span, hollow, before = torch.addmm(like.new_tensor([0.0, 1e-4, 0.0]), ends, steps).split(1, 1)
    span = span.clamp_min(0.0)
    end = torch.where(hollow >= span, RING_ENDS[2], 1.0)
    pitches = (torch.where(present, 2.0, 0.0).sum(0, keepdim=True) - 2.0).clamp_min(2.0)
    half = (span / pitches).clamp_min(1e-3)
    return (level + (before + half)) * (end / (span + 2.0 * half))


def areas_mm2(anatomy: Tensor, spacing_mm: float) -> Tensor:
    """[S, 2] areas of cavity and whole LV from anatomy probabilities [S, 4, P]."""
    parts = anatomy.new_tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    return anatomy.sum(2) @ (parts * spacing_mm**2)
