"""A classic MR slice beside two sound ones, so that the whole reader runs."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import dicom_factory
import numpy as np
import pydicom
import study_checks as CHECKS
from dicom_mutate import mutate  # noqa: F401 - the harness calls it
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from scarseg_infer.study.dicom.read import list_dicom_series, read_dicom

MAX_LEN = 16_384
DICTIONARY = ("MONOCHROME1", "PSIR", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xff\xff\xff")
_SLICES = dicom_factory.series(dicom_factory.noise(3, 34, 33), SeriesInstanceUID="1.2.3")
for _number, _image in enumerate(_SLICES):
    _image.SOPInstanceUID = f"1.2.3.{_number}"
_ROW, _COLUMN = (_SLICES[1].ImageOrientationPatient[at : at + 3] for at in (0, 3))
_TURNED = [*_COLUMN, *(-float(x) for x in _ROW)]
_SOUND = [dicom_factory.encoded(image) for image in _SLICES]


def seeds() -> dict[str, bytes]:
    more = {
        "RescaleSlope": "0.5", "RescaleIntercept": "-10", "PixelPaddingValue": 3,
        "PhotometricInterpretation": "MONOCHROME1", "SeriesDescription": "lge sax",
    }  # fmt: skip
    found = {"plain": _SOUND[1], "more": dicom_factory.encoded(_changed(**more)), "copy": _SOUND[0]}
    found["no preamble"] = _SOUND[1][132:]
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        packed = _changed()
        packed.compress(syntax, generate_instance_uid=False)
        found[syntax.name.split(" ")[0] + syntax[-3:]] = dicom_factory.encoded(packed)
    for name, bits in {"low": (12, 11), "high": (12, 15), "odd": (10, 12), "few": (8, 7)}.items():
        stored, high = bits
        packed = _changed()
        packed.compress(JPEG2000Lossless, generate_instance_uid=False)
        packed.BitsStored, packed.HighBit = stored, high
        found[f"bits {name}"] = dicom_factory.encoded(packed)
        found[f"words {name}"] = dicom_factory.encoded(_changed(BitsStored=stored, HighBit=high))
    found["undeclared"] = _SOUND[1].replace(b"Secretname^Test", "Sécretnäm^Tes".encode())
    found["unplaced"] = _SOUND[1].replace(b"1.5\\1.25", b"1,5\\1,25")
    found["undecodable"] = dicom_factory.encoded(
        _changed(SpecificCharacterSet="ISO 2022 IR 149")
    ).replace(b"Secretname^Test", b"S\xe9cretn\xe4me^Test")
    found["own type"] = dicom_factory.encoded(_changed(ImageType=["PSIR_MAG", "M_TFE"]))
    found["turned"] = dicom_factory.encoded(_changed(ImageOrientationPatient=_TURNED))
    for name, degrees in {"a little": 0.4, "just": 1.9, "too far": 4.0}.items():
        found[f"leaning {name}"] = dicom_factory.encoded(_leaning(degrees))
    found["new year"] = dicom_factory.encoded(_changed(AcquisitionDate="20000101"))
    found["zone"] = dicom_factory.encoded(_changed(TimezoneOffsetFromUTC="-0330"))
    found["month"] = dicom_factory.encoded(_changed(AcquisitionDate="202402", StudyDate="1900"))
    found["comma"] = _SOUND[1].replace(b"300.0", b"300,0")
    found["colours"] = dicom_factory.encoded(_changed(SamplesPerPixel=3))
    found["unsigned"] = dicom_factory.encoded(_changed(PixelRepresentation=0, BitsStored=12))
    both = ["DERIVED", "PRIMARY", "PSIR", "MAG"]
    found["two kinds"] = dicom_factory.encoded(_changed(ImageType=both))
    found["inverse"] = dicom_factory.encoded(_changed(PresentationLUTShape="INVERSE"))
    found["too long"] = dicom_factory.encoded(_changed(PixelData=bytes(500) + _SLICES[1].PixelData))
    found["real world"] = dicom_factory.encoded(_with_scales())
    chinese = dicom_factory.encoded(_changed(SpecificCharacterSet="\\ISO 2022 IR 58"))
    found["escapes"] = chinese.replace(b"Secretname^Test", b"X=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1")
    found["named anew"] = dicom_factory.encoded(_again())
    found["moved"] = dicom_factory.encoded(_changed(ImagePositionPatient=_beside(0, 18.0)))
    found["uneven"] = dicom_factory.encoded(_changed(ImagePositionPatient=_beside(2, 4.0)))
    found["on another"] = dicom_factory.encoded(_changed(ImagePositionPatient=_beside(2, -10.0)))
    found["of another series"] = dicom_factory.encoded(_changed(SeriesInstanceUID="1.2.4"))
    found["own scale"] = dicom_factory.encoded(_changed(RescaleSlope="1.5", RescaleIntercept="9"))
    found["counted otherwise"] = dicom_factory.encoded(_changed(InstanceNumber=7))
    found["picture of another"] = dicom_factory.encoded(_changed(PixelData=_SLICES[0].PixelData))
    smooth = np.add.outer(np.arange(34) * 300, np.arange(33) * 2).astype("<i2")
    found["bytes turned"] = dicom_factory.encoded(_changed(PixelData=smooth.byteswap().tobytes()))
    found["wrong rows"] = dicom_factory.encoded(_changed(Rows=33, Columns=34))
    found["thick"] = dicom_factory.encoded(_changed(SliceThickness="40"))
    real = _changed(FloatPixelData=bytes(4 * 34 * 33))
    del real.PixelData
    found["real numbers"] = dicom_factory.encoded(real)
    found["stub"] = bytes(128) + b"DICM"
    implicit = _changed()
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found["implicit"] = dicom_factory.encoded(implicit)
    return found


def _beside(axis: int, distance_mm: float) -> list[str]:
    """Place of the slice moved along its rows, its columns or its normal."""
    row, column = np.array(_ROW, float), np.array(_COLUMN, float)
    axes = row, column, np.cross(row, column)
    place = np.array(_SLICES[1].ImagePositionPatient, float) + distance_mm * axes[axis]
    return [f"{x:.5f}" for x in place]


def _leaning(degrees: float) -> Any:
    """Turned about its rows, and about its corner: its centre moves a little, too."""
    row, column = np.array(_ROW, float), np.array(_COLUMN, float)
    lean = np.radians(degrees)
    turned = np.cos(lean) * column + np.sin(lean) * np.cross(row, column)
    return _changed(ImageOrientationPatient=[f"{x:.12f}" for x in (*row, *turned)])


def _with_scales() -> Any:
    """Scales that stand elsewhere than in RescaleSlope."""
    item = pydicom.Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = 3.0, 0.0
    dataset = _changed(RealWorldValueMappingSequence=[item])
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.25)
    return dataset


def _again() -> Any:
    """The first slice under another name."""
    dataset = deepcopy(_SLICES[0])
    dataset.SOPInstanceUID, dataset.InstanceNumber = "1.2.3.99", 99
    return dataset


def _changed(**elements: Any) -> Any:
    dataset = deepcopy(_SLICES[1])
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def one(data: bytes) -> None:
    files = dicom_factory.Files([_SOUND[0], data, _SOUND[2]])
    for verdict in list_dicom_series(files):
        CHECKS.check_words(verdict.reason)
    CHECKS.check_read(lambda: read_dicom(files))
