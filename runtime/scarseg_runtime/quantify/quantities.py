"""From labels to the quantities a report needs: volumes, mass, burden, transmurality.

Volume uses the distance between slice positions (thickness and gap), never SliceThickness,
except for a single slice, which has no neighbour. Mass is volume × 1.05 g/mL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_runtime.atlas import SEGMENT_NAMES, TERRITORIES
from scarseg_runtime.contract import LEFT_VENTRICLE, SEGMENT_COUNT, Label
from scarseg_runtime.errors import StudyError
from scarseg_runtime.quantify.components import heart_box

MYOCARDIUM_G_PER_ML: Final = 1.05
"""Density of myocardium; the usual value in the field."""

TransmuralityClass = Literal["0", "1-25", "26-50", "51-75", "76-100"]
_CLASS_ENDS: Final[tuple[tuple[float, TransmuralityClass], ...]] = (
    (0.0, "0"), (0.25, "1-25"), (0.50, "26-50"), (0.75, "51-75"), (1.0, "76-100"),
)  # fmt: skip
"""Classes of wall extent in %, as in PMC5676975."""


@dataclass(frozen=True, slots=True)
class SegmentQuantities:
    """One AHA segment. Fractions are 0–1, None where the segment has no voxel.

    Attributes:
        number: AHA segment, 1–17.
        name: as ``mid anterior``.
        territory: usual coronary territory: LAD, RCA or LCx.
        myocardium_ml: volume in mL, scar included.
        scar_ml: volume of scar in mL.
        burden: share of the segment that is scar: scar volume over myocardium volume.
        transmurality: mean share of the wall that is scar, over the chords that have any (0 without
            scar).

            A chord is a sector about the LV centre of one slice, one pixel wide in the middle of
            the wall, as far as it lies in this segment. (Wider ones read too shallow, as those at
            the edge of a scar are half beside it; narrower ones miss pixels.) Its pixels count by
            1/radius, so that the share is one of depth, not of area.
        transmurality_class: :attr:`transmurality` in % of the wall; any scar at all is at least
            ``1-25``.
    """

    number: int
    name: str
    territory: str
    myocardium_ml: float
    scar_ml: float
    burden: float | None
    transmurality: float | None
    transmurality_class: TransmuralityClass | None


@dataclass(frozen=True, slots=True)
class Quantities:
    """Whole left ventricle and its 17 segments.

    Attributes:
        myocardium_ml: volume in mL, scar included.
        myocardium_g: mass in g, scar included.
        scar_ml: volume of the scar in mL.
        scar_g: mass of the scar in g.
        scar_percent_of_lv_mass: scar in % of the myocardium; None where there is no myocardium.
        lv_cavity_ml: volume of the LV cavity in mL.
        segments: [17] AHA segments in their order.
    """

    myocardium_ml: float
    myocardium_g: float
    scar_ml: float
    scar_g: float
    scar_percent_of_lv_mass: float | None
    lv_cavity_ml: float
    segments: tuple[SegmentQuantities, ...]


def slice_heights_mm(
    positions_mm: ArrayLike, thickness_mm: float | None = None
) -> NDArray[np.float64]:
    """Height in mm that each slice stands for, from slice positions [S] along the stack.

    Half the distance to either neighbour; the outer half of an end slice is half the usual
    (median) distance. So a missing slice is shared by its neighbours.

    Args:
        thickness_mm: used for a single slice only.

    Raises:
        StudyError: a single slice of unknown thickness.
    """
    positions = np.asarray(positions_mm, dtype=np.float64)
    if positions.size == 1:
        if thickness_mm is None or not thickness_mm > 0:
            raise StudyError(
                "the study has one slice of unknown thickness, so no volume can be given",
                "Use a whole short-axis stack",
            )
        return np.array([float(thickness_mm)])
    steps = np.abs(np.diff(positions))
    halves = np.concatenate([[np.median(steps)], steps, [np.median(steps)]]) / 2.0
    return np.asarray(halves[:-1] + halves[1:])


def quantify(
    labels: NDArray[np.uint8],
    segments: NDArray[np.uint8],
    pixel_spacing_mm: tuple[float, float],
    heights_mm: NDArray[np.float64],
) -> Quantities:
    """Quantities of one labelled stack.

    Args:
        labels: [S, H, W] values of :class:`~scarseg_runtime.contract.Label`.
        segments: [S, H, W] AHA segment 1–17 of myocardial voxels, else 0.
        pixel_spacing_mm: between rows, between columns.
        heights_mm: [S] from :func:`slice_heights_mm`.
    """
    box = heart_box(labels)
    labels, segments = labels[box], segments[box]
    voxel_ml = np.asarray(heights_mm) * pixel_spacing_mm[0] * pixel_spacing_mm[1] / 1000.0
    scar = labels == Label.SCAR
    wall = scar | (labels == Label.VIABLE_MYOCARDIUM)
    where = np.nonzero(wall)
    volume = voxel_ml[where[0]]
    segment, is_scar = segments[where], scar[where]
    bins = SEGMENT_COUNT + 1
    wall_ml = np.bincount(segment, volume, bins)
    scar_ml = np.bincount(segment[is_scar], volume[is_scar], bins)
    depth = _transmurality(labels, where, segment, is_scar, pixel_spacing_mm)
    total, total_scar = float(wall_ml.sum()), float(scar_ml.sum())
    cavity_ml = float((labels == Label.LV_CAVITY).sum(axis=(1, 2)) @ voxel_ml)
    return Quantities(
        myocardium_ml=total,
        myocardium_g=total * MYOCARDIUM_G_PER_ML,
        scar_ml=total_scar,
        scar_g=total_scar * MYOCARDIUM_G_PER_ML,
        scar_percent_of_lv_mass=100.0 * total_scar / total if total > 0 else None,
        lv_cavity_ml=cavity_ml,
        segments=tuple(
            _segment(number, float(wall_ml[number]), float(scar_ml[number]), float(depth[number]))
            for number in range(1, bins)
        ),
    )


def transmurality_class(share: float) -> TransmuralityClass:
    """Class of a share 0–1 of the wall; upper ends belong to the class, 0 is its own."""
    for end, name in _CLASS_ENDS:
        if share <= end:
            return name
    return _CLASS_ENDS[-1][1]


def _segment(number: int, wall_ml: float, scar_ml: float, depth: float) -> SegmentQuantities:
    seen = wall_ml > 0
    return SegmentQuantities(
        number=number,
        name=SEGMENT_NAMES[number - 1],
        territory=next(name for name, numbers in TERRITORIES.items() if number in numbers),
        myocardium_ml=wall_ml,
        scar_ml=scar_ml,
        burden=scar_ml / wall_ml if seen else None,
        transmurality=depth if seen else None,
        transmurality_class=transmurality_class(depth) if seen else None,
    )


def _transmurality(
    labels: NDArray[np.uint8],
    where: tuple[NDArray[np.intp], ...],
    segment: NDArray[np.uint8],
    is_scar: NDArray[np.bool_],
    pixel_spacing_mm: tuple[float, float],
) -> NDArray[np.float64]:
    """[18] transmurality by segment number (see SegmentQuantities), 0 where there is no scar."""
    y, x = _from_centre(labels, where, pixel_spacing_mm)
    radius = np.maximum(np.hypot(x, y), min(pixel_spacing_mm))
    slices, bins = labels.shape[0], SEGMENT_COUNT + 1
    pixels = np.maximum(np.bincount(where[0], minlength=slices), 1)
    mid_wall = np.bincount(where[0], radius, slices) / pixels
    chords = np.ceil(2 * np.pi * mid_wall / max(pixel_spacing_mm)).astype(np.intp)  # by slice
    turn = np.arctan2(y, x) / (2 * np.pi) % 1.0
    most = int(chords.max(initial=0)) + 1  # a turn may round to 1
    key = (where[0] * most + (turn * chords[where[0]]).astype(np.intp)) * bins + segment
    wall = np.bincount(key, 1.0 / radius, slices * most * bins)
    scar = np.bincount(key[is_scar], 1.0 / radius[is_scar], slices * most * bins)
    hit = np.flatnonzero(scar > 0)
    # Rounding must not carry a wall that is scar all through beyond 1.
    share = np.minimum(scar[hit] / wall[hit], 1.0)
    count = np.bincount(hit % bins, minlength=bins)
    return np.asarray(np.bincount(hit % bins, share, bins) / np.maximum(count, 1))


def _from_centre(
    labels: NDArray[np.uint8],
    where: tuple[NDArray[np.intp], ...],
    pixel_spacing_mm: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offsets in mm (rows, columns) of voxels from the LV centre of their slice."""
    ventricle = np.isin(labels, LEFT_VENTRICLE)
    s, r, c = np.nonzero(ventricle)
    count = np.maximum(np.bincount(s, minlength=labels.shape[0]), 1)
    row = np.bincount(s, r, labels.shape[0]) / count
    column = np.bincount(s, c, labels.shape[0]) / count
    slices, rows, columns = where
    return (
        (rows - row[slices]) * pixel_spacing_mm[0],
        (columns - column[slices]) * pixel_spacing_mm[1],
    )
