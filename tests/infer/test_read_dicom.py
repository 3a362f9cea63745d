"""Reading DICOM studies: what is accepted and with which geometry."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom.uid import (
    generate_uid,
)

from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, LATERAL_WALL
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack

# --- what is read ---------------------------------------------------------------------------

PITCH_MM = 10.0
Refusal = Callable[[Path], str]


def test_reads_pixels_geometry_and_time(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path, dicom_factory.series(pixels))
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.pixels.dtype == np.float32
    assert stack.pixel_spacing_mm == dicom_factory.SPACING_MM
    assert stack.slice_thickness_mm == 8.0
    assert stack.source == "dicom"
    assert stack.orientation_known
    assert stack.acquired == datetime(2024, 2, 29, 10, 45, 0, 250_000)
    assert stack.warnings == ()
    np.testing.assert_allclose(stack.row_direction, LATERAL_WALL, atol=1e-8)
    np.testing.assert_allclose(stack.column_direction, -ANTERIOR_WALL, atol=1e-8)
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), PITCH_MM, atol=1e-6)


def by_place(stack: LgeStack) -> dict[tuple[int, ...], float]:
    """Every voxel value by its place in the patient, to a hundredth of a millimetre."""
    _, rows, columns = stack.pixels.shape
    along_row = np.arange(columns)[:, None] * stack.pixel_spacing_mm[1] * stack.row_direction
    along_column = np.arange(rows)[:, None] * stack.pixel_spacing_mm[0] * stack.column_direction
    places = (
        stack.origins_mm[:, None, None] + along_column[None, :, None] + along_row[None, None, :]
    )
    keys = np.round(places * 100).astype(int).reshape(-1, 3)
    return dict(zip(map(tuple, keys.tolist()), stack.pixels.ravel().tolist(), strict=True))


def test_slice_order_in_the_folder_does_not_matter(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series()
    dicom_factory.write(tmp_path / "a", datasets)
    dicom_factory.write(tmp_path / "b", [datasets[i] for i in (3, 0, 5, 1, 4, 2)])
    one, other = read_study(tmp_path / "a"), read_study(tmp_path / "b")
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_array_equal(one.origins_mm, other.origins_mm)


def test_reversed_stack_keeps_every_voxel_in_its_place(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path / "a", dicom_factory.series(pixels))
    # The same voxels stored with the columns in the opposite order: the normal turns around.
    width_mm = (pixels.shape[2] - 1) * dicom_factory.SPACING_MM[1]
    mirrored = dicom_factory.series(
        pixels[:, :, ::-1],
        row_direction=-LATERAL_WALL,
        first_mm=np.array([-40.0, 30.0, 12.5]) + width_mm * LATERAL_WALL,
    )
    dicom_factory.write(tmp_path / "b", mirrored)
    one, other = read_study(tmp_path / "a"), read_study(tmp_path / "b")
    assert by_place(one) == by_place(other)
    assert (np.diff(other.slice_positions_mm) > 0).all()
    np.testing.assert_allclose(one.normal, -other.normal, atol=1e-8)


def test_origins_that_drift_in_plane_are_kept(tmp_path: Path, dicom_factory: ModuleType) -> None:
    drift = np.arange(6)[:, None] * 4.8 * LATERAL_WALL  # 24 mm over the stack, as seen for real
    dicom_factory.write(tmp_path, dicom_factory.series(drift_mm=drift))
    stack = read_study(tmp_path)
    along_row = stack.origins_mm @ LATERAL_WALL
    np.testing.assert_allclose(along_row - along_row[0], np.arange(6) * 4.8, atol=1e-6)
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), PITCH_MM, atol=1e-6)
    assert stack.warnings == ()


def test_datasets_follow_the_slices(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series()[::-1])
    stack = read_study(tmp_path)
    for dataset, image, origin in zip(stack.datasets, stack.pixels, stack.origins_mm, strict=True):
        np.testing.assert_array_equal(dataset.pixel_array, image)
        np.testing.assert_allclose([float(x) for x in dataset.ImagePositionPatient], origin)


def test_every_slice_in_a_series_of_its_own(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for number, dataset in enumerate(datasets):
        dataset.SeriesInstanceUID = generate_uid()
        dataset.SeriesNumber = 20 + number
        dataset.InstanceNumber = 1
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_stack_is_found_among_cine_and_localiser(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path / "lge", dicom_factory.series(pixels))
    dicom_factory.write(tmp_path / "cine", dicom_factory.cine())
    for number in range(4):  # a cine whose slices have a series each
        one = dicom_factory.cine(slices=1, SeriesNumber=30 + number)
        for dataset in one:
            dataset.ImagePositionPatient = [0.0, 0.0, 8.0 * number]
        dicom_factory.write(tmp_path / f"cine{number}", one)
    transversal = dicom_factory.series(
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        step_mm=np.array([0, 0, 10.0]),
        SeriesDescription="localizer",
        ImageType=["ORIGINAL", "PRIMARY", "M", "NORM"],
    )
    dicom_factory.write(tmp_path / "loc", transversal)
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.warnings == ("46 images of 6 other series were left out.",)


def test_one_slice_is_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series()[:1])
    stack = read_study(tmp_path)
    assert stack.pixels.shape[0] == 1
    assert stack.slice_thickness_mm == 8.0
    assert any("single slice" in warning for warning in stack.warnings)


def test_two_slices_are_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series()[:2])
    assert any("only 2 slices" in warning for warning in read_study(tmp_path).warnings)


def test_one_slice_without_thickness_is_refused(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(SliceThickness=None)[:1])
    assert "no usable SliceThickness" in refusal(tmp_path)


def test_unmarked_stack_is_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    unmarked = {"InversionTime": 0, "SeriesDescription": "sax", "ImageType": ["ORIGINAL"]}
    dicom_factory.write(tmp_path, dicom_factory.series(**unmarked))
    assert any("marks it as LGE" in warning for warning in read_study(tmp_path).warnings)


# --- uneven stacks --------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
def test_missing_slice_is_reported_and_positions_kept(
    tmp_path: Path, dicom_factory: ModuleType, gone: int
) -> None:
    datasets = dicom_factory.series()
    del datasets[gone]
    dicom_factory.write(tmp_path, datasets)
    stack = read_study(tmp_path)
    steps = np.diff(stack.slice_positions_mm)
    np.testing.assert_allclose(steps[gone - 1], 20.0, atol=1e-6)
    (warning,) = stack.warnings
    assert f"between slices {gone} and {gone + 1} (counted from the apex)" in warning
    assert "20.0 mm where 10.0 mm is usual" in warning


def test_missing_slice_of_three_steps(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    dicom_factory.write(tmp_path, [datasets[i] for i in (0, 1, 3)])
    assert "between slices 2 and 3" in read_study(tmp_path).warnings[0]


# --- secrets --------------------------------------------------------------------------------


def test_nothing_of_the_header_is_logged(
    tmp_path: Path,
    dicom_factory: ModuleType,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        secret = "SECRET" * 20  # too long for its VR: pydicom would quote it
        dicom_factory.write(
            tmp_path, dicom_factory.series(PatientID=secret, StudyInstanceUID="SECRET.1")
        )
    caplog.clear()
    capfd.readouterr()
    levels = logging.getLogger("pydicom").level
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        read_study(tmp_path)
    assert not caught
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pydicom").level == levels
