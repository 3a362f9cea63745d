"""XML of unknown origin, checked before any library builds a tree of it.

One pass of expat, which keeps nothing: entity declarations (the stuff of "billion laughs" and of
reading other files), depth and number of elements are bounded, and the root element tells the
format. Python's expat opens no external file or address by itself.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from scarseg_runtime.errors import EcgError

MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 200_000
"""The ECG exports that we know have some thousand."""
MAX_COMPRESSED_CHARS: Final = 1 << 17
"""Of compressed waveforms in base64: twelve leads of 11 s at 500 Hz take some 35 000."""

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
        EcgError: it is damaged, declares entities, is nested too deep, has too many elements, or
            a compressed part that is far too large.
    """
    utf8 = _DECLARATION.sub("", _decode(data), count=1).encode("utf-8")
    guard = _Guard()
    parser = expat.ParserCreate("utf-8")
    parser.EntityDeclHandler = guard.entity
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
        self._depth = self._elements = self._compressed_chars = 0
        self._compressed_at: int | None = None

    def entity(self, *_: object) -> None:
        raise EcgError("the ECG's XML declares entities", _HOSTILE[1])

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name.rpartition(":")[2]
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise EcgError(*_HOSTILE)
        if self._compressed_at is None and any("compress" in key for key in attributes):
            self._compressed_at = self._depth
            self.compressed.append([])

    def end(self, _: str) -> None:
        if self._compressed_at == self._depth:
            self._compressed_at = None
        self._depth -= 1

    def characters(self, text: str) -> None:
        if self._compressed_at is not None:
            self._compressed_chars += len(text)
            self.compressed[-1].append(text)
            if self._compressed_chars > MAX_COMPRESSED_CHARS:
                raise EcgError(*_HOSTILE)


def _decode(data: bytes) -> str:
    """By byte order mark, then by declaration, then UTF-8, then Latin-1, which always fits."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        candidates = ["utf-16"]
    else:
        declared = _ENCODING.search(data[:256])
        candidates = ["utf-8", "latin-1"]
        if declared and _PLAIN_ENCODINGS.fullmatch(declared[1].decode()):
            candidates.insert(0, declared[1].decode())
    for encoding in candidates:
        try:
            return data.decode(encoding).removeprefix("\ufeff")
        except (LookupError, UnicodeError):
            continue
    raise EcgError(*_DAMAGED)
