"""Parsing DICOM without trusting it: damaged files and odd values end in few, known ways.

Imported only when a DICOM study is read, so that other work does not pay for pydicom.
"""

from __future__ import annotations

import math
import struct
from io import BytesIO
from typing import Final

from pydicom import Dataset, FileDataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from scarseg_runtime.errors import StudyError

# What pydicom raises on damaged or odd files while parsing, converting or decoding
# (RuntimeError: NotImplementedError, RecursionError of nested sequences, failed decoders).
PARSE_ERRORS: Final = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)


def is_deflated(data: bytes) -> bool:
    """Is the file compressed as a whole? Inflating has no bound in pydicom, so a small file could
    take all memory; and nothing bounds how far into the file its transfer syntax may stand."""
    return DeflatedExplicitVRLittleEndian.encode() in data


def parse(data: bytes) -> FileDataset:
    """Parse a DICOM file, with or without preamble; raises one of ``PARSE_ERRORS``.

    A file that ends early gives a dataset that does too. Values are converted on access only.
    One that :func:`is_deflated` is not parsed.
    """
    if is_deflated(data):
        raise ValueError("compressed as a whole")
    return dcmread(BytesIO(data), force=True)


def damaged(label: str) -> StudyError:
    """The error for a DICOM file that does not parse or ends early."""
    return StudyError(
        f"{label} is a damaged DICOM file or cut short", "Export or copy the study again"
    )


def text(dataset: Dataset, keyword: str) -> str:
    """An element as stripped text, several values joined by a backslash; "" if absent or bad."""
    try:
        value = dataset.get(keyword)
        # As text, a damaged sequence doubles its length with each level of nesting.
        if value is None or isinstance(value, Sequence):
            return ""
        if isinstance(value, MultiValue):
            return "\\".join(str(item).strip() for item in value)
        return str(value).strip()
    except PARSE_ERRORS:
        return ""


def numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers of an element; None when it has anything else."""
    try:
        value = dataset.get(keyword)
        items = value if isinstance(value, MultiValue) else [value]
        found = tuple(float(item) for item in items)
    except PARSE_ERRORS:
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """One finite number; None when the element is absent or has anything else."""
    found = numbers(dataset, keyword, 1)
    return found[0] if found else None
