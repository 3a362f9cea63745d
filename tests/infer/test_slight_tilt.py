"""Slices that lean a little against the others are one stack with them, and said to."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import FileDataset, dcmread
from pydicom.uid import generate_uid

from scarseg_infer.study.dicom.read import read_dicom
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.dicom.sources import slice_places
from scarseg_runtime.errors import StudyError

SHAPE = (6, 160, 140)
Study = Callable[..., list[FileDataset]]
Read = Callable[[list[FileDataset]], LgeStack]


def turned(about: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """[3, 3] rotation about a unit vector."""
    x, y, z = about
    angle = np.radians(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def tilt(dataset: FileDataset, degrees: float, axis: str = "column") -> None:
    """Turn a slice about its own centre, as a new plan or a patient who moved does."""
    right, down = np.reshape(np.array(dataset.ImageOrientationPatient, float), (2, 3))
    about = {"row": right, "column": down, "normal": np.cross(right, down)}[axis]
    matrix = turned(about, degrees)
    row_mm, column_mm = map(float, dataset.PixelSpacing)
    half = right * column_mm * (dataset.Columns - 1) / 2 + down * row_mm * (dataset.Rows - 1) / 2
    origin = np.array(dataset.ImagePositionPatient, float) + half - matrix @ half
    dataset.ImagePositionPatient = [f"{x:.9f}" for x in origin]
    dataset.ImageOrientationPatient = [f"{x:.12f}" for x in (*(matrix @ right), *(matrix @ down))]


@pytest.fixture
def study(dicom_factory: ModuleType) -> Study:
    return lambda **elements: dicom_factory.series(dicom_factory.noise(*SHAPE), **elements)


@pytest.fixture
def read(dicom_factory: ModuleType) -> Read:
    encoded, files = dicom_factory.encoded, dicom_factory.Files
    return lambda datasets: read_dicom(files([encoded(dataset) for dataset in datasets]))


@pytest.mark.parametrize("axis", ["row", "column", "normal"])
@pytest.mark.parametrize("degrees", [0.3, 0.5, 1.0, 1.9])
@pytest.mark.parametrize("which", [0, 3])
def test_a_slice_that_leans_a_little_is_read(
    study: Study, read: Read, axis: str, degrees: float, which: int
) -> None:
    datasets = study()
    tilt(datasets[which], degrees, axis)
    stack = read(datasets)
    assert len(stack.pixels) == 6
    # Turned about its centre, not about its corner: steps stay even.
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), 10.0, atol=0.01)
    straight = read(study())
    np.testing.assert_allclose(stack.origins_mm, straight.origins_mm, atol=1e-4)
    (warning,) = stack.warnings
    number = which + 1
    assert f"Slice {number} is tilted by up to {degrees:.1f}° against the others" in warning
    assert f"{50 * np.sin(np.radians(degrees)):.1f} mm off" in warning


def test_the_order_of_files_is_no_matter(study: Study, read: Read) -> None:
    datasets = study()
    for index, degrees in enumerate((0.0, 0.4, 0.8, 0.0, 1.2, 0.0)):
        tilt(datasets[index], degrees)
    stacks = []
    for seed in range(4):
        mixed = list(datasets)
        random.Random(seed).shuffle(mixed)
        stacks.append(read(mixed))
    for stack in stacks:
        assert len(stack.pixels) == 6
        assert "Slices 2, 3 and 5 are tilted by up to 1.2°" in stack.warnings[0]
        np.testing.assert_array_equal(stack.origins_mm, stacks[0].origins_mm)
        np.testing.assert_array_equal(stack.row_direction, stacks[0].row_direction)


def test_a_series_for_every_slice(study: Study, read: Read) -> None:
    datasets = study()
    for dataset in datasets:
        dataset.SeriesInstanceUID = generate_uid()
    tilt(datasets[2], 0.5)
    assert len(read(datasets).pixels) == 6


def test_a_slice_of_another_view_is_left_out(study: Study, read: Read) -> None:
    datasets = study()
    tilt(datasets[2], 4.0)
    stack = read(datasets)
    assert len(stack.pixels) == 5
    assert any("turned, tilted" in warning for warning in stack.warnings)


def test_a_stack_planned_anew_as_a_whole_is_not_mixed_with_the_first(
    study: Study, read: Read
) -> None:
    first, second = study(), study()
    for dataset in second:
        dataset.SeriesInstanceUID = first[0].SeriesInstanceUID
        tilt(dataset, 0.5)
    with pytest.raises(StudyError, match=r"2 stacks \(of 6, 6 slices\)"):
        read([*first, *second])


def test_a_slice_taken_again_with_a_tilt_takes_the_place_of_the_first(
    study: Study, read: Read
) -> None:
    datasets = study()
    again = study(AcquisitionTime="110000", SeriesInstanceUID=datasets[0].SeriesInstanceUID)[3]
    tilt(again, 0.5)
    stack = read([*datasets, again])
    assert len(stack.pixels) == 6
    assert any("Slice 4 was taken more than once" in warning for warning in stack.warnings)
    assert any("tilted by up to 0.5°" in warning for warning in stack.warnings)


@pytest.mark.parametrize("time", [None, "104500.250"])
def test_a_repeat_that_no_time_tells_from_the_first_is_left_out(
    study: Study, read: Read, time: str | None
) -> None:
    datasets = study()
    again = study(AcquisitionTime=time, SeriesInstanceUID=datasets[0].SeriesInstanceUID)[3]
    tilt(again, 0.5)
    for dataset in datasets if time is None else []:
        del dataset.AcquisitionTime
    stack = read([*datasets, again])
    assert len(stack.pixels) == 6
    assert any("1 image of the LGE series, turned, tilted" in warning for warning in stack.warnings)


def test_rounded_axes_are_no_tilt(study: Study, read: Read) -> None:
    datasets = study()
    for dataset in datasets[::2]:
        rounded = [f"{float(x):.3f}" for x in dataset.ImageOrientationPatient]
        dataset.ImageOrientationPatient = rounded
    assert read(datasets).warnings == ()


def test_seg_keeps_the_place_of_every_slice(
    study: Study,
    dicom_factory: ModuleType,
    verify_dicom: Callable[[Path], object],
    tmp_path: Path,
) -> None:
    from scarseg_infer import Segmenter

    datasets = study()
    tilt(datasets[3], 0.9)
    dicom_factory.write(tmp_path / "study", datasets)
    result = Segmenter.from_model().run(tmp_path / "study")
    result.write(tmp_path / "out", only=("seg", "sr"))
    for name in ("scar.dcm", "report-sr.dcm"):
        verify_dicom(tmp_path / "out" / name)
    seg = dcmread(tmp_path / "out" / "scar.dcm")
    assert "DimensionOrganizationType" not in seg
    assert "PlaneOrientationSequence" not in seg.SharedFunctionalGroupsSequence[0]
    for place, dataset in enumerate(datasets):
        frame = seg.PerFrameFunctionalGroupsSequence[place]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        axes = frame.PlaneOrientationSequence[0].ImageOrientationPatient
        np.testing.assert_allclose(position, dataset.ImagePositionPatient, atol=1e-3)
        np.testing.assert_allclose(axes, dataset.ImageOrientationPatient, atol=1e-6)


def test_frames_of_one_object_that_lean_a_little(
    study: Study, read: Read, enhanced_factory: ModuleType
) -> None:
    datasets = study()
    tilt(datasets[3], 0.5)
    stack = read([enhanced_factory.enhanced(datasets, shared=False)])
    assert len(stack.pixels) == 6
    np.testing.assert_allclose(stack.origins_mm, read(datasets).origins_mm, atol=1e-6)
    assert any("Slice 4 is tilted by up to 0.5°" in warning for warning in stack.warnings)
    places = slice_places(stack)
    np.testing.assert_allclose(places[3][1], datasets[3].ImageOrientationPatient, atol=1e-6)
    np.testing.assert_allclose(places[3][0], datasets[3].ImagePositionPatient, atol=1e-6)
