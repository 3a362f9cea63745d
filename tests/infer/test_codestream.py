"""Compressed frames that lie about their size are refused before a decoder believes them."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from scarseg_infer.study.dicom.codestream import Claim, check_rle, jpeg2000_claims, jpeg_claims
from scarseg_infer.study.read import read_study

READ = """
import sys
from scarseg_runtime.errors import ScarsegError
from scarseg_infer.study.read import read_study
if sys.platform != "win32":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1500 << 20, 1500 << 20))
try:
    read_study(sys.argv[1])
    print("read")
except ScarsegError as error:
    print(error)
"""


def marker(code: int, content: bytes) -> bytes:
    return struct.pack(">HH", code, len(content) + 2) + content


def jpeg(sof: int, rows: int, columns: int, *, before: bytes = b"", bits: int = 16) -> bytes:
    """A stream with a frame header, a scan header and nothing but zeros."""
    frame = marker(0xFF00 | sof, struct.pack(">BHHB3B", bits, rows, columns, 1, 1, 0x11, 0))
    return b"\xff\xd8" + before + frame + marker(0xFFDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(50)


def jpeg2000(
    rows: int, columns: int, *, bits: int = 16, samples: int = 1, tile: int | None = None,
    step: int = 1,
) -> bytes:  # fmt: skip
    tiles = (tile or columns, tile or rows)
    size = struct.pack(">H8IH", 0, columns, rows, 0, 0, *tiles, 0, 0, samples)
    size += bytes([bits - 1, step, step]) * samples
    code = marker(0xFF52, b"\0\0\0\1\0\0\4\4\0\1") + marker(0xFF5C, b"\x40\x40")
    start = marker(0xFF90, struct.pack(">HIBB", 0, 15, 0, 1))
    return b"\xff\x4f" + marker(0xFF51, size) + code + start + b"\xff\x93\0\xff\xd9"


def study(folder: Path, factory: ModuleType, syntax: UID, stream: bytes) -> Path:
    folder.mkdir()
    for number, dataset in enumerate(factory.series()):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


LIES = {
    "JPEG-LS": (JPEGLSLossless, jpeg(0xF7, 65535, 65535)),
    "JPEG-LS, large by a parameter": (
        JPEGLSLossless, jpeg(0xF7, 20, 16, before=marker(0xFFF8, b"\4\2\xff\xff\xff\xff"))),
    "JPEG lossless": (JPEGLosslessSV1, jpeg(0xC3, 65000, 65000)),
    "JPEG, two frame headers": (
        JPEGBaseline8Bit, jpeg(0xC0, 20, 16, before=jpeg(0xC0, 60000, 60000)[2:21])),
    "JPEG 2000": (JPEG2000Lossless, jpeg2000(60000, 60000)),
    "JPEG 2000, many samples": (JPEG2000Lossless, jpeg2000(20, 16, samples=16000)),
    "RLE": (RLELossless, struct.pack("<16I", 2, 64, 5_000_064, *[0] * 13) + b"\x81\0" * 5_000_000),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_frames_that_lie(tmp_path: Path, dicom_factory: ModuleType, name: str) -> None:
    """In a process of its own, since some decoders ended it."""
    folder = study(tmp_path / "study", dicom_factory, *LIES[name])
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    assert "damaged" in done.stdout or "no decoder" in done.stdout
    assert not done.stderr


def test_what_streams_claim() -> None:
    assert jpeg_claims(jpeg(0xF7, 20, 16)) == [Claim(20, 16, 1, 16)]
    assert jpeg_claims(jpeg(0xC3, 20, 16, before=b"\xff\xff" + marker(0xFFE0, b"JFIF"))) == [
        Claim(20, 16, 1, 16)
    ]
    bare = jpeg2000(20, 16, bits=12)
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + b"\0\0\0\0jp2c"
    assert jpeg2000_claims(bare) == jpeg2000_claims(boxes + bare) == [Claim(20, 16, 1, 12)]


def test_jpeg_2000_in_tiles() -> None:
    assert jpeg2000_claims(jpeg2000(512, 512, tile=64)) == [Claim(512, 512, 1, 16)]
    for spoilt in (jpeg2000(512, 512, tile=1), jpeg2000(512, 512, step=2)):
        with pytest.raises(ValueError, match="tiles"):
            jpeg2000_claims(spoilt)


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff" * 50, bytes(50), b"\xff\xd8" * 9])
def test_streams_that_are_none(stream: bytes) -> None:
    for read in (jpeg_claims, jpeg2000_claims):
        with pytest.raises((ValueError, IndexError, struct.error)):
            read(stream)


def test_a_large_image_in_rle_is_no_bomb(tmp_path: Path, dicom_factory: ModuleType) -> None:
    """Noise of 1300 x 1300 does not shrink, black does; both are decoded."""
    pixels = np.zeros((3, 1300, 1300), np.int16)
    pixels[1:] = dicom_factory.noise(2, 1300, 1300)
    datasets = dicom_factory.series(pixels)
    for dataset in datasets:
        dataset.compress(RLELossless, generate_instance_uid=False)
    assert len(get_frame(datasets[1].PixelData, 0)) > 2 * 2**20
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_rle_longer_than_its_image() -> None:
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    segment = b"\x81\0" * 2_000_000
    check_rle(header + segment, 128 * 2_000_000)
    with pytest.raises(ValueError, match="longer"):
        check_rle(header + segment, 128 * 1_999_999)
