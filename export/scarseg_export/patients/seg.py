"""DICOM Segmentation objects as boolean planes in the patient frame.

Plane by plane and not as one regular volume: short-axis stacks drift, and gaps between their slices
differ, which an array with one affine cannot say.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import StudyError
from scarseg_runtime.quantify.quantities import slice_heights_mm

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
SAME_PLANE_MM: Final = 0.1
MAX_VALUES: Final = 2**28
"""Pixels of all frames beyond which an object is no segmentation of a heart."""
MOST_TILT: Final = 0.035
"""Difference of direction cosines between frames of one stack: 2°, as in studies."""
_AGAIN: Final = "Export the mask again, or pass it as NIfTI"


@dataclass(frozen=True, slots=True, eq=False)
class Seg:
    """Planes of one object."""

    segments: list[tuple[tuple[str, ...], NDArray[np.bool_]]]
    """Of each segment its label and codes (``value`` and ``scheme:value``), and [S, H, W]."""
    origins_mm: NDArray[np.float64]
    rows_mm: NDArray[np.float64]
    columns_mm: NDArray[np.float64]
    thickness_mm: float
    """0 where it is not said."""
    instance_uids: frozenset[str]
    study_uid: str | None
    patient_key: str | None

    @property
    def heights_mm(self) -> NDArray[np.float64]:
        """[S] that each plane stands for. Planes in which nothing is drawn may be left out, so that
        none stands for more than a slice."""
        normal = np.cross(self.columns_mm, self.rows_mm)
        along = self.origins_mm @ (normal / np.linalg.norm(normal))
        heights = slice_heights_mm(along, self.thickness_mm or 1.0)
        if len(along) == 1:
            return heights
        closest = float(np.diff(np.sort(along)).min())
        # The gap between slices is smaller than they are thick; a larger one hides some.
        known = self.thickness_mm > 0 and closest > 2 * self.thickness_mm
        return np.minimum(heights, self.thickness_mm if known else closest)


def is_dicom(path: Path) -> bool:
    """Tell whether the file begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_seg(path: Path) -> Seg:
    """Read a binary or fractional segmentation.

    Raises:
        StudyError: the file is no DICOM SEG, damaged, or its frames lie in different orientations.
    """
    with _quiet():
        dataset = _dataset(path)
        try:
            return _seg(dataset)
        except StudyError:
            raise
        except Exception as error:
            raise StudyError("the DICOM SEG of the mask is damaged", _AGAIN) from error


def joined(parts: Sequence[Seg]) -> Seg:
    """Several objects of one study as one: the planes that any of them has, and all segments.

    Raises:
        StudyError: they are of different patients or studies, or do not share a grid in plane.
    """
    first, *others = parts
    if not others:
        return first
    for known in ("patient_key", "study_uid"):
        if len({getattr(part, known) for part in parts} - {None}) > 1:
            raise StudyError(
                "the files of the mask are of different patients or studies",
                "Keep the files of one study in the folder",
            )
    apart = StudyError("the files of the mask do not share a grid", "Save them in one SEG")
    sizes = {part.segments[0][1].shape[1:] for part in parts}
    axes = np.array([(part.rows_mm, part.columns_mm) for part in parts])
    if len(sizes) > 1 or not np.allclose(axes, axes[0], atol=1e-3):
        raise apart
    origins = np.concatenate([part.origins_mm for part in parts])
    normal = np.cross(first.columns_mm, first.rows_mm)
    planes, plane_of = _planes(origins @ (normal / np.linalg.norm(normal)))
    shared = np.stack([origins[plane_of == k][0] for k in range(len(planes))])
    if np.abs(origins - shared[plane_of]).max() > SAME_PLANE_MM:
        raise apart
    ends = np.cumsum([len(part.origins_mm) for part in parts])[:-1]
    segments = []
    for part, own in zip(parts, np.split(plane_of, ends), strict=True):
        for names, mask in part.segments:
            whole = np.zeros((len(planes), *mask.shape[1:]), bool)
            whole[own] = mask
            segments.append((names, whole))
    return replace(
        first, segments=segments, origins_mm=shared,
        instance_uids=first.instance_uids.union(*(part.instance_uids for part in others)),
    )  # fmt: skip


def _dataset(path: Path) -> Dataset:
    from pydicom import dcmread

    try:
        dataset = dcmread(path)
    except OSError as error:
        raise StudyError("the mask cannot be read", "Check that you may read it") from error
    except Exception as error:
        raise StudyError(
            "the mask is neither NIfTI nor DICOM",
            "Export it as NIfTI (.nii.gz) or DICOM SEG",
        ) from error
    if dataset.get("SOPClassUID") != SEGMENTATION:
        raise StudyError(
            "the mask is a DICOM object of another kind than Segmentation",
            "Pass a DICOM SEG or NIfTI",
        )
    return dataset


