"""Plane of one slice in the patient, and what makes slices a stack.

Frame: the patient's (LPS, mm), as in :class:`scarseg_infer.study.stack.LgeStack`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = tuple[float, float, float]

MAX_AXIS_ERROR: Final = 0.01
"""Distance that ImageOrientationPatient may be from two orthogonal unit vectors: headers carry as
few as three decimals, and nothing worse than rounding is put right."""
PARALLEL_TOLERANCE_DEG: Final = 0.2
"""Slices of one stack are parallel within this: half a millimetre at the image's edge."""
SPACING_TOLERANCE: Final = 1e-3
"""Relative difference of pixel spacings that is still rounding."""
SAME_POSITION_MM: Final = 0.5
"""Images closer than this along the normal show the same slice, whatever the source: the pitch of
LGE is 5–13 mm, that of 3-D LGE filled with zeros down to 0.6 mm."""
PIXEL_SPACING_RANGE_MM: Final = (0.1, 10.0)
"""In-plane spacing that can be a heart's at all (LGE: 1.2–2 mm); others are wrong units."""
MAX_SLICE_HEIGHT_MM: Final = 50.0
"""Half a heart: thicker slices are wrong units (LGE: 6–13 mm)."""
MIN_SLICE_HEIGHT_MM: Final = 0.7
"""A single slice that is thinner is in wrong units or damaged (scanners go down to 0.8 mm): volumes
grow with its height, so that scar would fall below the least that counts."""
MAX_COORDINATE_MM: Final = 10_000.0
"""No point of a patient lies farther from the scanner's origin; beyond it is damage."""
MISSING_SLICE_STEP: Final = 1.5
"""A step this many times the usual one has room for another slice (the middle between one
step, which may vary by some per cent, and two)."""
WIDE_STEP: Final = 2.0
"""Slices that lie this many times their thickness apart leave more out than they show."""
OVERLAPPING: Final = 2.5
"""Slices that are this many times thicker than they lie apart: scanners fill in one slice between
two at most, so that one of both lengths is in another unit."""
WIDE_STEP_MM: Final = 20.0
"""The same where their thickness is not known or is the step itself, as in NIfTI files."""


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """Grid and position of one slice."""

    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    """Between rows, then between columns."""
    origin_mm: Vector
    """Centre of the first voxel."""
    row_direction: Vector
    """Unit vector along which the column index grows."""
    column_direction: Vector
    """Unit vector along which the row index grows."""

    def same_grid(self, other: SlicePlane, tolerance_deg: float = PARALLEL_TOLERANCE_DEG) -> bool:
        """True when both slices can belong to one stack: parallel, same size and spacing."""
        if (self.rows, self.columns) != (other.rows, other.columns):
            return False
        same_spacing = np.allclose(
            self.pixel_spacing_mm, other.pixel_spacing_mm, rtol=SPACING_TOLERANCE, atol=0.0
        )
        return same_spacing and self.tilt_deg(other) <= tolerance_deg

    def tilt_deg(self, other: SlicePlane) -> float:
        """The larger one of the angles between the rows and between the columns of both."""
        apart = max(
            math.dist(self.row_direction, other.row_direction),
            math.dist(self.column_direction, other.column_direction),
        )
        return math.degrees(2 * math.asin(min(1.0, apart / 2)))

    def same_place(self, other: SlicePlane) -> bool:
        """True when both show the same slice of the patient, pixel by pixel."""
        distance = np.subtract(self.origin_mm, other.origin_mm)
        return self.same_grid(other) and bool(np.linalg.norm(distance) < SAME_POSITION_MM)

    @property
    def half_extent_mm(self) -> NDArray[np.float64]:
        """[3] from the first voxel to the centre of the slice."""
        down, right = (self.rows - 1) / 2, (self.columns - 1) / 2
        row_mm, column_mm = self.pixel_spacing_mm
        along_column = np.multiply(self.column_direction, down * row_mm)
        return np.asarray(along_column + np.multiply(self.row_direction, right * column_mm))

    @property
    def normal(self) -> NDArray[np.float64]:
        """[3] row direction × column direction."""
        return np.cross(self.row_direction, self.column_direction)


