"""AHA-17 inside the graph: LV centre, RV direction and long-axis level from predicted anatomy.

The same definitions as :mod:`scarseg_runtime.atlas`, in operators that every provider has, and in
few of them: points and lines carry a 1, so that what turns and moves them is one product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scarseg_export.net.sampling import SquareGrid
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
    """Row of one ring: four borders, each a normal and a limit, then eight weights.

    A point lies beyond a border where its product with the normal is above the limit. Normals are
    along the direction of the RV and across; of a border through the centre the limit is 0, and
    the anticlockwise side lies beyond. Six sectors have three such borders, four have two and one
    has none; beyond one that is missing lies nothing, beyond the fourth everything.

    Anticlockwise from the first border: beyond it the others are passed one by one, on the other
    side they are left one by one. So the segment is middle ± (start + halves), + beyond the first
    border; the halves are ½ for each other border that a point is beyond, and −½ for the rest.
    As a product of two sums over what a point is beyond (0 or 1 each, the fourth 1): the sign, and
    sign · middle + start + halves.
    """
    # Of six sectors two lie before the septal ones, between which the RV's direction lies; of
    # four one before the septal one, in whose middle it lies.
    before = {6: 2.0, 4: 1.5, 1: 0.0}[count] * sector_deg
    row = []
    for k in range(3):
        turn = math.radians(k * sector_deg - before)
        row += [-math.sin(turn), math.cos(turn), 0.0] if k < count // 2 else [0.0, 0.0, 1.0]
    last = first + count - 1
    middle, start = (first + last) / 2, (first - last) / 2 + 1.0
    sign, rest = [2.0, 0.0, 0.0, -1.0], [2.0 * middle, 1.0, 1.0, start - 1.0 - middle]
    return [*row, 0.0, 0.0, -1.0, *sign, *rest]


RING_ROWS = [_ring(*ring) for ring in RINGS]
"""[4, 20] see :func:`_ring`."""


@dataclass(frozen=True)
class HeartFrame:
    """The LV as located in one stack, in the axes of its crops."""

    centre: Tensor
    """[S, 1, 1, 3] LV centre relative to the crop centre, (column, row), and 1."""
    towards: Tensor
    """[1, 2] unit vector from the LV to the RV, (column, row)."""
    long_axis: Tensor
    """[S, 1] position along the LV, 0 base … 1 apex."""


@dataclass(frozen=True)
class Sectors:
    """Borders between the segments of each slice.

    Half-planes instead of angles: no arc tangent, which some providers lack, and per pixel nothing
    but sums and comparisons.
    """

    normals: Tensor
    """[S, 1, 4, 2] see :func:`_ring`, for columns and rows of the crop."""
    limits: Tensor
    """[S, 1, 4, 1] the same."""
    weights: Tensor
    """[S, 1, 2, 4] the same."""

    def segments_at(self, points: Tensor) -> Tensor:
        """AHA segments 1–17 (float) [S, 1, 1, N] of points [2, N] or [S, 1, 2, N]."""
        beyond = (self.normals @ points > self.limits).to(points.dtype)
        return torch.prod(self.weights @ beyond, 2, keepdim=True)


def locate(
    anatomy: Tensor, spacing_mm: float, slice_level: Tensor, unit_mm: float = 1.0
) -> HeartFrame:
    """Heart frame from anatomy probabilities [S, 4, …] (background, cavity, wall, RV) of the
    pixels of square crops.

    Args:
        spacing_mm: between pixels.
        slice_level: [S] 0 … 1 from the most basal to the most apical slice of the stack.
        unit_mm: of the centre.
    """
    long_axis = _long_axis(areas(anatomy), spacing_mm, slice_level)
    _, cavity, wall, right = flat_parts(anatomy)
    points = SquareGrid.of(math.isqrt(wall.shape[3]), spacing_mm, anatomy.device, unit_mm)
    ventricle = cavity + wall
    found = (ventricle * ventricle) @ points.points
    # Slices with little LV lean on the stack's mean axis, so that an empty one stays sane.
    whole = found.sum(0, keepdim=True) + found.new_tensor([0.0, 0.0, 1.0])
    centre = centre_of(found + leant(whole, STACK_WEIGHT))
    # With no RV in sight, assume it where the standard display has it: on the left.
    towards = direction(right * right, points.away_from(centre), -1e-3)
    return HeartFrame(centre, towards, long_axis)


def flat_parts(anatomy: Tensor) -> tuple[Tensor, ...]:
    """Probabilities [S, 4, …] apart, as [S, 1, 1, P] each."""
    pixels = math.prod(anatomy.shape[2:])
    return anatomy.reshape(-1, 4, 1, pixels).split(1, 1)


def areas(anatomy: Tensor) -> Tensor:
    """[S, 4] areas, in pixels, of anatomy probabilities [S, 4, …]."""
    return anatomy.sum(tuple(range(2, anatomy.ndim)))


def centre_of(moments: Tensor) -> Tensor:
    """[…, 3] x, y and 1 of the centre of mass from moments [x, y, mass]."""
    return moments / moments[..., 2:]


def leant(moments: Tensor, mass: float) -> Tensor:
    """[…, 3] moments of a mass at the centre of others."""
    share = moments.new_tensor([[0.0] * 3, [0.0] * 3, [1.0 / mass] * 3])
    return moments / (moments @ share)


def direction(weights: Tensor, away: Tensor, right: float, reach: float | None = None) -> Tensor:
    """[1, 2] unit vector in which weights lie from each slice's centre, the whole stack together.

    Args:
        weights: [S, 1, 1, P], or [1, P] of a single slice.
        away: [S, 1, 3, P] where they lie; see :meth:`SquareGrid.away_from`.
        right: sum of weights, to the right, that is added so that no direction is none.
        reach: SD of a window about the centre, if there is one, in the units of ``away``.
    """
    distance = torch.linalg.vector_norm(away, dim=2, keepdim=True)
    far = distance
    if reach is not None:
        square = distance * distance
        if not math.isclose(2.0 * reach * reach, 1.0):
            square = square / (2.0 * reach * reach)
        far = far * torch.exp(square)
    towards = (away * (weights / far)).sum((0, 3))
    towards = torch.addmm(
        away.new_tensor([right, 0.0]), towards, away.new_tensor([[1.0, 0.0], [0.0, 1.0], [0.0] * 2])
    )
    return towards / torch.linalg.vector_norm(towards, dim=1, keepdim=True)


def sectors_of(frame: HeartFrame) -> Sectors:
    """Find where the segments border each other, in the axes and units of the crops."""
    like = frame.towards
    ends, rows = like.new_tensor(RING_ENDS), like.new_tensor(RING_ROWS)
    # The row of a ring is that of the one before and a step.
    beyond = (frame.long_axis >= ends).to(like.dtype)
    lines, weights = torch.addmm(rows[0], beyond, rows[1:] - rows[:-1]).split([12, 8], 1)
    # Columns and rows of the crop along the direction of the RV and across.
    turned = torch.addmm(
        like.new_tensor([0.0] * 8 + [1.0]), like,
        like.new_tensor([[1, 0, 0, 0, -1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0, 0]]),
    ).reshape(3, 3)  # fmt: skip
    # By which the limit of a border through the origin becomes that of one through the centre.
    through = frame.centre @ like.new_tensor(
        [[0, 0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0, 0, 1]]
    )
    lines = lines.reshape(-1, 1, 4, 3) @ (turned @ through.reshape(-1, 1, 3, 3))
    normals, limits = lines.split([2, 1], 3)
    return Sectors(normals, limits, weights.reshape(-1, 1, 2, 4))


def segment_map(columns: Tensor, rows: Tensor, sectors: Sectors) -> Tensor:
    """AHA segments 1–17 (float) [S, h, w] of pixels at columns [w] and rows [h]."""
    high, wide = rows.shape[0], columns.shape[0]
    places = [columns.expand(high, wide), rows[:, None].expand(high, wide)]
    return sectors.segments_at(torch.stack(places).reshape(2, -1)).reshape(-1, high, wide)


def _long_axis(area: Tensor, spacing_mm: float, slice_level: Tensor) -> Tensor:
    """[S, 1] position along the LV, from areas [S, 4] in pixels.

    The slices that show it span it, half a pitch beyond each end. Where even the most apical slice
    still has a cavity, the stack ends above the cap, so its end is where the cap (segment 17)
    begins.
    """
    level, like = slice_level[:, None], area
    # [S, 3] whether a slice shows the LV, twice, and whether that has a cavity.
    parts = like.new_tensor([[0.0] * 3, [1.0, 1.0, 1.0 - CAVITY_SHARE], [1.0, 1.0, -CAVITY_SHARE],
                            [0.0] * 3])  # fmt: skip
    least = like.new_tensor([PRESENT_MM2 / spacing_mm**2] * 2 + [0.0])
    shown = area @ parts > least
    present = shown[:, :1]
    # Where no slice counts, the LV spans nothing at the end of the stack.
    ends = torch.where(
        shown & present,
        level * like.new_tensor([-1.0, 1.0, 1.0]),
        like.new_tensor([-1.0, 0.0, -9.0]),
    )
    # [1, 3] minus the first level, the last, and the last with a cavity.
    ends = ends.amax(0, keepdim=True)
    steps = like.new_tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    span, hollow, before = torch.addmm(like.new_tensor([0.0, 1e-4, 0.0]), ends, steps).split(1, 1)
    span = span.clamp_min(0.0)
    end = torch.where(hollow >= span, RING_ENDS[2], 1.0)
    pitches = (torch.where(present, 2.0, 0.0).sum(0, keepdim=True) - 2.0).clamp_min(2.0)
    half = (span / pitches).clamp_min(1e-3)
    whole = torch.addmm(span, half, like.new_tensor([[2.0]]))
    return (level + (before + half)) * (end / whole)


def areas_mm2(anatomy: Tensor, spacing_mm: float) -> Tensor:
    """[S, 2] areas of cavity and whole LV from anatomy probabilities [S, 4, …]."""
    parts = anatomy.new_tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    return areas(anatomy) @ (parts * spacing_mm**2)
