"""Attributes of DICOM images that say of their place what ImagePositionPatient and
ImageOrientationPatient should say too: where they do not, one of them is of another image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from scarseg_infer.study.dicom.frames import PER_FRAME, SHARED, UNASSIGNED
from scarseg_infer.study.dicom.header import SliceHeader
from scarseg_infer.study.dicom.parse import is_no_number, items, number, numbers, text
from scarseg_infer.study.dicom.series import SliceGroup, plane_of
from scarseg_infer.study.geometry.slice_plane import (
    MISSING_SLICE_STEP,
    SAME_POSITION_MM,
    usual_step_mm,
)

# Letters of PatientOrientation (PS3.3, C.7.6.1.1.1) as directions in the patient frame.
_LETTERS: Final = {
    "L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "H": (0, 0, 1),
    "F": (0, 0, -1),
}  # fmt: skip
_OPPOSITE: Final = -0.17
"""Cosine from which on a direction points away from a letter: 10° beyond a right angle."""
_USED_IF_NUMBERS: Final = (
    "InversionTime", "EchoTime", "TriggerTime", "SliceThickness", "SliceLocation",
    "SpacingBetweenSlices", "CardiacNumberOfImages",
)  # fmt: skip
_SAME_STEP: Final = 0.1
"""Relative difference of steps that still are the same."""
_SAME_AXIS: Final = 0.02
"""Of the parts of unit vectors: one degree, and more than what rounding does to them."""
_SAME_SPACING: Final = 0.01
"""Relative difference of pixel sizes that still is rounding."""


def contradictions(
    datasets: Sequence[Dataset], images: Sequence[Dataset], group: SliceGroup
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Contradictions of headers to the geometry that is used.

    Args:
        datasets: [S] headers, of a frame as if it were a classic image.
        images: [S] the object that each slice comes from.
        group: the stack.

    Returns:
        What makes doubtful how the heart lies, and what else there is to warn of.
    """
    doubtful = []
    if any(_turned(dataset, group) for dataset in datasets):
        doubtful.append(
            "PatientOrientation contradicts ImageOrientationPatient: which wall is which is taken "
            "as unknown."
        )
    odd = {
        keyword
        for image, header in zip(images, group.slices, strict=True)
        if header.frame is not None
        for keyword in _said_otherwise(image, header)
    }
    if odd:
        doubtful.append(
            f"{' and '.join(sorted(odd))} of the enhanced MR object stands there twice with "
            "different values: how the heart lies is taken as unknown."
        )
    if _reordered(datasets):
        doubtful.append(
            "SliceLocation orders the slices otherwise than ImagePositionPatient, which was used: "
            "how the heart lies is taken as unknown."
        )
    more = (
        *_frames(group), *_steps(datasets, group), *_aspect(datasets, group), *_numbered(datasets),
    )  # fmt: skip
    return tuple(doubtful), (*more, *_unread(datasets))


