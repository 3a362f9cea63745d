"""Slice grids of short-axis stacks in the heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.anatomy import Anatomy

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SliceGrid:
    """Place of slices in the heart; display orientation, base → apex."""

    rows: int
    columns: int
    spacing_mm: float
    heights_mm: NDArray[np.float64]
    """[S] distance of each slice from the base plane towards the apex; negative above it."""
    thickness_mm: float
    centres_mm: NDArray[np.float64]
    """[S, 2] LV axis at the base as (column, row) offset from the image centre."""


def sample_grid(
    rng: np.random.Generator,
    anatomy: Anatomy,
    size: int,
    spacing_mm: float,
    wander_mm: float,
    slices: int | None = None,
) -> SliceGrid:
    """Draw a short-axis stack that covers the LV, as planned by a person.

    Args:
        wander_mm: how far the LV may lie from the image centre.
        slices: number of slices; None draws pitch as in practice (8–13 mm).
    """
    pitch = rng.uniform(8.0, 13.0)
    first = rng.uniform(-1.2, 0.6) * pitch
    if slices is None:
        last = anatomy.length_mm + rng.uniform(-1.0, 0.8) * pitch
        slices = max(4, round((last - first) / pitch))
    else:
        pitch = (anatomy.length_mm + rng.uniform(-0.5, 0.5) * pitch - first) / slices
    heights: NDArray[np.float64] = first + pitch * np.arange(slices, dtype=np.float64)
    drift = rng.normal(0.0, rng.uniform(0.0, 2.0), (slices, 2))
    centre = rng.uniform(-wander_mm, wander_mm, 2)
    along = (heights / anatomy.length_mm)[:, None]
    return SliceGrid(
        size, size, spacing_mm, heights, min(rng.uniform(6.0, 10.0), pitch),
        centre + along * np.asarray(anatomy.tilt_mm) + drift,
    )  # fmt: skip


def window_about(grid: SliceGrid, reach_mm: float) -> tuple[slice, slice]:
    """Rows and columns that hold everything within ``reach_mm`` of the LV in every slice."""
    found = []
    for axis, count in ((1, grid.rows), (0, grid.columns)):
        centres = grid.centres_mm[:, axis] / grid.spacing_mm + count / 2
        first = int(np.floor(centres.min() - reach_mm / grid.spacing_mm))
        last = int(np.ceil(centres.max() + reach_mm / grid.spacing_mm))
        found.append(slice(min(max(first, 0), count), min(max(last, 0), count)))
    return found[0], found[1]


def polar(
    grid: SliceGrid, insertion_deg: float, window: tuple[slice, slice]
) -> tuple[FloatArray, FloatArray]:
    """Radius (mm) and heart angle (deg) of the pixels of a window about each slice's LV centre."""
    columns = (np.arange(grid.columns) + 0.5 - grid.columns / 2)[window[1]] * grid.spacing_mm
    rows = (np.arange(grid.rows) + 0.5 - grid.rows / 2)[window[0]] * grid.spacing_mm
    dx = (columns[None, :] - grid.centres_mm[:, :1]).astype(np.float32)[:, None, :]
    dy = (rows[None, :] - grid.centres_mm[:, 1:]).astype(np.float32)[:, :, None]
    radius = np.sqrt(dx**2 + dy**2)
    angle = np.mod(np.degrees(np.arctan2(-dy, dx)) - np.float32(insertion_deg), 360.0)
    return radius, angle.astype(np.float32)
