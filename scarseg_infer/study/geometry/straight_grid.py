"""The one straight and even grid that comes closest to a stack, for formats that know no other.

Slices of a real stack may drift in plane, jump where one was planned anew, or be missing. Of such a
stack a volume format holds slices moved by whole pixels and empty ones in gaps; what is left after
that is said in millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.study.geometry.slice_plane import SAME_POSITION_MM, slices_named, usual_step_mm
from scarseg_infer.study.stack import LgeStack

STRAIGHT_MM: Final = 2.0
"""A slice this far beside the line of the others is said to lie there: about one pixel."""
MOST_MISSING: Final = 12
"""Empty slices for one gap: half a heart. Wider gaps are damage, not to be filled."""
_MOST_MOVED: Final = 4
"""Slices are moved by at most a quarter of the image's width or height, so that it does not grow
without bound."""


@dataclass(frozen=True, slots=True, eq=False)
class StraightGrid:
    """Places of the slices of a stack on an even grid that is perpendicular to them.

    Attributes:
        places: [S] which slice of the grid each slice becomes.
        moved: [S, 2] rows and columns by which each is moved within it, from 0.
        shape: slices, rows and columns of the grid.
        affine_lps: [4, 4] grid index (column, row, slice) → LPS mm.
        left_mm: [S] how far each slice lies from its true place all the same.
        off_pixels: how many slices had to be moved.
    """

    places: NDArray[np.intp]
    moved: NDArray[np.intp]
    shape: tuple[int, int, int]
    affine_lps: NDArray[np.float64]
    left_mm: NDArray[np.float64]
    off_pixels: int

    def place(self, volume: NDArray[Any]) -> NDArray[Any]:
        """A volume [S, H, W] of the stack on the grid; zero where there is no slice."""
        found = np.zeros(self.shape, volume.dtype)
        rows, columns = volume.shape[1:]
        for image, index, (down, right) in zip(volume, self.places, self.moved, strict=True):
            found[index, down : down + rows, right : right + columns] = image
        return found

    @property
    def empty(self) -> int:
        """Number of slices of the grid that are none of the stack."""
        return self.shape[0] - len(self.places)


def straight_grid(stack: LgeStack) -> StraightGrid:
    """The grid of a stack; for a straight and even stack exactly its own."""
    axes = np.stack([stack.column_direction, stack.row_direction, stack.normal])
    down, right, along = axes @ stack.origins_mm.T
    places, first_mm, step_mm = _even_steps(along, stack.slice_thickness_mm)
    plane = np.stack([down, right], axis=1)
    middle = np.median(plane, axis=0)
    start = plane[int(np.argmin(np.linalg.norm(plane - middle, axis=1)))]
    most = np.array(stack.pixels.shape[1:]) // _MOST_MOVED
    pixels = np.rint((plane - start) / stack.pixel_spacing_mm).clip(-most, most)
    left = plane - start - pixels * stack.pixel_spacing_mm
    beside = along - (first_mm + places * step_mm)
    corner = start + pixels.min(axis=0) * stack.pixel_spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = stack.row_direction * stack.pixel_spacing_mm[1]
    affine[:3, 1] = stack.column_direction * stack.pixel_spacing_mm[0]
    affine[:3, 2] = stack.normal * step_mm
    affine[:3, 3] = (*corner, first_mm) @ axes
    moved = (pixels - pixels.min(axis=0)).astype(np.intp)
    rows, columns = stack.pixels.shape[1:] + moved.max(axis=0)
    return StraightGrid(
        places=places,
        moved=moved,
        shape=(int(places[-1]) + 1, int(rows), int(columns)),
        affine_lps=affine,
        left_mm=np.hypot(np.hypot(*left.T), beside),
        off_pixels=int(pixels.any(axis=1).sum()),
    )


def _even_steps(
    along_mm: NDArray[np.float64], thickness_mm: float | None
) -> tuple[NDArray[np.intp], float, float]:
    """Number of each slice on an even grid, the position of number 0, and the step."""
    if along_mm.size == 1:
        return np.zeros(1, np.intp), float(along_mm[0]), thickness_mm or 1.0
    steps = np.rint(np.diff(along_mm) / usual_step_mm(along_mm))
    places = np.concatenate([[0], np.cumsum(steps.clip(1, MOST_MISSING + 1))])
    step_mm, first_mm = np.polyfit(places, along_mm, 1)
    return places.astype(np.intp), float(first_mm), float(step_mm)


def grid_warnings(stack: LgeStack) -> tuple[str, ...]:
    """Warnings about what a volume format cannot hold of a stack."""
    grid = straight_grid(stack)
    left_mm = float(grid.left_mm.max())
    if not grid.empty and not grid.off_pixels and left_mm < SAME_POSITION_MM:
        return ()
    done = []
    if grid.empty:
        many = f"{grid.empty} empty slices fill gaps"
        fill = many if grid.empty > 1 else "an empty slice fills a gap"
        done.append(f"{fill} (it may hold less volume than result.json says)")
    if grid.off_pixels:
        which = f"{grid.off_pixels} slices are" if grid.off_pixels > 1 else "a slice is"
        done.append(f"{which} moved in plane")
    done.append(f"its labels lie up to {left_mm:.1f} mm from their place")
    return (
        f"NIfTI knows straight and even stacks only: {', '.join(done)}. The DICOM outputs keep the "
        "place of every slice.",
    )


def beside_warnings(
    origins_mm: NDArray[np.float64], axes: Sequence[NDArray[np.float64]], counted: str
) -> tuple[str, ...]:
    """Warnings about slices that do not lie on the straight line of the others.

    Args:
        origins_mm: [S, 3] in order along row × column direction.
        axes: row and column direction.
        counted: from which end slices are numbered, as "counted from the base".
    """
    if len(origins_mm) < 3:
        return ()
    along = origins_mm @ np.cross(axes[0], axes[1])
    beside = np.hypot(*(_off_line(along, origins_mm @ axis) for axis in axes))
    far = np.flatnonzero(beside > STRAIGHT_MM) + 1
    if not far.size:
        return ()
    which = slices_named(far.tolist()) + (" lies" if far.size == 1 else " lie")
    return (
        f"{which} up to {beside.max():.0f} mm in plane beside the straight line of the others "
        f"({counted}): the heart jumps there from image to image; check labels and walls in the "
        "pictures.",
    )


def _off_line(along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the line that most slices follow: the median of all slopes (Theil and Sen), so
    that one slice far off does not bend it."""
    first, second = np.triu_indices(along.size, 1)
    slope = np.median((across[second] - across[first]) / (along[second] - along[first]))
    rest = across - slope * along
    return np.asarray(np.abs(rest - np.median(rest)))
