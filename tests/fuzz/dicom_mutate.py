"""Mutations that keep a DICOM file a DICOM file, so that they reach what lies behind the parser."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from pydicom import Dataset, FileDataset, filewriter
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag, Tag

from scarseg_infer.study.dicom.parse import parse

# The writer quotes the whole traceback at each level of nesting, so its length doubles: sixty
# levels took all memory.
filewriter.tag_in_exception = lambda tag: nullcontext()

VALUES = (
    b"", b" ", b"0", b"1", b"-1", b"2", b"65535", b"0.5", b"1e308", b"-1e308", b"1e-320", b"nan",
    b"inf", b"1\\2", b"1\\0\\0\\0\\1\\0", b"0\\0\\0", b"1.5\\1.25", b"\\" * 50, b"9" * 400, b"\0\0",
    b"\1\0", b"\x08\0", b"\x10\0", b"\x20\0", b"\xff\xff", b"\xff" * 8, b"\0\0\x80\x7f", b"CS",
    b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"20240229", b"20240230", b"00000000", b"104500.25",
    b"20240229104500.25+9999", b"250000", b"ORIGINAL\\PRIMARY\\M\\PSIR", b"DERIVED\\SECONDARY",
    b"ISO_IR 192", b"ISO 2022 IR 87", b"\\ISO 2022 IR 149", b"GB18030", b"\x1b$B", b"01",
    b"1.2.840.10008.5.1.4.1.1.4", b"1.2.840.10008.5.1.4.1.1.4.1", b"lge_psir_sax", b"PSIR",
    b"Secretname^Test",
)  # fmt: skip
"""Values that replace one."""
VRS = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"OB",
    b"OD", b"OF", b"OL", b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"SV", b"TM",
    b"UC", b"UI", b"UL", b"UN", b"UR", b"US", b"UT", b"UV", b"ZZ", b"\0\0",
)  # fmt: skip
SYNTAXES = tuple(
    f"1.2.840.10008.1.2{end}".encode()
    for end in (
        "", ".1", ".1.99", ".2", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90",
        ".4.91", ".4.201", ".4.202", ".4.203", ".5", ".4.100", ".77", "x",
    )
)  # fmt: skip
_SYNTAX_HEAD = b"\x02\x00\x10\x00UI"
KEYWORDS = (
    "NumberOfFrames", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "Rows",
    "RescaleIntercept", "PatientID", "TriggerTime", "CardiacNumberOfImages", "AcquisitionDateTime",
    "TimezoneOffsetFromUTC", "SpecificCharacterSet", "FloatPixelData", "DoubleFloatPixelData",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PlanarConfiguration", "PixelSpacing",
    "ContrastBolusAgent", "InversionTime", "WaveformPaddingValue", "MultiplexGroupTimeOffset",
    "SharedFunctionalGroupsSequence", "SamplesPerPixel", "LossyImageCompression", "BitsStored",
    "HighBit", "BitsAllocated", "PixelRepresentation", "PatientOrientation", "SliceLocation",
    "SpacingBetweenSlices", "PixelAspectRatio", "ModalityLUTSequence", "PatientName",
)  # fmt: skip

Plain = Callable[[bytes, int], bytes]


def mutate(data: bytes, limit: int, seed: int, plain: Plain) -> bytes:
    """Change elements, the transfer syntax or a length; in half of the cases ``plain``."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        return bytes(plain(data, limit))
    if chance.random() < 0.1:
        return _other_syntax(data, chance)[:limit]
    try:
        dataset = parse(data)  # not dcmread, which may take all memory
        for _ in range(chance.choice((1, 1, 2, 4))):
            _change(chance.choice(list(_datasets(dataset))), chance)
        changed = _written(dataset, data)
    except Exception:  # noqa: BLE001 - whatever pydicom cannot read or write is left to libFuzzer
        return bytes(plain(data, limit))
    return changed if len(changed) <= limit else bytes(plain(data, limit))


def _datasets(dataset: Dataset, depth: int = 0) -> Iterator[Dataset]:
    yield dataset
    if depth > 6:
        return
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if element.VR == "SQ":
            for item in dataset[tag].value:
                yield from _datasets(item, depth + 1)


def _change(dataset: Dataset, chance: random.Random) -> None:
    """Drop, fill, swap, retype, move, cut, double or nest an element."""
    tags = list(dataset.keys())
    tag = chance.choice(tags)
    way = chance.randrange(8)
    if way == 0:
        del dataset[tag]
        return
    if way == 7:
        inner = Dataset()
        inner[tag] = dataset.get_item(tag)
        for _ in range(chance.choice((1, 3, 60))):
            outer = Dataset()
            outer.add(DataElement(tag, "SQ", [inner]))
            inner = outer
        dataset.update(inner)
        return
    vr, value = _raw(dataset, tag)
    if way in (1, 2):
        value = chance.choice(VALUES)
    elif way == 3:
        value = _raw(dataset, chance.choice(tags))[1]
    elif way == 4:
        vr = chance.choice(VRS)
    elif way == 5:
        tag = BaseTag(Tag(chance.choice(KEYWORDS)))
    else:
        value = chance.choice((value[: len(value) // 2], value * 2, value[:-1], value[1:]))
    dataset[tag] = _element(tag, vr, value)


def _raw(dataset: Dataset, tag: BaseTag) -> tuple[bytes, bytes]:
    """Value representation and bytes of an element."""
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        return (element.VR or "UN").encode(), element.value or b""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    alone = Dataset()
    alone[tag] = element
    write_dataset(stream, alone)
    return element.VR.encode(), stream.getvalue()[8:]


def _element(tag: BaseTag, vr: bytes, value: bytes) -> RawDataElement:
    return RawDataElement(tag, vr.decode("latin-1"), len(value), value, 0, False, True)


def _written(dataset: FileDataset, data: bytes) -> bytes:
    """The file again, its first part (preamble and meta information) as it was."""
    implicit, little = dataset.original_encoding
    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = bool(little), bool(implicit)
    write_dataset(body, dataset)
    start = data.find(b"\x08\x00", 132)
    meta = dataset.file_meta.get("FileMetaInformationGroupLength")
    if meta is not None:
        start = 144 + int(meta)
    return data[:start] + body.getvalue()


def _other_syntax(data: bytes, chance: random.Random) -> bytes:
    """Another transfer syntax than the one in which the file is written."""
    at = data.find(_SYNTAX_HEAD)
    if not 0 <= at <= len(data) - len(_SYNTAX_HEAD) - 2:
        return data
    value = chance.choice(SYNTAXES)
    value += b"\0" * (len(value) % 2)
    begin = at + len(_SYNTAX_HEAD)
    (length,) = struct.unpack_from("<H", data, begin)
    return data[:begin] + struct.pack("<H", len(value)) + value + data[begin + 2 + length :]
