"""A sequence nested where a value belongs: pydicom's messages double with each level of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import reduce
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from scarseg_infer.ecg.dicom import is_ecg, read_ecg_dicom
from scarseg_infer.study.dicom.read import list_dicom_series, read_dicom
from scarseg_runtime.errors import ScarsegError

PACKAGE = Path(__file__).resolve().parents[2] / "scarseg_infer"
DEPTH = 11
"""Levels; a text that doubled would be of more than 20 MB."""
ENOUGH_BYTES = 4 << 20
READ_OUR_OWN = {
    "node/dicom/send.py", "node/work.py", "node/http/api.py", "write/dicom/sr.py"
}  # fmt: skip
"""Objects that the package has written; whatever comes from elsewhere goes through
study/dicom/parse.py."""
_BOTTOM = b"OB\0\0\x04\0\0\0evil"
META = (0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020100)
CHARACTER_SET = 0x00080005
MORE = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "RescaleSlope", "NumberOfFrames",
    "TriggerTime", "PixelPaddingValue", "ContrastBolusAgent", "IssuerOfPatientID",
    "LossyImageCompression",
)  # fmt: skip


def nested(tag: int) -> DataElement:
    """An element in itself, at the bottom one that :func:`broken` makes invalid."""
    inner = DataElement(tag, "OB", b"evil")
    for _ in range(DEPTH):
        item = Dataset()
        item[tag] = inner
        inner = DataElement(tag, "SQ", [item])
    return inner


def broken(data: bytes) -> bytes:
    """Bytes that pydicom would not write."""
    assert data.count(_BOTTOM) == 1
    return data.replace(_BOTTOM, _BOTTOM.replace(b"OB", b"SQ"))


def body(dataset: Dataset) -> bytes:
    """Without what precedes it in a file; nothing is checked."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return broken(stream.getvalue())


def spoiled(plain: bytes, tag: int, *path: str) -> bytes:
    """The file with that element nested, at the top or in the first item of nested sequences."""
    changed = Dataset()
    changed.update(dcmread(BytesIO(plain)))
    place = reduce(lambda found, keyword: found[keyword][0], path, changed)
    start = plain[: 144 + int.from_bytes(plain[140:144], "little")]
    if tag != CHARACTER_SET:
        place[tag] = nested(tag)
        return start + body(changed)
    # The writer would use it: it gets its number behind the writer's back.
    place.pop(CHARACTER_SET, None)
    place[CHARACTER_SET + 1] = nested(CHARACTER_SET + 1)
    return start + body(changed).replace(b"\x08\0\x06\0", b"\x08\0\x05\0")


def spoiled_meta(data: bytes, tag: int) -> bytes:
    """The same for an element of the file meta information."""
    alone = Dataset()
    alone[tag] = nested(tag)
    return data[: 132 if tag == 0x00020000 else 144] + body(alone) + data[144:]


def top_tags(dataset: Any) -> list[int]:
    more = (tag_for_keyword(keyword) for keyword in MORE)
    return sorted({int(tag) for tag in (*dataset.keys(), *more) if tag is not None})


def peak_bytes(read: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        read()
    except ScarsegError as error:
        assert len(str(error)) < 600
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_such_a_file_takes_much_memory(dicom_factory: ModuleType) -> None:
    data = spoiled_meta(dicom_factory.encoded(dicom_factory.series()[0]), 0x00020000)

    def careless() -> None:
        with pytest.raises(OSError):
            dcmread(BytesIO(data))

    assert len(data) < 3000
    assert peak_bytes(careless) > 2 * ENOUGH_BYTES


def check_study(study: Any, what: str) -> None:
    assert peak_bytes(lambda: list_dicom_series(study)) < ENOUGH_BYTES, what
    assert peak_bytes(lambda: read_dicom(study)) < ENOUGH_BYTES, what


def test_image(dicom_factory: ModuleType) -> None:
    images = dicom_factory.series()
    plain, *rest = [dicom_factory.encoded(image) for image in images]
    read_dicom(dicom_factory.Files([plain, *rest]))  # what is imported or cached once
    spoilt = {hex(tag): spoiled_meta(plain, tag) for tag in META}
    spoilt |= {hex(tag): spoiled(plain, tag) for tag in top_tags(images[0])}
    for what, first in spoilt.items():
        check_study(dicom_factory.Files([first, *rest]), what)


def test_enhanced_image(dicom_factory: ModuleType, enhanced_factory: ModuleType) -> None:
    whole = enhanced_factory.enhanced(dicom_factory.series())
    plain = dicom_factory.encoded(whole)
    read_dicom(dicom_factory.Files([plain]))
    spoilt = {hex(tag): spoiled(plain, tag) for tag in top_tags(whole)}
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for sequence in whole[groups][0]:
            for element in sequence.value[0]:
                path = (groups, sequence.keyword)
                spoilt[element.keyword] = spoiled(plain, element.tag, *path)
    for what, data in spoilt.items():
        check_study(dicom_factory.Files([data]), what)


def test_ecg(ecg_factory: ModuleType) -> None:
    whole = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts(2.0)))
    plain = ecg_factory.dicom_bytes(whole)
    read_ecg_dicom(plain)
    group = whole.WaveformSequence[0]
    channel = ("WaveformSequence", "ChannelDefinitionSequence")
    spoilt = [spoiled_meta(plain, tag) for tag in META]
    spoilt += [spoiled(plain, tag) for tag in top_tags(whole)]
    spoilt += [spoiled(plain, tag, channel[0]) for tag in (*group.keys(), 0x003A0218, 0x54001100)]
    spoilt += [
        spoiled(plain, element.tag, *channel) for element in group.ChannelDefinitionSequence[0]
    ]
    for data in spoilt:
        assert peak_bytes(lambda data=data: is_ecg(data)) < ENOUGH_BYTES
        assert peak_bytes(lambda data=data: read_ecg_dicom(data)) < ENOUGH_BYTES


def test_files_from_elsewhere_are_parsed_with_care() -> None:
    careless = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "dcmread" in path.read_text(encoding="utf-8")
    }
    assert careless == READ_OUR_OWN | {"study/dicom/parse.py"}
