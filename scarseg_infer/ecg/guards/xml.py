"""XML of unknown origin, checked before any library builds a tree of it.

One pass of expat, which keeps nothing: declarations of a document's own are refused (entities, the
stuff of "billion laughs" and of reading other files; default attributes, which every element would
repeat), depth and the numbers of elements, attributes and channels are bounded, and the root
element tells the format. Python's expat opens no external file or address by itself.
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from scarseg_runtime.errors import EcgError

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 200_000
"""The ECG exports that we know have some thousand."""
MAX_ATTRIBUTES: Final = 64
"""Of one element: Philips has up to 16."""
MAX_ALL_ATTRIBUTES: Final = 200_000
"""Of all elements together: some hundred in what we know."""
MAX_ATTRIBUTE_CHARS: Final = 1 << 14
"""Of one value: the library splits some of them into names of leads."""
MAX_BLANKS: Final = 1 << 8
"""In a row, outside of attributes: the library looks for dates behind them again from every one."""
MAX_CHANNELS: Final = 64
"""The library makes a name for each that a document announces, before it looks for samples."""
MAX_COMPRESSED_CHARS: Final = 1 << 17
"""Of compressed waveforms in base64: twelve leads of 11 s at 500 Hz take some 35 000."""

_FACTORS: Final = ("scale", "origin", "increment")
"""Elements of an aECG that change its samples, by ``value`` and ``unit``."""
_CHANNEL_COUNTS: Final = ("numberchannelsallocated", "numberchannelsvalid")
_BLANKS: Final = re.compile(r"\s+")
# To be matched at the beginning alone: a search begins again at each of the blanks that it passed.
_DECLARATION: Final = re.compile(r"\s*<\?xml\b[^>]*\?>")
_ENCODING: Final = re.compile(rb"<\?xml\b[^>]*\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
# Not every codec of Python: some are no character sets, or slow on hostile input.
_PLAIN_ENCODINGS: Final = re.compile(
    r"utf-?8|us-ascii|iso-?8859-?\d+|windows-125\d|gb(2312|k|18030)|big5|shift_jis|euc-(jp|kr)",
    re.I,
)
_DAMAGED: Final = ("the ECG is damaged XML", "Export or copy the ECG again")
_HOSTILE: Final = ("the ECG's XML is not that of an ECG", "Do not trust it: export the ECG again")


@dataclass(frozen=True, slots=True)
class CheckedXml:
    """A document that passed."""

    root: str
    """Name of the root element, without its namespace."""
    utf8: bytes
    """The document in UTF-8 without an XML declaration: what was checked is what is read."""
    compressed: tuple[str, ...] = ()
    """Text of each element that says by an attribute that it is compressed."""


def looks_like_xml(head: bytes) -> bool:
    """Does the file begin like XML, in UTF-8 or UTF-16?"""
    text = head.removeprefix(codecs.BOM_UTF8)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = head[2:].replace(b"\0", b"")
    return text.lstrip().startswith(b"<")


def check_xml(data: bytes) -> CheckedXml:
    """Check a document.

    Raises:
        EcgError: it is damaged, brings declarations of its own, is nested too deep, has too many
            elements, attributes or channels, or a compressed part that is far too large.
    """
    text = _decode(data)
    declaration = _DECLARATION.match(text)
    utf8 = (text[declaration.end() :] if declaration else text).encode("utf-8")
    guard = _Guard()
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = guard.doctype
    parser.StartElementHandler = guard.start
    parser.EndElementHandler = guard.end
    parser.CharacterDataHandler = guard.characters
    try:
        parser.Parse(utf8, True)
    except expat.ExpatError as error:
        raise EcgError(*_DAMAGED) from error
    return CheckedXml(guard.root, utf8, tuple(map("".join, guard.compressed)))


class _Guard:
    """Expat's handlers."""

    def __init__(self) -> None:
        self.root = ""
        self.compressed: list[list[str]] = []
        self._depth = self._elements = self._attributes = self._compressed_chars = 0
        self._blanks = 0
        self._compressed_at: int | None = None
        self._count_at: int | None = None
        self._count = ""

    def doctype(self, _name: str, _system: object, _public: object, has_own: bool) -> None:
        """MUSE names its DTD, which nobody opens; ``has_own``: declarations in the file itself."""
        if has_own:
            raise EcgError("the ECG's XML brings its own declarations", _HOSTILE[1])

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name.rpartition(":")[2]
        self._depth += 1
        self._elements += 1
        self._attributes += len(attributes)
        self._blanks = 0
        _refuse(
            self._depth > MAX_DEPTH
            or self._elements > MAX_ELEMENTS
            or len(attributes) > MAX_ATTRIBUTES
            or self._attributes > MAX_ALL_ATTRIBUTES
            or any(len(value) > MAX_ATTRIBUTE_CHARS for value in attributes.values())
        )
        if self._compressed_at is None and any("compress" in key for key in attributes):
            self._compressed_at = self._depth
            self.compressed.append([])
        if name.rpartition(":")[2] in _FACTORS and not _is_number(attributes):
            raise EcgError(
                "the ECG's XML has a scale, origin or increment that is no number (such as one "
                "with a decimal comma)", "Export the ECG again",
            )  # fmt: skip
        if name in _CHANNEL_COUNTS:
            self._count_at, self._count = self._depth, ""

    def end(self, _: str) -> None:
        if self._compressed_at == self._depth:
            self._compressed_at = None
        if self._count_at == self._depth:
            self._count_at = None
            _refuse(_number(self._count) > MAX_CHANNELS)
        self._depth -= 1
        self._blanks = 0

    def characters(self, text: str) -> None:
        self._bound_blanks(text)
        if self._count_at == self._depth:
            self._count += text[:MAX_ATTRIBUTE_CHARS]
            _refuse(len(self._count) > MAX_ATTRIBUTE_CHARS)
        if self._compressed_at is not None:
            self._compressed_chars += len(text)
            self.compressed[-1].append(text)
            _refuse(self._compressed_chars > MAX_COMPRESSED_CHARS)

    def _bound_blanks(self, text: str) -> None:
        """Expat gives a text in pieces, a line break by itself."""
        for run in _BLANKS.finditer(text):
            before = self._blanks if run.start() == 0 else 0
            self._blanks = before + len(run[0])
            _refuse(self._blanks > MAX_BLANKS)
        if not text[-1:].isspace():
            self._blanks = 0


def _refuse(hostile: bool) -> None:
    if hostile:
        raise EcgError(*_HOSTILE)


def _is_number(attributes: dict[str, str]) -> bool:
    """False where a value that has a unit is missing or no number: the library would take 1."""
    if "unit" not in attributes:
        return True
    try:
        return math.isfinite(float(attributes["value"]))
    except (KeyError, ValueError):
        return False


def _number(text: str) -> float:
    """As the library reads it; 0 for what is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _decode(data: bytes) -> str:
    """By byte order mark, then by declaration, then UTF-8, then Latin-1, which always fits."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    else:
        declared = _ENCODING.search(data[:256])
        candidates = ["utf-8", "latin-1"]
        if data.startswith(codecs.BOM_UTF8):  # an editor has put it there and left the declaration
            candidates = ["utf-8"]
        elif declared and _PLAIN_ENCODINGS.fullmatch(declared[1].decode()):
            candidates.insert(0, declared[1].decode())
    for encoding in candidates:
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except (LookupError, UnicodeError):
            continue
    raise EcgError(*_DAMAGED)
