"""Headers with far more in them than any image takes a bounded effort, and never all time."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, TwelveLeadECGWaveformStorage

from scarseg_infer.ecg.dicom import is_ecg
from scarseg_infer.study.dicom import parse as dicom_parse
from scarseg_infer.study.dicom import series as dicom_series
from scarseg_infer.study.dicom.header import FileKind, read_headers
from scarseg_infer.study.read import list_series, read_study

ITEM = b"\xfe\xff\x00\xe0"
END = b"\xfe\xff\xdd\xe0" + bytes(4)
ELEMENT = b"\x09\x00\x10\x00LO\0\0"
PER_FRAME = b"\x00\x52\x30\x92SQ\0\0"


def with_items(data: bytes, count: int) -> bytes:
    """The file with a sequence of empty items, of unknown length, before the patient."""
    at = data.index(b"\x10\x00\x10\x00PN")
    sequence = b"\x08\x00\x40\x11SQ\0\0" + b"\xff" * 4 + (ITEM + bytes(4)) * count + END
    return data[:at] + sequence + data[at:]


def with_elements(data: bytes, count: int) -> bytes:
    at = data.index(b"\x10\x00\x10\x00PN")
    return data[:at] + ELEMENT * count + data[at:]


def with_frames(data: bytes, count: int, inside: bytes = b"") -> bytes:
    """An enhanced object with so many per-frame items that hold ``inside``."""
    start, end = data.index(PER_FRAME), data.index(b"\xe0\x7f\x10\x00")
    item = (ITEM + struct.pack("<I", len(inside)) + inside) * count
    data = data[:start] + PER_FRAME + struct.pack("<I", len(item)) + item + data[end:]
    at = data.index(b"\x28\x00\x08\x00IS")
    (length,) = struct.unpack_from("<H", data, at + 6)
    value = str(count).encode()
    value += b" " * (len(value) % 2)
    return data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :]


@pytest.mark.parametrize("spoil", [with_items, with_elements])
def test_more_than_any_image_has(
    dicom_factory: ModuleType, spoil: Callable[[bytes, int], bytes]
) -> None:
    data = dicom_factory.encoded(dicom_factory.series()[0])
    assert read_headers(spoil(data, 2000), 0, "a file")[0] is FileKind.MR_SLICE
    assert read_headers(spoil(data, 1_600_000), 0, "a file")[0] is FileKind.TOO_LARGE
    with pytest.raises(dicom_parse.TooManyPartsError):
        dicom_parse.parse(spoil(data, 1_600_000))


@pytest.mark.parametrize(("count", "inside"), [(100_000, b""), (2001, b""), (6, ELEMENT * 250_000)])
def test_frames_and_what_is_in_them(
    dicom_factory: ModuleType, enhanced_factory: ModuleType, count: int, inside: bytes
) -> None:
    data = dicom_factory.encoded(enhanced_factory.enhanced(dicom_factory.series()))
    assert read_headers(with_frames(data, count, inside), 0, "a file")[0] is FileKind.TOO_LARGE


def test_such_a_file_is_ignored_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    paths = dicom_factory.write(tmp_path / "study", dicom_factory.series())
    bomb = with_items(paths[0].read_bytes(), 60_000)
    (tmp_path / "study" / "bomb.dcm").write_bytes(bomb)
    stack = read_study(tmp_path / "study")
    assert len(stack.pixels) == 6
    assert stack.warnings == ("1 file too large or complex to be an LGE image was ignored.",)


def test_nothing_but_such_files(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Callable[[Path], str]
) -> None:
    data = dicom_factory.encoded(dicom_factory.series()[0])
    (tmp_path / "a.dcm").write_bytes(with_items(data, 60_000))
    assert "too large or complex" in refusal(tmp_path)


@pytest.mark.parametrize("count", [450, 2000])
def test_many_frames_with_much_in_them(
    dicom_factory: ModuleType, enhanced_factory: ModuleType, count: int
) -> None:
    """Of undefined lengths, as some vendors write them: each element is then read at once."""

    def sequence(tag: bytes, element: bytes, count: int) -> bytes:
        elements = b"".join(
            element[:2] + struct.pack("<H", 0x1000 + i) + b"LO\x04\0ABCD" for i in range(count)
        )
        item = ITEM + b"\xff" * 4 + elements + b"\xfe\xff\x0d\xe0" + bytes(4)
        return tag + b"SQ\0\0" + b"\xff" * 4 + item + END

    data = dicom_factory.encoded(enhanced_factory.enhanced(dicom_factory.series()))
    inside = b"".join(
        sequence(b"\x20\0" + struct.pack("<H", 0x9A00 + k), b"\x18\0", 4) for k in range(14)
    )
    inside += sequence(b"\x05\x20\x0f\x14", b"\x05\x20", 60)
    start, end = data.index(PER_FRAME), data.index(b"\xe0\x7f\x10\x00")
    item = ITEM + b"\xff" * 4 + inside + b"\xfe\xff\x0d\xe0" + bytes(4)
    data = data[:start] + PER_FRAME + b"\xff" * 4 + item * count + END + data[end:]
    dataset = dicom_parse.parse(data, ["PerFrameFunctionalGroupsSequence"])
    frames = dicom_parse.items(dataset, "PerFrameFunctionalGroupsSequence")
    assert len(frames) == count and {len(frame) for frame in frames} == {15}


def test_an_image_that_names_an_ecg_is_none(dicom_factory: ModuleType) -> None:
    (image,) = dicom_factory.series()[:1]
    image.SeriesDescription = TwelveLeadECGWaveformStorage
    assert not is_ecg(with_items(dicom_factory.encoded(image), 60_000))


@pytest.mark.parametrize("implicit", [False, True])
def test_items_are_those_that_pydicom_reads(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType, implicit: bool
) -> None:
    multi = enhanced_factory.enhanced(dicom_factory.series())
    multi.PerFrameFunctionalGroupsSequence[2].StationName = "Größe"
    multi.SpecificCharacterSet = "ISO_IR 192"
    if implicit:
        multi.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    (path,) = dicom_factory.write(tmp_path, [multi])
    keyword = "PerFrameFunctionalGroupsSequence"
    ours, theirs = dicom_parse.parse(path.read_bytes()), dcmread(path)
    assert dicom_parse.items(ours, keyword) == list(theirs[keyword].value)
    assert dicom_parse.items(ours, keyword)[2].StationName == "Größe"
    assert dicom_parse.items(ours, "ReferencedImageSequence") == []


def test_grids_in_a_series(
    tmp_path: Path, dicom_factory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views around the patient, in one series: few are compared with each other."""
    monkeypatch.setattr(dicom_series, "MAX_GRIDS", 10)
    turned = []
    for number in range(30):
        angle = number * math.pi / 30
        (view,) = dicom_factory.series(
            np.zeros((1, 4, 4), np.int16), SeriesNumber=3, SeriesInstanceUID="1.2.3",
            row_direction=np.array([math.cos(angle), math.sin(angle), 0]),
            column_direction=np.array([0.0, 0.0, -1.0]), SeriesDescription="mip",
        )  # fmt: skip
        turned.append(view)
    dicom_factory.write(tmp_path, turned, prefix="mip")
    dicom_factory.write(tmp_path, dicom_factory.series())
    stack = read_study(tmp_path)
    assert len(stack.pixels) == 6
    assert "30 images of another series were left out." in stack.warnings
    assert sum(verdict.series_number == 3 for verdict in list_series(tmp_path)) == 10
