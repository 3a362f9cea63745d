"""A voxel lies at one place of the patient in source, SEG and NIfTI.

One pixel of every source image is made the brightest and is called scar. Where it lies in the
patient is then computed from each file by itself, with nothing of this package: the source and
the segmentation by hand from their headers (PS3.3, C.7.6.2.1.1), NIfTI with nibabel's affine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from scarseg_infer.result import ScarResult
from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.seg import write_seg
from scarseg_infer.write.nifti import write_nifti
from scarseg_runtime.contract import Label

TOLERANCE_MM = 0.01
SHAPE = (7, 64, 60)
SPACING_MM = (1.5, 1.5)
BRIGHTEST = 5000  # noise ends at 4095
JITTER_MM = np.array([0.0, 1.0, -1.0, 2.0, 0.0, -2.0, 0.0])[:, None] * LATERAL_WALL
STRAIGHT = {
    "plain": {},
    "reversed": {"step_mm": 9.0 * BASE_TO_APEX},
    "transposed": {"row_direction": -ANTERIOR_WALL, "column_direction": LATERAL_WALL},
    "drifting evenly": {"drift_mm": np.linspace(0, 24, 7)[:, None] * LATERAL_WALL},
    "reversed and drifting evenly": {
        "step_mm": 9.0 * BASE_TO_APEX,
        "drift_mm": np.linspace(0, -24, 7)[:, None] * LATERAL_WALL,
    },
}
UNEVEN = {
    "drifting": {"drift_mm": np.linspace(0, 24, 7)[:, None] * LATERAL_WALL + JITTER_MM},
    "reversed and drifting": {"step_mm": 9.0 * BASE_TO_APEX, "drift_mm": JITTER_MM},
}

Places = dict[str, NDArray[np.float64]]
"""SOP Instance UID of a source image → place of its marked pixel in mm, LPS."""


@pytest.fixture
def files(
    dicom_factory: ModuleType, make_result: Callable[..., ScarResult], tmp_path: Path
) -> Callable[..., tuple[Places, Places, NDArray[np.float64]]]:
    """Writes a study and its results; returns the marked places by source, SEG and NIfTI."""

    def build(geometry: dict[str, Any]) -> tuple[Places, Places, NDArray[np.float64]]:
        pixels = dicom_factory.noise(*SHAPE)
        random = np.random.default_rng(5)
        for plane in pixels:
            plane[random.integers(0, SHAPE[1]), random.integers(0, SHAPE[2])] = BRIGHTEST
        paths = dicom_factory.write(tmp_path / "study", dicom_factory.series(pixels, **geometry))
        result = make_result(read_study(tmp_path / "study"))
        marked = np.where(result.stack.pixels == BRIGHTEST, Label.SCAR, 0).astype(np.uint8)
        result = replace(result, labels=marked)
        write_seg(result, tmp_path / "scar.dcm")
        write_nifti(result, tmp_path / "scar.nii.gz")
        return (
            in_sources(paths),
            in_segmentation(tmp_path / "scar.dcm"),
            in_nifti(tmp_path / "scar.nii.gz"),
        )

    return build


def place(
    position: Any, orientation: Any, spacing: Any, row: int, column: int
) -> NDArray[np.float64]:
    """Centre of a pixel by equation C.7.6.2.1-1 of the standard."""
    position, orientation, spacing = (np.array(v, float) for v in (position, orientation, spacing))
    matrix = np.zeros((4, 4))
    matrix[:3, 0] = orientation[:3] * spacing[1]
    matrix[:3, 1] = orientation[3:] * spacing[0]
    matrix[:3, 3] = position
    matrix[3, 3] = 1
    return (matrix @ [column, row, 0, 1])[:3]


def the_one(mask: NDArray[np.bool_]) -> list[int]:
    """Index of the only True of a mask."""
    found = np.argwhere(mask)
    assert len(found) == 1
    return list(found[0])


def in_sources(paths: list[Path]) -> Places:
    found = {}
    for path in paths:
        image = pydicom.dcmread(path)
        pixel = the_one(image.pixel_array == BRIGHTEST)
        found[str(image.SOPInstanceUID)] = place(
            image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing, *pixel
        )
    return found


def in_segmentation(path: Path) -> Places:
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    found = {}
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber != 1:
            assert not frame.any()
            continue
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found[str(source.ReferencedSOPInstanceUID)] = place(
            group.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
            *the_one(frame == 1),
        )
    return found


def in_nifti(path: Path) -> NDArray[np.float64]:
    """[S, 3] marked places in the order of the file, turned from RAS to LPS."""
    image = nibabel.load(path)
    voxels = np.argwhere(np.asarray(image.dataobj) == Label.SCAR)
    voxels = voxels[np.argsort(voxels[:, 2])]
    return nibabel.affines.apply_affine(image.affine, voxels) * [-1, -1, 1]


def distances(places: NDArray[np.float64], sources: Places) -> NDArray[np.float64]:
    """[S] mm from each place to the source's: of both orders of slices that which fits."""
    truth = np.array(list(sources.values()))
    return min(
        (np.linalg.norm(places - order, axis=1) for order in (truth, truth[::-1])),
        key=lambda found: found.max(),
    )


@pytest.mark.parametrize("geometry", [*STRAIGHT, *UNEVEN])
def test_segmentation(files: Callable, geometry: str) -> None:
    sources, segmentation, _ = files({**STRAIGHT, **UNEVEN}[geometry])
    assert segmentation.keys() == sources.keys()
    for uid, truth in sources.items():
        assert np.linalg.norm(segmentation[uid] - truth) < TOLERANCE_MM


@pytest.mark.parametrize("geometry", [*STRAIGHT, *UNEVEN])
def test_nifti(files: Callable, geometry: str) -> None:
    """Exactly where slices lie straight above each other; else, as its format has one straight
    grid, each slice within half a pixel along rows and columns."""
    sources, _, nifti = files({**STRAIGHT, **UNEVEN}[geometry])
    assert len(nifti) == SHAPE[0]
    drifts = geometry in UNEVEN or "drifting" in geometry
    limit = np.hypot(*SPACING_MM) / 2 if drifts else 0.0
    assert distances(nifti, sources).max() < limit + TOLERANCE_MM
