"""The parts of a multipart/related answer (PS3.18, 8.6.1.2), one at a time.

dicomweb-client has a decoder of its own. It is not used: an answer that was cut short looks whole
to it, a part may take all memory, and it gives decoded datasets where we keep files as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from email.message import Message
from typing import Final

from python_multipart.multipart import MultipartParser

from scarseg_infer.dicomweb.errors import CUT_SHORT, DicomWebError

MAX_BOUNDARY: Final = 200
"""RFC 2046 allows 70 characters; Orthanc has been seen to take a few more."""


def boundary_of(content_type: str) -> str:
    """Boundary that a media type names. Raises DicomWebError where it names none."""
    message = Message()
    try:
        message["Content-Type"] = content_type
        boundary = message.get_boundary()
    except (ValueError, LookupError, TypeError):
        boundary = None
    if not boundary or len(boundary) > MAX_BOUNDARY or not boundary.isascii():
        raise DicomWebError(CUT_SHORT)
    return boundary


def parts(chunks: Iterable[bytes], boundary: str, part_bytes: int) -> Iterator[bytes | None]:
    """Contents of the parts, None for those of more than ``part_bytes``.

    Raises:
        DicomWebError: the message is damaged, or ends before its end is marked.
    """
    message = _Message(boundary, part_bytes)
    for chunk in chunks:
        message.write(chunk)
        yield from message.take()
        if message.ended:
            return
    raise DicomWebError(CUT_SHORT)


class _Message:
    """Collects what the parser calls back with."""

    def __init__(self, boundary: str, part_bytes: int) -> None:
        self._limit = part_bytes
        self._data = bytearray()
        self._too_large = False
        self._whole: list[bytes | None] = []
        self.ended = False
        """Was the end of the message marked?"""
        self._parser = MultipartParser(
            boundary.encode("ascii"),
            {
                "on_part_begin": self._begin,
                "on_part_data": self._more,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Parse what comes next. Raises DicomWebError."""
        try:
            self._parser.write(chunk)
        except ValueError:  # those of the parser
            raise DicomWebError(CUT_SHORT) from None

    def take(self) -> list[bytes | None]:
        """Parts that have ended since this was called last."""
        found, self._whole = self._whole, []
        return found

    def _begin(self) -> None:
        self._data, self._too_large = bytearray(), False

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._too_large = self._too_large or len(self._data) + end - start > self._limit
        if self._too_large:
            self._data.clear()
        else:
            self._data += memoryview(data)[start:end]

    def _end(self) -> None:
        self._whole.append(None if self._too_large else bytes(self._data))
        self._data = bytearray()

    def _finish(self) -> None:
        self.ended = True
