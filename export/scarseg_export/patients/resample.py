"""A mask on the grid of its study, and what was lost on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_export.patients.classes import CAVITY, MYOCARDIUM, SCAR
from scarseg_export.patients.masks import CODES, Mask, Placed
from scarseg_export.patients.reader import Grid
from scarseg_runtime.errors import StudyError

SAME_VOXEL = 0.1
"""Of a voxel by which centres may lie apart and still be the same."""
LEAST_COSINE = 0.9
"""Planes that lean more than 26° against each other are of different views."""
LV = (CAVITY, MYOCARDIUM, SCAR)


@dataclass(frozen=True, slots=True)
class Loss:
    """Cost of laying a mask on another grid; nothing where both grids are one."""

    resampled: bool
    outside: float
    """Share of labelled volume that lies outside of the study's grid."""
    dice: dict[str, float]
    """Of LV and scar, of the mask with what comes back to its own grid; absent without any."""
    volume_percent: dict[str, float]
    """Change of their volume."""
    slices: int
    """Slices of the study that the mask covers."""

    def words(self) -> str:
        """One clause for whoever checks the table."""
        parts = [
            f"{name} volume {change:+.1f} %, Dice after the way back {self.dice[name]:.3f}"
            for name, change in self.volume_percent.items()
        ]
        if self.outside > 0:
            parts.append(f"{100 * self.outside:.1f} % of what is labelled lies outside the study")
        return "; ".join(parts)


def onto(mask: Mask, study: Grid) -> tuple[NDArray[np.uint8], Loss]:
    """Class codes [S, H, W] of a mask at every voxel of a study, by nearest neighbour.

    Raises:
        StudyError: both lie in different views or places, or only one says where it lies.
    """
    source = mask.grid
    if source.placed != study.placed:
        who = "mask" if study.placed else "study"
        raise StudyError(
            f"the {who} does not say how it lies in the body, the other does",
            "Save the mask with the geometry of its image",
        )
    codes, exact, covered = _nearest(source, study)
    if not covered.any():
        raise StudyError(
            "the mask lies elsewhere in the body than the study: they share no voxel",
            "Check that it is this patient's, drawn on this series",
        )
    # A mask may be cut to what is drawn, as 3D Slicer does: then its voxels still are the study's.
    whole = np.count_nonzero(codes) == np.count_nonzero(source.values)
    if exact and whole and math.isclose(_pixel_mm2(source), _pixel_mm2(study), rel_tol=1e-3):
        return codes, Loss(False, 0.0, {}, {}, int(covered.sum()))
    back, _, _ = _nearest(_as_placed(study, codes), source)
    labelled = source.values > 0
    weights = source.heights_mm[:, None, None] * np.ones_like(labelled, float)
    inside = _nearest(_as_placed(study, np.ones(codes.shape, np.uint8)), source)[0] > 0
    total = float((weights * labelled).sum())
    dice, change = {}, {}
    for name, members in (("LV", LV), ("scar", (SCAR,))):
        numbers = [CODES[member] for member in members]
        before, after = (np.isin(values, numbers) for values in (source.values, back))
        if before.any():
            dice[name] = float(2 * (before & after).sum() / (before.sum() + after.sum()))
            there = _volume(_as_placed(study, np.isin(codes, numbers).astype(np.uint8)))
            here = _volume(_as_placed(source, before.astype(np.uint8)))
            change[name] = 100.0 * (there / here - 1.0)
    outside = float((weights * (labelled & ~inside)).sum()) / total if total else 0.0
    return codes, Loss(True, outside, dice, change, int(covered.sum()))


def _as_placed(grid: Any, values: NDArray[np.uint8]) -> Placed:
    return Placed(
        values, grid.origins_mm, grid.rows_mm, grid.columns_mm, grid.heights_mm, grid.placed
    )


def _pixel_mm2(grid: Placed | Grid) -> float:
    return float(np.linalg.norm(np.cross(grid.rows_mm, grid.columns_mm)))


def _volume(grid: Placed) -> float:
    """mm³ of voxels that are not 0."""
    return _pixel_mm2(grid) * float((grid.values > 0).sum((1, 2)) @ grid.heights_mm)


def _nearest(source: Placed, target: Any) -> tuple[NDArray[np.uint8], bool, NDArray[np.bool_]]:
    """Values of ``source`` at the voxels of ``target``, 0 where it has none; whether centres of
    the one are centres of the other where both are, in all slices of ``source``; and [S] which of
    the target's slices ``source`` covers.

    Raises StudyError where their planes are of different views.
    """
    normal = np.cross(source.rows_mm, source.columns_mm)
    normal /= np.linalg.norm(normal)
    other = np.cross(target.rows_mm, target.columns_mm)
    if abs(float(normal @ other)) < LEAST_COSINE * float(np.linalg.norm(other)):
        raise StudyError(
            "the slices of mask and study lie in different views",
            "Pass the mask that was drawn on the short axis",
        )
    slices, rows, columns = target.values.shape
    places = source.origins_mm @ normal
    result = np.zeros((slices, rows, columns), np.uint8)
    covered, apart = np.zeros(slices, bool), 0.0
    r = np.arange(rows)[:, None, None] * target.rows_mm
    c = np.arange(columns)[None, :, None] * target.columns_mm
    middle = 0.5 * (rows - 1) * target.rows_mm + 0.5 * (columns - 1) * target.columns_mm
    for index, origin in enumerate(target.origins_mm):
        away = np.abs(places - float((origin + middle) @ normal))
        plane = int(away.argmin())
        if away[plane] > 0.5 * source.heights_mm[plane] + 1e-3:
            continue
        offset = origin - source.origins_mm[plane] + r + c
        at = [offset @ axis / float(axis @ axis) for axis in (source.rows_mm, source.columns_mm)]
        whole = [np.rint(place).astype(np.intp) for place in at]
        limits = source.values.shape[1:]
        inside = np.logical_and(*((w >= 0) & (w < n) for w, n in zip(whole, limits, strict=True)))
        rounding = max(float(np.abs(p - w).max()) for p, w in zip(at, whole, strict=True))
        apart = max(apart, rounding, float(away[plane] / source.heights_mm[plane]))
        covered[index] = inside.any()
        values = source.values[plane][whole[0].clip(0, limits[0] - 1),
                                      whole[1].clip(0, limits[1] - 1)]  # fmt: skip
        result[index] = np.where(inside, values, 0)
    return result, bool(apart <= SAME_VOXEL and covered.sum() == len(places)), covered