def _unread(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """Attributes that are used where they are numbers, and are none: as if they were missing."""
    odd = [
        keyword
        for keyword in _USED_IF_NUMBERS
        if any(is_no_number(dataset, keyword) for dataset in datasets)
    ]
    if not odd:
        return ()
    return (
        f"{' and '.join(odd)} of the images cannot be read as a number (such as one with a decimal "
        "comma) and did not count.",
    )


def _turned(dataset: Dataset, group: SliceGroup) -> bool:
    """True where PatientOrientation points away from where rows and columns go."""
    said = text(dataset, "PatientOrientation").upper().split("\\")
    plane = plane_of(group.slices[0])
    if len(said) != 2:
        return False
    return any(
        float(np.dot(_LETTERS[letter], direction)) < _OPPOSITE
        for letters, direction in zip(
            said, (plane.row_direction, plane.column_direction), strict=True
        )
        for letter in letters.strip()
        if letter in _LETTERS
    )


def _said_otherwise(image: Dataset, header: SliceHeader) -> set[str]:
    """Attributes of place that say something else than what is used for a frame, in its groups,
    in those of all frames, or outside of them."""
    plane = plane_of(header)
    frames = items(image, PER_FRAME)
    groups = [*items(image, SHARED), frames[(header.frame or 1) - 1]]
    found = set()
    axes = (*plane.row_direction, *plane.column_direction)
    for said in _values(groups, "PlaneOrientationSequence", "ImageOrientationPatient", 6, image):
        if not np.allclose(said, axes, rtol=0.0, atol=_SAME_AXIS):
            found.add("ImageOrientationPatient")
    for said in _values(groups, "PixelMeasuresSequence", "PixelSpacing", 2, image):
        if not np.allclose(said, plane.pixel_spacing_mm, rtol=_SAME_SPACING, atol=0.0):
            found.add("PixelSpacing")
    place = "PlanePositionSequence", "ImagePositionPatient", 3
    for said in _values(groups, *place):
        if float(np.linalg.norm(np.subtract(said, plane.origin_mm))) > SAME_POSITION_MM:
            found.add("ImagePositionPatient")
    # Outside of the groups stands the place of one of the frames.
    said_once = numbers(image, "ImagePositionPatient", 3)
    if said_once and not any(
        float(np.linalg.norm(np.subtract(one, said_once))) <= SAME_POSITION_MM
        for one in _values(frames, *place)
    ):
        found.add("ImagePositionPatient")
    return found


def _values(
    groups: Sequence[Dataset], sequence: str, keyword: str, count: int, *others: Dataset
) -> list[tuple[float, ...]]:
    """All values of an attribute in functional groups, also those a conversion has left over, and
    in ``others``."""
    names = (sequence, *UNASSIGNED)
    inside = [item for group in groups for name in names for item in items(group, name)]
    found = [numbers(item, keyword, count) for item in (*inside, *others)]
    return [value for value in found if value is not None]


def _reordered(datasets: Sequence[Dataset]) -> bool:
    """True where SliceLocation of slices in order neither rises nor falls; its sign and zero are
    the vendor's own (PS3.3, C.7.6.2.1.2)."""
    places = [number(dataset, "SliceLocation") for dataset in datasets]
    known = [place for place in places if place is not None]
    if len(known) < len(places) or len(set(known)) < len(known):
        return False
    steps = np.diff(known)
    return bool((steps > 0).any() and (steps < 0).any())


def _numbered(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """InstanceNumber that counts most slices one by one and some not: these may have the positions
    of each other. Numbers of slices that were taken in turns, or in two parts, say nothing."""
    numbers = [number(dataset, "InstanceNumber") for dataset in datasets]
    known = np.array([value for value in numbers if value is not None])
    if len(known) < len(numbers) or len(np.unique(known)) < len(known) or not known.size:
        return ()
    steps = np.diff(known)
    leaps = int((np.abs(steps) > 1).sum())
    if np.ptp(known) != len(known) - 1 or leaps < 2 or 2 * leaps > len(steps):
        return ()
    return (
        "InstanceNumber counts some slices in another order than their positions, which were used: "
        "check in the pictures that the heart narrows evenly from base to apex.",
    )


def _frames(group: SliceGroup) -> tuple[str, ...]:
    count = len({header.frame_uid for header in group.slices if header.frame_uid})
    if count < 2:
        return ()
    return (
        f"The slices have {count} frames of reference (FrameOfReferenceUID): where they lie in "
        "relation to each other is not known; volumes use the positions as they stand.",
    )


def _steps(datasets: Sequence[Dataset], group: SliceGroup) -> tuple[str, ...]:
    """SpacingBetweenSlices against positions: it is the distance of centres, but some write the
    gap between slices."""
    said = {number(dataset, "SpacingBetweenSlices") for dataset in datasets} - {None}
    positions: NDArray[np.float64] = group.origins_mm @ group.plane.normal
    if len(said) != 1 or len(positions) < 2:
        return ()
    claimed, usual = abs(float(said.pop() or 0.0)), usual_step_mm(positions)
    if claimed == 0:
        return ()
    gap = claimed + (group.slices[0].slice_thickness_mm or 0.0)
    # A step with room for a slice has its own warning.
    steps = np.diff(positions)
    usual = float(np.median(steps[steps < MISSING_SLICE_STEP * usual]))
    if any(abs(step - usual) <= _SAME_STEP * usual for step in (claimed, gap)):
        return ()
    return (
        f"SpacingBetweenSlices says {claimed:.1f} mm, the positions of the slices {usual:.1f} mm: "
        "volumes use the positions.",
    )


def _aspect(datasets: Sequence[Dataset], group: SliceGroup) -> tuple[str, ...]:
    """PixelAspectRatio (rows : columns) against PixelSpacing, beside which it must not stand."""
    ratio = numbers(datasets[0], "PixelAspectRatio", 2)
    rows_mm, columns_mm = plane_of(group.slices[0]).pixel_spacing_mm
    if ratio is None or min(ratio) <= 0:
        return ()
    if abs(ratio[0] / ratio[1] - rows_mm / columns_mm) <= _SAME_STEP * rows_mm / columns_mm:
        return ()
    return (
        "PixelAspectRatio contradicts PixelSpacing, which was used: check that the heart is not "
        "stretched in the pictures.",
    )