def unit_axes(
    row: ArrayLike, column: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Exactly orthogonal unit vectors from nearly orthogonal ones; None when they are not."""
    first, second = np.asarray(row, dtype=np.float64), np.asarray(column, dtype=np.float64)
    with np.errstate(all="ignore"):  # of what is infinite or far too large
        lengths = float(np.linalg.norm(first)), float(np.linalg.norm(second))
        errors = np.array([lengths[0] - 1, lengths[1] - 1, float(first @ second)])
    if not (np.abs(errors) <= MAX_AXIS_ERROR).all():  # also for NaN
        return None
    first = first / lengths[0]
    second = second - (second @ first) * first
    return first, second / np.linalg.norm(second)


def plausible_spacing(pixel_spacing_mm: Sequence[float]) -> bool:
    """True when an in-plane spacing can be that of a heart image in mm."""
    low, high = PIXEL_SPACING_RANGE_MM
    return all(low <= spacing <= high for spacing in pixel_spacing_mm)


def usual_step_mm(positions_mm: NDArray[np.float64]) -> float:
    """The usual step of increasing slice positions [S ≥ 2]: their lower median.

    The lower one, so that of two steps one missing slice still shows.
    """
    steps = np.sort(np.diff(positions_mm))
    return float(steps[(steps.size - 1) // 2])


def step_warnings(positions_mm: NDArray[np.float64], counted: str) -> tuple[str, ...]:
    """Warnings about uneven steps of increasing slice positions [S].

    Slices are numbered from 1; ``counted`` says from which end, as "counted from the base".
    """
    if positions_mm.size < 3:
        return ()
    usual = usual_step_mm(positions_mm)
    found = []
    for number, step in enumerate(np.diff(positions_mm), start=1):
        if step >= MISSING_SLICE_STEP * usual:
            count = max(1, round(step / usual) - 1)
            what = "a slice seems" if count == 1 else f"{count} slices seem"
            found.append(
                f"{what.capitalize()} to be missing between slices {number} and {number + 1} "
                f"({counted}): the step is {step:.1f} mm where {usual:.1f} mm is usual; "
                "volumes use the real positions."
            )
        elif step * MISSING_SLICE_STEP <= usual:
            found.append(
                f"Slices {number} and {number + 1} ({counted}) are only {step:.1f} mm apart "
                f"where {usual:.1f} mm is usual; volumes use the real positions."
            )
    return tuple(found)


def slices_named(numbers: Sequence[int]) -> str:
    """Name slices by their numbers: "Slice 3", "Slices 2, 3 and 5"."""
    *others, last = map(str, numbers)
    return f"Slices {', '.join(others)} and {last}" if others else f"Slice {last}"


def gap_warnings(positions_mm: NDArray[np.float64], thickness_mm: float | None) -> tuple[str, ...]:
    """A warning where wide gaps between slices [S] count as if they had been imaged, or where the
    slices would lie in each other."""
    if positions_mm.size < 2:
        return ()
    usual = usual_step_mm(positions_mm)
    if thickness_mm is not None and thickness_mm > OVERLAPPING * usual:
        return (
            f"The slices are {thickness_mm:.0f} mm thick and only {usual:.1f} mm apart: check the "
            "unit of their positions, which volumes follow.",
        )
    thin = thickness_mm is not None and usual > WIDE_STEP * thickness_mm
    if not thin and usual <= WIDE_STEP_MM:
        return ()
    thick = f" and {thickness_mm:.0f} mm thick" if thin else ""
    return (
        f"The slices are {usual:.0f} mm apart{thick}: volumes count what lies between them, which "
        "was not imaged, as the slices beside it.",
    )
