"""Bits of a word that are no part of the value, in every encoding: cut off, or refused.

The words are encoded as a whole by encoders that are not ours, and only then does the header say
which bits of them are the value: so old files with overlay planes came to be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError

Refusal = Callable[[Path], str]
JPEG_LOSSLESS = UID("1.2.840.10008.1.2.4.70")
SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless,
    JPEG_LOSSLESS,
)  # fmt: skip
BIG = (6, 40, 36)


def jpeg_lossless(path: Path) -> pydicom.FileDataset:
    """A file compressed with JPEG process 14 by GDCM."""
    import gdcm  # of the extra compressed

    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    return pydicom.dcmread(path)


@pytest.fixture
def write_words(tmp_path: Path, dicom_factory: ModuleType) -> Callable[..., Path]:
    """Writes words in a transfer syntax, and then a header that says what of them is the value."""

    def write(words: np.ndarray, syntax: UID, **header: Any) -> Path:
        datasets = dicom_factory.series(words)
        if syntax == JPEG_LOSSLESS:
            paths = dicom_factory.write(tmp_path / "plain", datasets)
            datasets = [jpeg_lossless(path) for path in paths]
        for dataset in datasets:
            if syntax.is_encapsulated and syntax != JPEG_LOSSLESS:
                dataset.compress(syntax, generate_instance_uid=False)
            elif syntax != JPEG_LOSSLESS:
                dataset.file_meta.TransferSyntaxUID = syntax
            for keyword, value in header.items():
                setattr(dataset, keyword, value)
        dicom_factory.write(tmp_path / "study", datasets)
        return tmp_path / "study"

    return write


def values(signed: bool) -> np.ndarray:
    low, high = (-2048, 2047) if signed else (0, 4095)
    return np.random.default_rng(3).integers(low, high + 1, BIG)


def read_or_refused(path: Path) -> np.ndarray | str:
    try:
        return read_study(path).pixels
    except StudyError as error:
        return str(error)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_overlay_above_the_value(
    write_words: Callable[..., Path], syntax: UID, signed: bool
) -> None:
    real = values(signed)
    words = (real & 0x0FFF).astype(np.uint16)
    words[:, 5:20, 5:20] |= 0x8000
    header = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    found = read_or_refused(write_words(words, syntax, **header))
    np.testing.assert_array_equal(found, real)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("stored", [10, 12, 15])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_value_at_the_upper_end(
    write_words: Callable[..., Path], syntax: UID, signed: bool, stored: int
) -> None:
    real = values(signed) >> (12 - stored) if stored < 12 else values(signed)
    words = ((real & ((1 << stored) - 1)) << (16 - stored)).astype(np.uint16)
    header = {"BitsStored": stored, "HighBit": 15, "PixelRepresentation": int(signed)}
    found = read_or_refused(write_words(words, syntax, **header))
    np.testing.assert_array_equal(found, real)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_high_bit_that_the_words_contradict(
    write_words: Callable[..., Path], syntax: UID, refusal: Refusal
) -> None:
    """Ordinary right-aligned values: shifted they would lose four bits."""
    words = values(signed=False).astype(np.uint16)
    message = refusal(write_words(words, syntax, BitsStored=12, HighBit=15))
    assert "HighBit 15" in message


def test_an_overlay_below_the_value(write_words: Callable[..., Path]) -> None:
    real = values(signed=False)
    words = ((real << 4) | 1).astype(np.uint16)
    path = write_words(words, ExplicitVRLittleEndian, BitsStored=12, HighBit=15)
    assert "HighBit" in read_or_refused(path)
    for file in path.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 0)
        dataset.save_as(file)
    np.testing.assert_array_equal(read_or_refused(path), real)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("signed", [False, True])
def test_codestream_of_fewer_bits_than_the_header_says(
    tmp_path: Path, dicom_factory: ModuleType, syntax: UID, signed: bool
) -> None:
    """12 bits under a header that says 16: true values, or none."""
    real = values(signed)
    datasets = dicom_factory.series(real.astype(np.int16 if signed else np.uint16))
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.BitsStored, dataset.HighBit = 16, 15
    dicom_factory.write(tmp_path, datasets)
    found = read_or_refused(tmp_path)
    if signed and syntax == JPEGLSLossless:  # it cannot say that values are signed
        assert "contradicts its pixels: BitsStored 16" in found
    else:
        np.testing.assert_array_equal(found, real)
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit = 12, 15
    dicom_factory.write(tmp_path, datasets)
    assert "HighBit 15" in read_or_refused(tmp_path)


def test_compressed_with_loss(tmp_path: Path, dicom_factory: ModuleType) -> None:
    """Values that loss adds beyond the range are cut off; an overlay cannot have survived it."""
    smooth = np.linspace(0, 4095, 64 * 64).reshape(1, 64, 64).repeat(6, axis=0).astype(np.uint16)
    for overlay in (False, True):
        words = smooth.copy()
        words[:, 20:40, 20:40] |= 0x8000 if overlay else 0
        datasets = dicom_factory.series(words)
        for dataset in datasets:
            dataset.compress(JPEG2000, j2k_cr=[20], generate_instance_uid=False)
            dataset.BitsStored, dataset.HighBit = 12, 11
        folder = tmp_path / f"{overlay}"
        dicom_factory.write(folder, datasets)
        found = read_or_refused(folder)
        if overlay:
            assert "compressed with loss" in found
        else:
            assert np.abs(found - smooth).max() < 200
            assert found.min() >= 0 and found.max() <= 4095


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"BitsStored": 12, "HighBit": 10}, "HighBit 10"),
        ({"BitsStored": 17, "HighBit": 16}, "BitsStored 17"),
        ({"HighBit": 16}, "HighBit 16"),
        ({"BitsStored": 0, "HighBit": 0}, "BitsStored 0"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "BitsAllocated"),
        ({"PixelRepresentation": 2}, "PixelRepresentation"),
        ({"SamplesPerPixel": None}, "SamplesPerPixel"),
        ({"BitsAllocated": None}, "BitsAllocated"),
        ({"BitsStored": None}, "BitsStored"),
        ({"PixelRepresentation": None}, "PixelRepresentation"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation"),
    ],
)
def test_header_that_fits_no_words(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal, header: dict[str, Any], named: str
) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        for keyword, value in header.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
    dicom_factory.write(tmp_path, datasets)
    message = refusal(tmp_path)
    assert named in message
    assert "file 1 of 6" in message
    assert "cut short" not in message


def test_without_high_bit(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for dataset in datasets:
        del dataset.HighBit
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


@pytest.mark.parametrize("keyword", ["PALETTE COLOR", "YBR_FULL", "RGB"])
def test_samples_that_are_no_shades_of_grey(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal, keyword: str
) -> None:
    datasets = dicom_factory.series(PhotometricInterpretation=keyword)
    dicom_factory.write(tmp_path, datasets)
    assert "in colours" in refusal(tmp_path)


def test_samples_with_a_table_for_a_scale(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        table = pydicom.Dataset()
        table.LUTDescriptor = [4096, 0, 16]
        dataset.ModalityLUTSequence = [table]
    dicom_factory.write(tmp_path, datasets)
    assert "ModalityLUTSequence" in refusal(tmp_path)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_outside_of_the_value(tmp_path: Path, dicom_factory: ModuleType, vr: str) -> None:
    """A padding value of a whole word, written with either VR."""
    real = values(signed=False)
    words = real.astype(np.uint16)
    words[:, :, :3] = 0xF830  # 0x0830 by its lower twelve bits, which real pixels have too
    datasets = dicom_factory.series(words)
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.add_new("PixelPaddingValue", vr, 0xF830 if vr == "US" else 0xF830 - (1 << 16))
    dicom_factory.write(tmp_path, datasets)
    found = read_study(tmp_path).pixels
    np.testing.assert_array_equal(found[:, :, 3:], real[:, :, 3:])
    for image in found:
        assert (image[:, :3] == image[:, 3:].min()).all()


def test_an_empty_high_bit_is_a_missing_one(write_words: Callable[..., Path]) -> None:
    real = values(signed=False)
    path = write_words(real.astype(np.uint16), ExplicitVRLittleEndian, BitsStored=12, HighBit=None)
    np.testing.assert_array_equal(read_or_refused(path), real)


def test_samples_of_32_bits_in_big_endian_order_are_refused(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    """OW turns pairs of bytes round (PS3.5, 7.3), and many programs turn all four."""
    datasets = dicom_factory.series(values(signed=False).astype(np.int32))
    folder = tmp_path / "study"
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.set_original_encoding(False, False)
        dataset._read_little, dataset._read_implicit = False, False
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    assert "big-endian" in read_or_refused(folder)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("stored", [8, 10])
def test_values_that_need_more_bits_than_the_header_says(
    write_words: Callable[..., Path], syntax: UID, stored: int, refusal: Refusal
) -> None:
    """Cut to BitsStored they would wrap round."""
    words = values(signed=False).astype(np.uint16)
    path = write_words(words, syntax, BitsStored=stored, HighBit=stored - 1)
    assert f"BitsStored {stored} and HighBit {stored - 1} say" in refusal(path)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_negative_values_that_are_called_unsigned(
    write_words: Callable[..., Path], syntax: UID, refusal: Refusal
) -> None:
    words = values(signed=True).astype(np.int16)
    path = write_words(words, syntax, BitsStored=12, HighBit=11, PixelRepresentation=0)
    said = refusal(path)
    assert "hold more bits than BitsStored 12" in said or "PixelRepresentation 0" in said


def test_a_codestream_of_other_bits_than_word_and_value(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    """Compressed as 12 bits, and 10 in the header: neither the value nor the whole word."""
    datasets = dicom_factory.series((values(signed=False) & 0x7FF).astype(np.uint16))
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        dataset.BitsStored, dataset.HighBit = 10, 9
    dicom_factory.write(tmp_path, datasets)
    assert "hold more bits than BitsStored 10" in refusal(tmp_path)


def test_overlays_that_are_declared(write_words: Callable[..., Path]) -> None:
    real = values(signed=False)
    words = real.astype(np.uint16)
    for bit in (12, 13, 15):
        words[:, bit : bit + 9, 5:20] |= np.uint16(1 << bit)
    path = write_words(words, ExplicitVRLittleEndian, BitsStored=12, HighBit=11)
    assert "more bits" in str(read_or_refused(path))
    for file in path.iterdir():
        dataset = pydicom.dcmread(file)
        for number, bit in enumerate((12, 13, 15)):
            dataset.add_new((0x6000 + 2 * number, 0x0102), "US", bit)
        dataset.save_as(file)
    np.testing.assert_array_equal(read_or_refused(path), real)


def test_a_scale_on_some_slices_only(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets[:2]:
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 0
    dicom_factory.write(tmp_path, datasets)
    assert any("2 of 6 slices have a RescaleSlope" in w for w in read_study(tmp_path).warnings)


def test_pixels_that_are_no_whole_numbers_are_named_as_such(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        del dataset.PixelData
        dataset.FloatPixelData = bytes(4 * dataset.Rows * dataset.Columns)
    dicom_factory.write(tmp_path, datasets)
    assert "holds its pixels as FloatPixelData" in refusal(tmp_path)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_a_value_that_goes_on_into_one_more_bit_is_no_overlay(
    write_words: Callable[..., Path], syntax: UID, signed: bool, refusal: Refusal
) -> None:
    """13 bits of a smooth image where BitsStored says 12: cut off, its bright half wraps round."""
    rows, columns = np.mgrid[:40, :36]
    bright = 8000 * np.exp(-((rows - 20.0) ** 2 + (columns - 18.0) ** 2) / 200.0)
    real = np.repeat((bright - 4000 * signed)[None], 6, axis=0).astype(np.int64)
    words = (real & 0x1FFF).astype(np.uint16)
    header = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": int(signed)}
    assert "more bits" in refusal(write_words(words, syntax, **header))
