"""Pixel encodings of DICOM studies, and when they were taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from scarseg_infer.orientation import ANTERIOR_WALL, LATERAL_WALL
from scarseg_infer.study_reader import read_study

# --- pixel encodings ------------------------------------------------------------------------

Refusal = Callable[[Path], str]


def test_rescale_differs_from_slice_to_slice(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for number, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = number + 0.5, -100
    dicom_factory.write(tmp_path, datasets)
    expected = pixels * (np.arange(6) + 0.5)[:, None, None] - 100
    np.testing.assert_allclose(read_study(tmp_path).pixels, expected)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int8])
def test_bit_depths(tmp_path: Path, dicom_factory: ModuleType, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    pixels = np.linspace(limits.min, limits.max, 6 * 20 * 16).astype(dtype).reshape(6, 20, 16)
    dicom_factory.write(tmp_path, dicom_factory.series(pixels))
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels.astype(np.float32))


def test_signed_12_bits_with_clear_high_bits(tmp_path: Path, dicom_factory: ModuleType) -> None:
    values = dicom_factory.noise() - 2048
    datasets = dicom_factory.series((values & 0x0FFF).astype(np.int16))
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, values)


def test_rle_and_implicit_vr(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for dataset in datasets[:3]:
        dataset.compress(RLELossless, generate_instance_uid=False)
    for dataset in datasets[3:]:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_without_preamble(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    for number, dataset in enumerate(dicom_factory.series(pixels)):
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(
            tmp_path / f"{number}", implicit_vr=True, little_endian=True, enforce_file_format=False
        )
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


@pytest.mark.parametrize(
    "name",
    ["MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "MR_small_jpeg_ls_lossless"],
)
def test_encodings_of_real_scanners_agree(tmp_path: Path, name: str) -> None:
    found = []
    for source in ("MR_small", name):
        dataset = pydicom.dcmread(str(get_testdata_file(f"{source}.dcm", download=False)))
        # A slice of a spine: turned into a short axis, since no other view is accepted.
        dataset.ImageOrientationPatient = [*LATERAL_WALL.round(6), *(-ANTERIOR_WALL).round(6)]
        folder = tmp_path / source
        folder.mkdir()
        dataset.save_as(folder / "x")
        found.append(read_study(folder).pixels)
    np.testing.assert_array_equal(found[0], found[1])


def test_missing_decoder_is_named(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dicom_factory.write(tmp_path, datasets)
    message = refusal(tmp_path)
    if pydicom.pixels.get_decoder(JPEGLosslessSV1).is_available:
        assert "file 1 of 6" in message  # with a decoder it is the pixels that are bad
    else:
        assert "1.2.840.10008.1.2.4.70" in message
        assert "pip install python-gdcm" in message


# --- dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"AcquisitionDateTime": "20240301083000.5+0100"}, datetime(2024, 3, 1, 8, 30, 0, 500_000)),
        ({"AcquisitionDateTime": "202403"}, datetime(2024, 2, 29, 10, 45, 0, 250_000)),
        ({"AcquisitionTime": "10"}, datetime(2024, 2, 29, 10)),
        ({"AcquisitionDate": "2024.02.28"}, datetime(2024, 2, 28, 10, 45, 0, 250_000)),
        ({"AcquisitionDate": None}, datetime(2024, 2, 29, 10, 15)),
        ({"AcquisitionDate": "20241301"}, datetime(2024, 2, 29, 10, 15)),
        ({"AcquisitionTime": "2561"}, datetime(2024, 2, 29, 10, 15)),
    ],
)
def test_acquisition_time(
    tmp_path: Path, dicom_factory: ModuleType, elements: dict[str, Any], expected: datetime
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own, while writing what is invalid
        dicom_factory.write(tmp_path, dicom_factory.series(**elements))
    stack = read_study(tmp_path)
    assert stack.acquired == expected
    assert stack.warnings == ()


def test_earliest_slice_counts(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    for number, dataset in enumerate(datasets):
        dataset.AcquisitionTime = f"11{50 - 5 * number:02d}00"
    dicom_factory.write(tmp_path, datasets)
    assert read_study(tmp_path).acquired == datetime(2024, 2, 29, 11, 25)


@pytest.mark.parametrize("date", ["20120000", "19000101", "yesterday", "20230229"])
def test_dates_that_are_none(tmp_path: Path, dicom_factory: ModuleType, date: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionDate=date, StudyDate=date))
    stack = read_study(tmp_path)
    assert stack.acquired is None
    assert any("not dates" in warning for warning in stack.warnings)
    assert not any(date in warning for warning in stack.warnings)


def test_date_without_time_of_day(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionTime=None, StudyTime=None))
    stack = read_study(tmp_path)
    assert stack.acquired == datetime(2024, 2, 29)
    assert any("no time of day" in warning for warning in stack.warnings)


def test_no_date_at_all_is_unknown(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionDate=None, StudyDate=None))
    stack = read_study(tmp_path)
    assert stack.acquired is None
    assert stack.warnings == ()