def _seg(dataset: Dataset) -> Seg:
    if int(dataset.NumberOfFrames) * int(dataset.Rows) * int(dataset.Columns) > MAX_VALUES:
        raise StudyError("the DICOM SEG of the mask is too large", "Pass one of a short-axis stack")
    frames = np.atleast_3d(dataset.pixel_array)
    if frames.shape[-2:] != (dataset.Rows, dataset.Columns):
        frames = frames.reshape(int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns)
    if dataset.SegmentationType == "FRACTIONAL":
        frames = frames >= 0.5 * int(dataset.MaximumFractionalValue)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    groups = [_groups(shared, own) for own in dataset.PerFrameFunctionalGroupsSequence]
    axes = np.array([group["axes"] for group in groups])
    spacing = np.array([group["spacing"] for group in groups])
    middle = axes[np.argmin(np.abs(axes - np.median(axes, axis=0)).max(1))]
    if np.abs(axes - middle).max() > MOST_TILT or np.abs(spacing - spacing[0]).max() > 1e-3:
        raise StudyError("the frames of the DICOM SEG lie on different grids", _AGAIN)
    half_mm = np.multiply(frames.shape[1:], spacing[0]) / 2 - spacing[0] / 2
    # Turned about its own centre until it is parallel to the others, as studies are read.
    positions = np.array([group["position"] for group in groups])
    positions += (axes - middle).reshape(-1, 2, 3).transpose(0, 2, 1) @ half_mm[::-1]
    row, column = middle[:3], middle[3:]
    along = positions @ np.cross(row, column)
    planes, plane_of = _planes(along)
    origins = np.stack([positions[plane_of == k][0] for k in range(len(planes))])
    numbers = [int(item.SegmentNumber) for item in dataset.SegmentSequence]
    masks = {n: np.zeros((len(planes), *frames.shape[1:]), bool) for n in numbers}
    for frame, group, plane in zip(frames, groups, plane_of, strict=True):
        masks[group["segment"]][plane] |= frame > 0
    return Seg(
        [(_names(item), masks[int(item.SegmentNumber)]) for item in dataset.SegmentSequence],
        origins, column * spacing[0, 0], row * spacing[0, 1],
        groups[0]["thickness"],
        frozenset(_references(dataset)), dataset.get("StudyInstanceUID"),
        _key(str(dataset.get("PatientID", ""))),
    )  # fmt: skip


def _groups(shared: Dataset, own: Dataset) -> dict[str, Any]:
    """Place of a frame; each functional group stands in one of both."""

    def item(name: str) -> Dataset:
        return (own if name in own else shared)[name].value[0]

    measures = item("PixelMeasuresSequence")
    return {
        "axes": [float(v) for v in item("PlaneOrientationSequence").ImageOrientationPatient],
        "position": [float(v) for v in item("PlanePositionSequence").ImagePositionPatient],
        "spacing": [float(v) for v in measures.PixelSpacing],
        "thickness": float(measures.get("SliceThickness") or 0.0),
        "segment": int(item("SegmentIdentificationSequence").ReferencedSegmentNumber),
    }


def _planes(along: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Positions of the planes in order, and the plane of every frame."""
    order = np.argsort(along, kind="stable")
    new = np.diff(along[order], prepend=along[order[0]] - 1.0) > SAME_PLANE_MM
    plane = np.empty(len(along), np.intp)
    plane[order] = np.cumsum(new) - 1
    return along[order][new], plane


def _names(segment: Dataset) -> tuple[str, ...]:
    names = [str(segment.get("SegmentLabel", ""))]
    for code in segment.get("SegmentedPropertyTypeCodeSequence", ()):
        value = str(code.get("CodeValue", ""))
        names += [value, f"{code.get('CodingSchemeDesignator', '')}:{value}"]
    return tuple(names)


def _references(dataset: Dataset) -> Iterator[str]:
    for series in dataset.get("ReferencedSeriesSequence", ()):
        for instance in series.get("ReferencedInstanceSequence", ()):
            yield str(instance.get("ReferencedSOPInstanceUID", ""))


def _key(patient_id: str) -> str | None:
    text = patient_id.strip().casefold()
    known = any(character.isalnum() for character in text)
    return hashlib.sha256(text.encode()).hexdigest() if known else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what pydicom says of values, which may be a patient's."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
