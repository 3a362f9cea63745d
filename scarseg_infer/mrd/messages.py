"""Messages of the MRD streaming protocol, cut out of a stream within limits, byte for byte.

A message begins with its type, two bytes; what follows depends on it. Everything is little-endian.
Sizes are worked out of the first bytes of a message and compared with the limit before the rest is
read; memory then grows with what really arrives.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ctypes import sizeof
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Final

from ismrmrd import AcquisitionHeader, ImageHeader, WaveformHeader
from ismrmrd.constants import NDARRAY_MAXDIM

from scarseg_runtime.errors import ScarsegError


class Kind(IntEnum):
    """Types of messages whose length is known. Older ones are not framed the same everywhere."""

    CONFIG_FILE = 1
    CONFIG_TEXT = 2
    HEADER = 3
    CLOSE = 4
    TEXT = 5
    ACQUISITION = 1008
    IMAGE = 1022
    WAVEFORM = 1026
    NDARRAY = 1030


TYPE_BYTES: Final = 2
CONFIG_FILE_BYTES: Final = 1024
IMAGE_HEADER_BYTES: Final = sizeof(ImageHeader)
_ATTRIBUTES_AT: Final = TYPE_BYTES + IMAGE_HEADER_BYTES + 8
"""Offset of the attributes of an image in its message, behind their length."""
MAX_TEXT_BYTES: Final = 16 << 20
"""Of a text, of the header and of an image's attributes: scanners send some hundred kilobytes."""
DATA_BYTES: Final = {1: 2, 2: 2, 3: 4, 4: 4, 5: 4, 6: 8, 7: 8, 8: 16}
"""Size of a value by data type, as the standard and its C++ library have it. The Python package
writes 8 bytes for type 4 (int) on most machines, which looks like a damaged stream."""


class StreamError(ScarsegError):
    """The stream breaks the protocol or a limit, or ends before its end. No session goes on."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        kind: its type.
        raw: all of its bytes, type included: what is passed on.
    """

    kind: Kind
    raw: bytes

    @property
    def body(self) -> bytes:
        """Text of a message in bytes, without the zero bytes that some senders end it with."""
        start = TYPE_BYTES if self.kind is Kind.CONFIG_FILE else TYPE_BYTES + 4
        return self.raw[start:].partition(b"\0")[0]

    @property
    def text(self) -> str:
        """The same decoded; what is not UTF-8 is replaced."""
        return self.body.decode("utf-8", errors="replace")

    @property
    def image_header(self) -> ImageHeader:
        """Fixed header of an image."""
        return ImageHeader.from_buffer_copy(self.raw[TYPE_BYTES : TYPE_BYTES + IMAGE_HEADER_BYTES])

    @property
    def attributes(self) -> bytes:
        """Attributes of an image: XML, or nothing."""
        return self.raw[_ATTRIBUTES_AT : self.values_at].rstrip(b"\0")

    @property
    def values_at(self) -> int:
        """Offset of the values of an image in :attr:`raw`."""
        return _ATTRIBUTES_AT + _number("<Q", self.raw[_ATTRIBUTES_AT - 8 : _ATTRIBUTES_AT])


Source = Callable[[bytearray, int], None]
"""Appends so many further bytes of the stream to a buffer, or raises."""


def read_message(more: Source, max_bytes: int) -> Message:
    """The next message of a stream.

    Args:
        more: the stream.
        max_bytes: the largest message that is taken.

    Raises:
        StreamError: its type is not known, it is larger than allowed, or its sizes make no sense.
    """
    buffer = bytearray()
    more(buffer, TYPE_BYTES)
    number = _number("<H", buffer)
    try:
        kind = Kind(number)
    except ValueError as error:
        raise StreamError(
            f"a message of type {number} is none of MRD, or none whose length is known",
            "Send images, acquisitions, waveforms, arrays and texts only",
        ) from error
    _REST[kind](buffer, more, max_bytes)
    return Message(kind, bytes(buffer))


def _number(form: str, data: bytes | bytearray) -> int:
    return int(struct.unpack(form, data)[0])


def _take(buffer: bytearray, more: Source, count: int, max_bytes: int) -> bytearray:
    """Read ``count`` further bytes and return them; the buffer keeps them too."""
    if len(buffer) + count > max_bytes:
        raise StreamError(
            f"a message is larger than {max_bytes >> 20} MB",
            "Start scarseg-mrd with a larger --message-mb if it is meant",
        )
    start = len(buffer)
    more(buffer, count)
    return buffer[start:]


def _text(buffer: bytearray, more: Source, max_bytes: int) -> None:
    length = _number("<I", _take(buffer, more, 4, max_bytes))
    _check_text(length)
    _take(buffer, more, length, max_bytes)


def _check_text(length: int) -> None:
    if length > MAX_TEXT_BYTES:
        raise StreamError(f"a text in the stream is larger than {MAX_TEXT_BYTES >> 20} MB")


def _image(buffer: bytearray, more: Source, max_bytes: int) -> None:
    head = ImageHeader.from_buffer_copy(_take(buffer, more, IMAGE_HEADER_BYTES, max_bytes))
    size = _value_bytes(head.data_type)
    length = _number("<Q", _take(buffer, more, 8, max_bytes))
    _check_text(length)
    values = size * prod((head.channels, *head.matrix_size))
    _take(buffer, more, length + values, max_bytes)


def _value_bytes(data_type: int) -> int:
    if data_type not in DATA_BYTES:
        raise StreamError(f"data type {data_type} in the stream is none of MRD")
    return DATA_BYTES[data_type]


def _acquisition(buffer: bytearray, more: Source, max_bytes: int) -> None:
    raw = _take(buffer, more, sizeof(AcquisitionHeader), max_bytes)
    head = AcquisitionHeader.from_buffer_copy(raw)
    each = 4 * head.trajectory_dimensions + 8 * head.active_channels
    _take(buffer, more, head.number_of_samples * each, max_bytes)


def _waveform(buffer: bytearray, more: Source, max_bytes: int) -> None:
    head = WaveformHeader.from_buffer_copy(_take(buffer, more, sizeof(WaveformHeader), max_bytes))
    _take(buffer, more, 4 * head.number_of_samples * head.channels, max_bytes)


def _ndarray(buffer: bytearray, more: Source, max_bytes: int) -> None:
    data_type, _, axes = struct.unpack("<HHH", _take(buffer, more, 6, max_bytes))
    if axes > NDARRAY_MAXDIM:
        raise StreamError(f"an array in the stream has {axes} axes", "MRD has at most 7")
    shape = struct.unpack(f"<{axes}Q", _take(buffer, more, 8 * axes, max_bytes))
    _take(buffer, more, _value_bytes(data_type) * prod(shape), max_bytes)


def _config_file(buffer: bytearray, more: Source, max_bytes: int) -> None:
    _take(buffer, more, CONFIG_FILE_BYTES, max_bytes)


def _nothing(_buffer: bytearray, _more: Source, _max_bytes: int) -> None:
    """Read no more: a message that is its type alone."""


_REST: Final = {
    Kind.CONFIG_FILE: _config_file,
    Kind.CONFIG_TEXT: _text,
    Kind.HEADER: _text,
    Kind.CLOSE: _nothing,
    Kind.TEXT: _text,
    Kind.ACQUISITION: _acquisition,
    Kind.IMAGE: _image,
    Kind.WAVEFORM: _waveform,
    Kind.NDARRAY: _ndarray,
}
"""Readers of the rest of a message, behind its type."""
