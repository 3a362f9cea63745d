"""Compressed transfer syntaxes: decoded exactly, or refused with what to install.

The encoders are not ours: pydicom's plugins, and DCMTK's dcmcjpeg for JPEG Lossless.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, LATERAL_WALL
from scarseg_infer.study.read import read_study
from scarseg_runtime.install import install_command

Refusal = Callable[[Path], str]
DTYPES = (np.uint8, np.int16, np.uint16)
DECODER_MODULES = ("gdcm", "pylibjpeg", "openjpeg", "libjpeg", "jpeg_ls", "PIL")
BLOCKED = """
import json, sys
for name in {modules}:
    sys.modules[name] = None  # importing it fails, as where it is not installed
from scarseg_infer import StudyError, read_study
try:
    found = read_study(sys.argv[1]).pixels.tolist()
except StudyError as error:
    found = str(error)
print(json.dumps(found))
"""


def need(syntax: pydicom.uid.UID, *, encode: bool = False) -> None:
    """Skip where no plugin for a transfer syntax is installed."""
    coder = get_encoder(syntax) if encode else get_decoder(syntax)
    if not coder.is_available:
        pytest.skip(f"no plugin for {syntax.name}: {coder.missing_dependencies}")


def values(dtype: Any) -> np.ndarray:
    """[6, 40, 36] values over the whole range that MR uses of a type."""
    low, high = {np.uint8: (0, 255), np.int16: (-2048, 4095), np.uint16: (0, 65535)}[dtype]
    found = np.random.default_rng(5).integers(low, high + 1, (6, 40, 36))
    return found.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_by_pydicom(
    tmp_path: Path, dicom_factory: ModuleType, dtype: Any, syntax: pydicom.uid.UID
) -> None:
    need(syntax)
    need(syntax, encode=True)
    pixels = values(dtype)
    datasets = dicom_factory.series(pixels, RescaleSlope=2, RescaleIntercept=-7)
    for dataset in datasets:
        dataset.compress(syntax, generate_instance_uid=False)
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels.astype(np.float32) * 2 - 7)


@pytest.mark.parametrize("option", ["+e1", "+el"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_jpeg_lossless_by_dcmtk(
    tmp_path: Path,
    dicom_factory: ModuleType,
    program: Callable[[str, str], str],
    dtype: Any,
    option: str,
) -> None:
    """Process 14, first-order prediction (+e1: 1.2.840.10008.1.2.4.70) and any (+el: .57)."""
    need(JPEGLosslessSV1)
    encoder = program("dcmcjpeg", "dcmtk")
    pixels = values(dtype)
    (tmp_path / "study").mkdir()
    for path in dicom_factory.write(tmp_path / "plain", dicom_factory.series(pixels)):
        target = tmp_path / "study" / path.name
        subprocess.run([encoder, option, path, target], check=True, capture_output=True)
        syntax = pydicom.dcmread(target, stop_before_pixels=True).file_meta.TransferSyntaxUID
        assert syntax == ("1.2.840.10008.1.2.4.70" if option == "+e1" else "1.2.840.10008.1.2.4.57")
    np.testing.assert_array_equal(read_study(tmp_path / "study").pixels, pixels)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_frames_of_an_enhanced_object(
    tmp_path: Path,
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    syntax: pydicom.uid.UID,
) -> None:
    need(syntax)
    need(syntax, encode=True)
    pixels = dicom_factory.noise(6, 40, 36)
    multi = enhanced_factory.enhanced(dicom_factory.series(pixels))
    multi.compress(syntax, generate_instance_uid=False)
    dicom_factory.write(tmp_path, [multi])
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


@pytest.mark.parametrize(
    "name",
    ["MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "MR_small_jpeg_ls_lossless",
     "MR_small_jp2klossless", "MR_small_padded", "MR_small_expb"],
)  # fmt: skip
def test_encodings_of_real_scanners_agree(tmp_path: Path, name: str) -> None:
    found = []
    for source in ("MR_small", name):
        dataset = pydicom.dcmread(str(get_testdata_file(f"{source}.dcm", download=False)))
        need(dataset.file_meta.TransferSyntaxUID)
        # A slice of a spine: turned into a short axis, since no other view is accepted.
        dataset.ImageOrientationPatient = [*LATERAL_WALL.round(6), *(-ANTERIOR_WALL).round(6)]
        folder = tmp_path / source
        folder.mkdir()
        dataset.save_as(folder / "x")
        found.append(read_study(folder).pixels)
    np.testing.assert_array_equal(found[0], found[1])


def read_without_plugins(folder: Path) -> Any:
    """Output of a process in which no decoder but pydicom's own can be imported."""
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(modules=DECODER_MODULES), str(folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stderr == ""
    return json.loads(run.stdout)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_without_a_decoder_the_extra_is_named(
    tmp_path: Path, dicom_factory: ModuleType, syntax: pydicom.uid.UID
) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    dicom_factory.write(tmp_path, datasets)
    message = read_without_plugins(tmp_path)
    assert f"({syntax.name}, {syntax})" in message
    assert f"Run {install_command('compressed')} or export the study uncompressed" in message


def test_rle_needs_no_plugin(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for dataset in datasets:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_without_plugins(tmp_path), pixels)


def test_what_no_package_decodes(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        dataset.PixelData = encapsulate([b"\0\0"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dicom_factory.write(tmp_path, datasets)
    message = refusal(tmp_path)
    assert str(MPEG2MPML) in message
    assert "pip" not in message
    assert message.endswith("Export the study uncompressed.")


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1,
                                    JPEGBaseline8Bit, RLELossless])  # fmt: skip
@pytest.mark.parametrize("junk", [b"\xff\xd8\xff\xd9", b"\0" * 64, b"\xff" * 300])
def test_damaged_code_streams(
    tmp_path: Path,
    dicom_factory: ModuleType,
    refusal: Refusal,
    syntax: pydicom.uid.UID,
    junk: bytes,
) -> None:
    need(syntax)
    datasets = dicom_factory.series(SeriesInstanceUID=generate_uid())
    for dataset in datasets:
        dataset.PixelData = encapsulate([junk])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    dicom_factory.write(tmp_path, datasets)
    assert "file 1 of 6 in name order is a damaged DICOM file" in refusal(tmp_path)


def test_loss_is_said(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(LossyImageCompression="01"))
    assert any("compressed with loss" in warning for warning in read_study(tmp_path).warnings)
