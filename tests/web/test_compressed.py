"""Compressed images in the page against Python: equal pixels, or refused in the same words.

The encoders are not ours: pydicom's plugins, DCMTK and Pillow. Headers then say of the encoded
words what old files say: overlays above the value, values at the upper end, signs, padding.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.datadict import dictionary_VR
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError

pytestmark = pytest.mark.slow
ReadCore = Callable[[Sequence[Any]], list[NDArray[np.float32] | str]]
SHAPE = (3, 40, 36)
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1)
LAYOUTS: dict[str, tuple[int, bool, dict[str, Any]]] = {
    "12 of 16": (0, False, {"BitsStored": 12, "HighBit": 11}),
    "16, signed": (0, True, {"BitsStored": 16, "HighBit": 15}),
    "12 of 16, signed": (0, True, {"BitsStored": 12, "HighBit": 11}),
    "overlay above": (0x8000, False, {"BitsStored": 12, "HighBit": 11}),
    "overlay above, signed": (0x8000, True, {"BitsStored": 12, "HighBit": 11}),
    "two planes above": (0xC000, False, {"BitsStored": 12, "HighBit": 11}),
    "upper end": (-4, False, {"BitsStored": 12, "HighBit": 15}),
    "upper end, signed": (-4, True, {"BitsStored": 12, "HighBit": 15}),
    "upper end that is none": (0, False, {"BitsStored": 12, "HighBit": 15}),
    "too few bits": (0, False, {"BitsStored": 10, "HighBit": 9}),
    "signs called unsigned": (1, True, {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}),
    "padding": (0, False, {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 7}),
    "rescale": (0, True, {"RescaleSlope": 2, "RescaleIntercept": -7}),
    "inverse": (0, False, {"PhotometricInterpretation": "MONOCHROME1"}),
}  # fmt: skip
"""Changes to values of 12 bits (above them are ones; to the left by so many bits; with their
signs in the whole word), whether they are signed, and what the header then says."""


def words_of(change: int, signed: bool) -> NDArray[Any]:
    low = -2048 if signed else 0
    real = np.random.default_rng(5).integers(low, low + 4096, SHAPE)
    if change == 1 or (signed and not change):
        return real.astype(np.int16)
    words = (real & 0x0FFF).astype(np.uint16)
    if change < 0:
        return words << -change
    words[:, 5:20, 5:20] |= np.uint16(change)
    return words


@pytest.fixture
def dcmcjpeg(program: Callable[[str, str], str]) -> Callable[[Path, Sequence[str]], None]:
    """Compresses a folder in place by DCMTK."""
    encoder = program("dcmcjpeg", "dcmtk")

    def compress(folder: Path, options: Sequence[str]) -> None:
        for path in folder.iterdir():
            subprocess.run([encoder, *options, path, path], check=True, capture_output=True)

    return compress


def compress(folder: Path, encode: Callable[[pydicom.FileDataset], None]) -> None:
    for path in sorted(folder.iterdir()):
        image = pydicom.dcmread(path)
        encode(image)
        image.save_as(path)


def by_pydicom(syntax: UID, **options: Any) -> Callable[[pydicom.FileDataset], None]:
    return lambda image: image.compress(syntax, generate_instance_uid=False, **options)


def by_pillow(image: pydicom.FileDataset) -> None:
    """JPEG baseline."""
    stream = io.BytesIO()
    Image.fromarray(image.pixel_array).save(stream, "JPEG", quality=90)
    put_frames(image, [stream.getvalue()], JPEGBaseline8Bit)


def put_frames(image: pydicom.FileDataset, frames: Sequence[bytes], syntax: UID) -> None:
    image.PixelData = encapsulate(list(frames))
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax


def listed(*folders: Path) -> list[list[tuple[str, Path]]]:
    return [[(path.name, path) for path in sorted(folder.iterdir())] for folder in folders]


def check_same(read_core: ReadCore, folders: dict[str, Path]) -> dict[str, str]:
    """Hold what the page reads against Python; returns what both refuse, and why."""
    studies = listed(*folders.values())
    refused = {}
    for (name, folder), own in zip(folders.items(), read_core(studies), strict=True):
        try:
            expected = read_study(folder).pixels
        except StudyError as error:
            assert isinstance(own, str), f"{name}: read, and Python says {error}"
            assert own.startswith(error.what), f"{name}: {own} against {error}"
            refused[name] = error.what
            continue
        assert not isinstance(own, str), f"{name}: {own}"
        np.testing.assert_array_equal(own, expected, err_msg=name)
    return refused


def test_every_layout_of_words_in_every_lossless_encoding(
    read_core: ReadCore, dicom_factory: ModuleType, dcmcjpeg: Any, tmp_path: Path
) -> None:
    folders: dict[str, Path] = {}
    for syntax in (ExplicitVRLittleEndian, *LOSSLESS):
        for layout, (change, signed, header) in LAYOUTS.items():
            folder = folders[f"{syntax.name}: {layout}"] = tmp_path / f"{len(folders)}"
            dicom_factory.write(folder, dicom_factory.series(words_of(change, signed)))
            if syntax == JPEGLosslessSV1:
                dcmcjpeg(folder, ["+e1"])
            elif syntax != ExplicitVRLittleEndian:
                compress(folder, by_pydicom(syntax))

            def say(
                image: pydicom.FileDataset, header: dict[str, Any] = header, signed: bool = signed
            ) -> None:
                for keyword, value in ({"PixelRepresentation": int(signed)} | header).items():
                    image.add_new(keyword, dictionary_VR(keyword).replace("US or SS", "US"), value)

            compress(folder, say)
    refused = check_same(read_core, folders)
    assert 5 * 3 <= len(refused) < len(folders) // 3


def test_encodings_with_loss_and_of_other_bits(
    read_core: ReadCore, dicom_factory: ModuleType, dcmcjpeg: Any, tmp_path: Path
) -> None:
    smooth = np.linspace(0, 4095, 64 * 64).reshape(1, 64, 64).repeat(3, axis=0).astype(np.uint16)
    small = (smooth >> 4).astype(np.uint8)
    wide = words_of(0, False) * 16
    lossy = (JPEG2000, {"j2k_cr": [20]}), (JPEGLSNearLossless, {"jls_error": 3})
    lossless = (JPEGLSLossless, JPEG2000Lossless, RLELossless)
    dcmtk = [(f"JPEG lossless, predictor {i}", wide, ["+el", "+sv", f"{i}"]) for i in range(1, 8)]
    dcmtk += [("8 bits: lossless", small, ["+e1"]), ("8 bits: extended", small, ["+ee"])]
    encodings: dict[str, tuple[NDArray[Any], Callable[[Path], None]]] = {
        "JPEG baseline": (small, partial(compress, encode=by_pillow)),
        **{f"{syntax}": (smooth, partial(compress, encode=by_pydicom(syntax, **options)))
           for syntax, options in lossy},
        **{f"8 bits: {syntax}": (small, partial(compress, encode=by_pydicom(syntax)))
           for syntax in lossless},
        **{name: (pixels, partial(dcmcjpeg, options=options)) for name, pixels, options in dcmtk},
    }  # fmt: skip
    folders: dict[str, Path] = {}
    for name, (pixels, encode) in encodings.items():
        folders[name] = tmp_path / f"{len(folders)}"
        dicom_factory.write(folders[name], dicom_factory.series(pixels))
        encode(folders[name])
    assert check_same(read_core, folders) == {}


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_frames_of_an_enhanced_object(
    read_core: ReadCore, dicom_factory: ModuleType, enhanced_factory: ModuleType, tmp_path: Path,
    syntax: UID,
) -> None:  # fmt: skip
    """With a table of offsets, without one, and with frames in several fragments."""
    multi = enhanced_factory.enhanced(dicom_factory.series(dicom_factory.noise(6, 40, 36)))
    multi.compress(syntax, generate_instance_uid=False)
    frames = list(generate_frames(multi.PixelData, number_of_frames=6))
    folders: dict[str, Path] = {}
    pieces = {"table": (1, True), "no table": (1, False)}
    if syntax != RLELossless:  # a frame of it is one fragment (PS3.5, A.4.2)
        pieces |= {"pieces": (3, True), "pieces without a table": (3, False)}
    for name, (fragments, has_bot) in pieces.items():
        multi.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=has_bot)
        folders[name] = tmp_path / name
        dicom_factory.write(folders[name], [multi])
    assert check_same(read_core, folders) == {}


def test_damaged_and_lying_streams(
    read_core: ReadCore, dicom_factory: ModuleType, dcmcjpeg: Any, tmp_path: Path
) -> None:
    """Cut, exchanged and of another size: damaged, and what comes after is still read."""
    folders: dict[str, Path] = {}
    for syntax in LOSSLESS:
        for damage in ("whole", "cut", "other size", "no stream"):
            folder = folders[f"{syntax.name}: {damage}"] = tmp_path / f"{len(folders)}"
            dicom_factory.write(folder, dicom_factory.series(words_of(0, False)))
            dcmcjpeg(folder, ["+e1"]) if syntax == JPEGLosslessSV1 else compress(
                folder, by_pydicom(syntax)
            )

            def spoil(image: pydicom.FileDataset, damage: str = damage) -> None:
                [frame] = generate_frames(image.PixelData, number_of_frames=1)
                streams = {
                    "whole": frame,
                    "cut": frame[: len(frame) // 2],
                    "other size": frame,
                    "no stream": bytes(64),
                }
                put_frames(image, [streams[damage]], image.file_meta.TransferSyntaxUID)
                if damage == "other size":
                    image.Rows *= 2

            compress(folder, spoil)
    refused = check_same(read_core, folders)
    assert {name.split(": ")[1] for name in refused} == {"cut", "other size", "no stream"}
    assert all("is a damaged DICOM file" in why for why in refused.values())


def test_what_has_no_decoder_is_said(
    read_core: ReadCore, dicom_factory: ModuleType, dcmcjpeg: Any, tmp_path: Path
) -> None:
    dicom_factory.write(tmp_path / "a", dicom_factory.series(words_of(0, False)))
    compress(tmp_path / "a", lambda image: put_frames(image, [b"\xff\x4f" * 8], HTJ2KLossless))
    smooth = dicom_factory.series(words_of(0, False), BitsStored=12, HighBit=11)
    dicom_factory.write(tmp_path / "b", smooth)
    dcmcjpeg(tmp_path / "b", ["+ee"])
    syntax = pydicom.dcmread(next((tmp_path / "b").iterdir())).file_meta.TransferSyntaxUID
    assert syntax == JPEGExtended12Bit
    wanted = (f"transfer syntax {HTJ2KLossless}", "JPEG with 12 bits")
    for own, words in zip(read_core(listed(tmp_path / "a", tmp_path / "b")), wanted, strict=True):
        assert own == (
            f"the images are compressed ({words}) and the page has no decoder for that. "
            "Export the study uncompressed, or use the command line."
        )
