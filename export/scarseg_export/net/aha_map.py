"""AHA-17 inside the graph: LV centre, RV direction and long-axis level from predicted anatomy.

The same definitions as :mod:`scarseg_runtime.atlas`, in operators that every provider has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scarseg_runtime.atlas import RING_ENDS, SEPTUM_DEG

PRESENT_MM2 = 120.0
"""A slice shows the LV if its predicted cavity + myocardium exceed this area."""
CAVITY_SHARE = 0.08
"""A slice has a cavity if at least this share of its LV area is cavity."""


RINGS = (
    (1.0, 6.0, -60.0 / 360.0),
    (7.0, 6.0, -60.0 / 360.0),
    (13.0, 4.0, (SEPTUM_DEG / 2 - 135.0) / 360.0),
    (17.0, 1.0, 0.0),
)
"""Rings from base to apex: lowest segment number, number of sectors, and where its first sector
begins, in turns anticlockwise from the anterior RV insertion."""
ALMOST_ONE = 1.0 - 2.0**-23
"""The turn of an angle just below zero rounds to 1, which would be a sector too many."""


@dataclass(frozen=True)
class HeartFrame:
    """The LV as located in one stack."""

    centre_mm: Tensor
    """[S, 2] LV centre relative to the crop centre, (column, row)."""
    insertion_deg: Tensor
    """Scalar: display angle of the anterior RV insertion, anticlockwise from image right."""
    long_axis: Tensor
    """[S] position along the LV, 0 base … 1 apex."""


def locate(anatomy: Tensor, axis_mm: Tensor, slice_level: Tensor) -> HeartFrame:
    """Heart frame from anatomy probabilities [S, 4, h, w] (background, cavity, wall, RV).

    Args:
        axis_mm: [h] pixel positions of the square crop about its centre (h = w).
        slice_level: [S] 0 … 1 from the most basal to the most apical slice of the stack.
    """
    ventricle = (anatomy[:, 1] + anatomy[:, 2]) ** 2
    mass = ventricle.sum((1, 2))
    x_moment = (ventricle * axis_mm[None, None, :]).sum((1, 2))
    y_moment = (ventricle * axis_mm[None, :, None]).sum((1, 2))
    first = torch.stack([x_moment, y_moment], 1)
    # Slices with little LV lean on the stack's mean axis, so that an empty one stays sane.
    whole = first.sum(0) / (mass.sum() + 1.0)
    centre = (first + 20.0 * whole) / (mass + 20.0)[:, None]
    dx = axis_mm[None, None, :] - centre[:, None, None, 0]
    dy = axis_mm[None, :, None] - centre[:, None, None, 1]
    right = anatomy[:, 3] ** 2 / torch.sqrt(dx**2 + dy**2 + 1.0)
    x, y = (right * dx).sum(), -(right * dy).sum()
    # With no RV in sight, assume it where the standard display has it: on the left.
    septum = torch.atan2(y, x - 1e-3) * (180.0 / math.pi)
    return HeartFrame(centre, septum - SEPTUM_DEG / 2, _long_axis(anatomy, axis_mm, slice_level))


def segment_map(dx: Tensor, dy: Tensor, frame: HeartFrame) -> Tensor:
    """AHA segments 1–17 (float) at offsets from the LV centre; dx, dy broadcast to [S, h, w]."""
    rings = torch.tensor(RINGS, dtype=dx.dtype, device=dx.device)
    ends = torch.tensor(RING_ENDS, dtype=dx.dtype, device=dx.device)
    ring = rings[(frame.long_axis[:, None] >= ends).sum(1)]
    first, sectors, start = (ring[:, k, None, None] for k in range(3))
    # In turns from where the ring's first segment begins; what is per slice stays small.
    turns = torch.atan2(-dy, dx) * (0.5 / math.pi) - (frame.insertion_deg / 360.0 + start)
    turns = (turns - torch.floor(turns)).clamp_max(ALMOST_ONE)
    return torch.floor(turns * sectors) + first


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
