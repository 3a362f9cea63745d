"""Pixel encodings of DICOM studies, and when they were taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from scarseg_infer.study.read import read_study

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


def test_encodings_mixed_in_one_series(tmp_path: Path, dicom_factory: ModuleType) -> None:
    """Implicit, explicit and big-endian files of one series, 16-bit words swapped as a whole."""
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for dataset in datasets[:2]:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dicom_factory.write(tmp_path, datasets[:4])
    for number, dataset in enumerate(datasets[4:]):
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = pixels[4 + number].astype(">i2").tobytes()
        pydicom.dcmwrite(
            tmp_path / f"big{number}", dataset, implicit_vr=False, little_endian=False,
            force_encoding=True,
        )  # fmt: skip
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_unsigned_12_bits_under_an_overlay(tmp_path: Path, dicom_factory: ModuleType) -> None:
    """Bits above BitsStored, where old files keep overlays, are no part of the value."""
    values = dicom_factory.noise()
    datasets = dicom_factory.series((values.astype(np.uint16) | 0x8000).astype(np.uint16))
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, values)


def test_monochrome1_is_turned_around(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(
        tmp_path, dicom_factory.series(4095 - pixels, PhotometricInterpretation="MONOCHROME1")
    )
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels - 4095.0)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("value", "limit"), [(-32768, None), (-32768, -30000), (-30000, -32768)])
def test_padding_is_as_dark_as_the_darkest_pixel(
    tmp_path: Path, dicom_factory: ModuleType, photometric: str, value: int, limit: int | None
) -> None:
    pixels = dicom_factory.noise()
    padded = pixels.copy()
    padded[:, :, :3] = value
    if limit is not None:
        padded[:, :2] = limit
    real = (padded >= 0) & (np.arange(6) > 0)[:, None, None]
    padded[0] = value  # nothing but padding: left as it is
    elements = {"PixelPaddingValue": value, "PixelPaddingRangeLimit": limit}
    dicom_factory.write(
        tmp_path,
        dicom_factory.series(
            padded, RescaleSlope=2, RescaleIntercept=5, PhotometricInterpretation=photometric,
            **elements,
        ),
    )  # fmt: skip
    read = read_study(tmp_path).pixels
    sign = -1 if photometric == "MONOCHROME1" else 1
    np.testing.assert_array_equal(read[real], sign * (pixels[real] * 2.0 + 5))
    for image, kept in zip(read[1:], real[1:], strict=True):
        assert (image[~kept] == image[kept].min()).all()
    assert np.unique(read[0]).size == 1


def test_padding_value_that_no_pixel_has(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path, dicom_factory.series(pixels, PixelPaddingValue=-1))
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


# --- dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        (
            {"AcquisitionDateTime": "20240301083000.5+0100"},
            datetime(2024, 3, 1, 8, 30, 0, 500_000, timezone(timedelta(hours=1))),
        ),
        (
            {"TimezoneOffsetFromUTC": "-0530"},
            datetime(2024, 2, 29, 10, 45, 0, 250_000, timezone(-timedelta(hours=5, minutes=30))),
        ),
        ({"TimezoneOffsetFromUTC": "+9999"}, datetime(2024, 2, 29, 10, 45, 0, 250_000)),
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


def test_the_date_of_the_acquisition_wins_without_a_time_against_one_with_a_time(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionTime=None, StudyDate="20240301"))
    stack = read_study(tmp_path)
    assert (stack.acquired, stack.date_only) == (datetime(2024, 2, 29), True)


def test_no_date_at_all_is_unknown(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionDate=None, StudyDate=None))
    stack = read_study(tmp_path)
    assert stack.acquired is None
    assert stack.warnings == ()
