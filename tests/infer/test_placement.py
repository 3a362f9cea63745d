"""DICOM headers that say two things of where an image lies."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom.uid import generate_uid

from scarseg_infer.study.read import read_study


def warned(folder: Path, what: str) -> bool:
    return any(what in warning for warning in read_study(folder).warnings)


# Rows of the factory's slices run to the lateral wall (left and posterior), columns down.
@pytest.mark.parametrize(
    ("said", "known"),
    [(["L", "F"], True), (["LP", "F"], True), (["R", "F"], False), (["L", "H"], False),
     (["RA", "HP"], False), (["X", "?"], True), (["L"], True)],
)  # fmt: skip
def test_patient_orientation(
    tmp_path: Path, dicom_factory: ModuleType, said: list[str], known: bool
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(PatientOrientation=said))
    assert read_study(tmp_path).orientation_known == known
    assert warned(tmp_path, "PatientOrientation") != known


@pytest.mark.parametrize(
    ("places", "known"),
    [([1, 2, 3, 4, 5, 6], True), ([60, 50, 40, 30, 20, 10], True), ([1, 3, 2, 4, 5, 6], False),
     ([1, 1, 1, 1, 1, 1], True)],
)  # fmt: skip
def test_slice_location(
    tmp_path: Path, dicom_factory: ModuleType, places: list[float], known: bool
) -> None:
    datasets = dicom_factory.series()
    for dataset, place in zip(datasets, places, strict=True):
        dataset.SliceLocation = place
    dicom_factory.write(tmp_path, datasets)
    assert read_study(tmp_path).orientation_known == known
    assert warned(tmp_path, "SliceLocation") != known


@pytest.mark.parametrize(
    ("said", "odd"), [(10.0, False), (2.0, False), (-10.0, False), (5.0, True), (20.0, True)]
)
def test_spacing_between_slices(
    tmp_path: Path, dicom_factory: ModuleType, said: float, odd: bool
) -> None:
    """Slices of 8 mm every 10 mm: 2 is the gap between them, as some vendors write."""
    dicom_factory.write(tmp_path, dicom_factory.series(SpacingBetweenSlices=said))
    assert warned(tmp_path, "SpacingBetweenSlices") == odd
    assert read_study(tmp_path).orientation_known


@pytest.mark.parametrize(("ratio", "odd"), [([6, 5], False), ([1, 1], True), ([5, 6], True)])
def test_aspect_ratio(
    tmp_path: Path, dicom_factory: ModuleType, ratio: list[int], odd: bool
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(PixelAspectRatio=ratio))
    assert warned(tmp_path, "PixelAspectRatio") == odd


def test_several_frames_of_reference(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets: list[Any] = dicom_factory.series()
    for dataset in datasets[3:]:
        dataset.FrameOfReferenceUID = generate_uid()
    dicom_factory.write(tmp_path, datasets)
    assert warned(tmp_path, "4 frames of reference")
