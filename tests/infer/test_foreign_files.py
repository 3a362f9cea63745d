"""Files in the folder that are no slices of the LGE: counted, never fatal; its own slices are."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from scarseg_infer.study.read import list_series, read_study
from scarseg_runtime.errors import StudyError

Refusal = Callable[[Path], str]
PRESENTATION = "1.2.840.10008.5.1.4.1.1.11.1"
REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
LOCALISER = {"SeriesDescription": "survey", "InversionTime": None, "SeriesNumber": 1,
             "ImageType": ["ORIGINAL", "PRIMARY", "M"]}  # fmt: skip


def deflated(factory: ModuleType, dataset: Any) -> bytes:
    """The dataset compressed as a whole (PS3.5, A.5)."""
    plain = factory.encoded(dataset)
    start = 144 + int.from_bytes(plain[140:144], "little")
    syntax = DeflatedExplicitVRLittleEndian.encode()
    old = ExplicitVRLittleEndian.encode()
    at = plain.index(old + b"\0")
    meta = bytearray(plain[:at] + syntax + plain[at + len(old) + 1 : start])
    meta[at - 2 : at] = len(syntax).to_bytes(2, "little")
    meta[140:144] = (len(meta) - 144).to_bytes(4, "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(plain[start:]) + packer.flush()
    return bytes(meta) + packed + b"\0" * (len(packed) % 2)


def as_class(dataset: Any, uid: str) -> Any:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
    return dataset


def without_pixels(dataset: Any) -> Any:
    del dataset.PixelData
    return dataset


def foreign(factory: ModuleType, kind: str) -> bytes:
    """A file that belongs to the study and not to the LGE series, nor lies as it does."""
    image = factory.series(**LOCALISER, spacing_mm=(2.5, 2.25))[0]
    if kind.startswith("deflated"):
        uid = {"state": PRESENTATION, "report": REPORT}.get(kind.split()[1])
        if uid:
            del image.PixelData
            image = as_class(image, uid)
        return deflated(factory, image)
    if kind == "no pixels":
        return factory.encoded(without_pixels(image))
    if kind == "stub":
        return bytes(128) + b"DICM"
    if kind == "zeros":
        return bytes(128) + b"DICM" + bytes(300)
    if kind == "cut short":
        return factory.encoded(image)[:-400]
    if kind == "cut before pixels":
        data = factory.encoded(image)
        return data[: data.index(b"\xe0\x7f\x10\x00") - 6]
    if kind == "damaged report":
        data = factory.encoded(as_class(without_pixels(image), REPORT))
        return data[: len(data) // 2 + 1]
    if kind == "enhanced without groups":
        return factory.encoded(as_class(image, EnhancedMRImageStorage))
    assert kind == "palette"
    image.PhotometricInterpretation = "PALETTE COLOR"
    return factory.encoded(image)


KINDS = (
    "deflated state", "deflated report", "deflated image", "no pixels", "stub", "zeros",
    "cut short", "cut before pixels", "damaged report", "enhanced without groups", "palette",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alone", [False, True])
def test_foreign_files_are_counted(
    tmp_path: Path, dicom_factory: ModuleType, kind: str, alone: bool
) -> None:
    """Also where every slice of the LGE has a series of its own."""
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    if alone:
        for dataset in datasets:
            dataset.SeriesInstanceUID = generate_uid()
    dicom_factory.write(tmp_path, datasets)
    (tmp_path / "a foreign file").write_bytes(foreign(dicom_factory, kind))
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert any("left out" in warning or "ignored" in warning for warning in stack.warnings)
    assert [verdict.slices for verdict in list_series(tmp_path) if verdict.chosen] == [6]


@pytest.mark.parametrize("kind", ["no pixels", "deflated", "cut before pixels"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_slice_of_the_series_itself_is_missed(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal, kind: str, alone: bool
) -> None:
    datasets = dicom_factory.series()
    if alone:
        for dataset in datasets:
            dataset.SeriesInstanceUID = generate_uid()
    paths = dicom_factory.write(tmp_path, datasets)
    content = paths[2].read_bytes()
    if kind == "no pixels":
        content = dicom_factory.encoded(without_pixels(datasets[2]))
    elif kind == "deflated":
        content = deflated(dicom_factory, datasets[2])
    else:
        content = content[: content.index(b"\xe0\x7f\x10\x00") - 6]
    paths[2].write_bytes(content)
    assert "file 3 of 6 in name order" in refusal(tmp_path)


def test_one_name_for_two_localisers(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path / "lge", dicom_factory.series())
    survey = dicom_factory.series(dicom_factory.noise(3), **LOCALISER)
    survey[1].SOPInstanceUID = survey[0].SOPInstanceUID
    dicom_factory.write(tmp_path / "survey", survey)
    assert len(read_study(tmp_path).pixels) == 6
    assert len(list_series(tmp_path)) == 2


def test_nothing_but_broken_files(tmp_path: Path, dicom_factory: ModuleType) -> None:
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "b").write_bytes(foreign(dicom_factory, "no pixels"))
    with pytest.raises(StudyError, match="file 2 of 2 in name order has no PixelData"):
        read_study(tmp_path)


def test_what_is_broken_is_said_where_nothing_else_fits(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.cine())
    (tmp_path / "Z").write_bytes(foreign(dicom_factory, "no pixels"))
    with pytest.raises(StudyError, match=r"looks like a cine.*besides, file 21 of 21"):
        read_study(tmp_path)


@pytest.mark.parametrize("how", ["turned", "tilted", "spacing", "matrix"])
def test_a_slice_of_the_series_on_another_grid_is_named_as_such(
    tmp_path: Path, dicom_factory: ModuleType, how: str
) -> None:
    """It is no image of another series, and what it shows is missing in the volumes."""
    datasets = dicom_factory.series()
    last = datasets[-1]
    row, column = (np.array(last.ImageOrientationPatient[k : k + 3], float) for k in (0, 3))
    if how == "turned":
        row, column = (row * 0.9962 + column * 0.0872, column * 0.9962 - row * 0.0872)
    elif how == "tilted":
        column = column * 0.9962 + np.cross(row, column) * 0.0872
    elif how == "spacing":
        last.PixelSpacing = [1.7, 1.25]
    else:
        last.Rows, last.PixelData = last.Rows - 1, last.PixelData[: -2 * last.Columns]
    last.ImageOrientationPatient = [f"{value:.8f}" for value in (*row, *column)]
    dicom_factory.write(tmp_path, datasets)
    warnings = read_study(tmp_path).warnings
    assert any("of the LGE series" in w and "volumes lack" in w for w in warnings)
    assert not any("of another series" in warning for warning in warnings)


@pytest.mark.parametrize(
    "begins", [b"PK\3\4", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\0", b"\0" * 257 + b"ustar"]
)
def test_an_archive_in_the_folder_is_named(tmp_path: Path, refusal: Refusal, begins: bytes) -> None:
    (tmp_path / "study").write_bytes(begins + b"\0" * 600)
    assert "packed archive" in refusal(tmp_path)


def turned(dataset: Any, degrees: float) -> Any:
    """The image turned in its plane about its first pixel."""
    row, column = np.reshape([float(x) for x in dataset.ImageOrientationPatient], (2, 3))
    turn = np.radians(degrees)
    axes = (row * np.cos(turn) + column * np.sin(turn), column * np.cos(turn) - row * np.sin(turn))
    dataset.ImageOrientationPatient = [f"{x:.9f}" for axis in axes for x in axis]
    return dataset


@pytest.mark.parametrize("count", [3, 5])
def test_a_turned_slice_of_a_short_stack(
    tmp_path: Path, dicom_factory: ModuleType, count: int
) -> None:
    """The larger part of a series is read, however few slices it has, and the rest is told."""
    datasets = dicom_factory.series(dicom_factory.noise(count))
    turned(datasets[1], 10.0)
    dicom_factory.write(tmp_path, datasets)
    stack = read_study(tmp_path)
    assert len(stack.pixels) == count - 1
    assert all(verdict.reason for verdict in list_series(tmp_path))
    assert any("1 image of the LGE series, turned" in warning for warning in stack.warnings)


def test_parts_of_a_series_that_are_equally_large(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series(dicom_factory.noise(6))
    for dataset in datasets[3:]:
        turned(dataset, 10.0)
    dicom_factory.write(tmp_path, datasets)
    with pytest.raises(
        StudyError, match=r"turned, tilted .* 2 stacks \(of 3, 3 slices\).*--series"
    ):
        read_study(tmp_path)
    assert len(read_study(tmp_path, series=2).pixels) == 3


def test_another_view_in_the_same_series_is_no_other_series(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series(dicom_factory.noise(6))
    row, column = np.reshape([float(x) for x in datasets[5].ImageOrientationPatient], (2, 3))
    axes = np.concatenate([row, np.cross(row, column)])
    datasets[5].ImageOrientationPatient = [f"{x:.9f}" for x in axes]
    dicom_factory.write(tmp_path, datasets)
    warnings = read_study(tmp_path).warnings
    assert "1 image of the LGE series, of another view or kind, was left out." in warnings


@pytest.mark.parametrize("count", [3, 6])
def test_images_that_an_archive_named_anew_are_copies(
    count: int, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series()
    dicom_factory.write(tmp_path / "once", datasets)
    again = dicom_factory.series(SeriesInstanceUID=datasets[0].SeriesInstanceUID)[:count]
    for number, dataset in enumerate(again):
        dataset.InstanceNumber = 50 + number
    dicom_factory.write(tmp_path / "twice", [*datasets, *again])
    one, two = read_study(tmp_path / "once"), read_study(tmp_path / "twice")
    np.testing.assert_array_equal(one.pixels, two.pixels)
    assert f"{count} copies of images were ignored." in two.warnings
