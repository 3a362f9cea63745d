"""Size that a compressed frame claims, read before a decoder believes it.

Decoders take memory for what the frame claims, not for what the DICOM header does, and some end the
process when they get none: a frame of 100 bytes is enough.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

_JP2_SIGNATURE: Final = b"\0\0\0\x0cjP  "
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"  # start of a codestream, and its size, always first
_SOI: Final = b"\xff\xd8"
# Start of frame of every JPEG process (T.81, table B.1) and of JPEG-LS (T.87).
_SOF: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}) | {0xF7}
_SOS: Final = 0xDA
_LSE: Final = 0xF8
_LSE_SIZE: Final = 4  # a second place for the size of a JPEG-LS image
MAX_TILES: Final = 4096
"""Of a JPEG 2000 frame: the decoder takes some kilobytes for each, whatever is in it."""
_RLE_MOST: Final = 64  # two bytes become 128
HARMLESS_RLE_BYTES: Final = 2 * 2**20
"""RLE that is shorter cannot grow beyond 128 MB."""


class Claim(NamedTuple):
    """The size of a frame."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    """JPEG and JPEG-LS have no way to say so."""


def jpeg_claims(frame: bytes) -> list[Claim]:
    """Claims of the frame headers of a JPEG or JPEG-LS stream. Raises ValueError, struct.error."""
    if not frame.startswith(_SOI):
        raise ValueError("no JPEG stream")
    found = []
    for marker, segment in _segments(frame):
        if marker in _SOF:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", segment)
            found.append(Claim(rows, columns, samples, bits))
        elif marker == _LSE and segment[:1] == bytes([_LSE_SIZE]):
            raise ValueError("size of a JPEG-LS image outside of its frame header")
    return found


def _segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the first scan."""
    at = len(_SOI)
    while True:
        if frame[at] != 0xFF:
            raise ValueError("no marker where one must be")
        while frame[at] == 0xFF:  # any number of them may precede the marker
            at += 1
        marker = frame[at]
        if marker == _SOS:
            return
        (length,) = struct.unpack_from(">H", frame, at + 1)
        yield marker, frame[at + 3 : at + 1 + length]
        at += 1 + max(length, 2)


def jpeg2000_claims(frame: bytes) -> list[Claim]:
    """Claims of a JPEG 2000 stream, bare or in a JP2 file; raises ValueError or struct.error."""
    start = _codestream(frame) if frame.startswith(_JP2_SIGNATURE) else 0
    if frame[start : start + len(_SOC_SIZ)] != _SOC_SIZ:
        raise ValueError("no JPEG 2000 codestream")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, samples = (
        struct.unpack_from(">8IH", frame, start + 8)
    )
    depth, step_x, step_y = struct.unpack_from(">3B", frame, start + 42)
    across = -(-(right - tile_left) // tile_width) if tile_width else MAX_TILES + 1
    down = -(-(bottom - tile_top) // tile_height) if tile_height else MAX_TILES + 1
    if across * down > MAX_TILES or (step_x, step_y) != (1, 1):
        raise ValueError("too many tiles, or pixels left out")
    return [Claim(bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80))]


def _codestream(frame: bytes) -> int:
    """Find where the codestream of a JP2 file begins."""
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, at)
        if kind == b"jp2c":
            return at + 8
        if length < 8:  # to the end, or longer than a DICOM element can be
            raise ValueError("no codestream in a JP2 file")
        at += length


def check_rle(frame: bytes, pixels: int) -> None:
    """Raise ValueError, or struct.error, where a segment unpacks to far more than its pixels."""
    if len(frame) <= HARMLESS_RLE_BYTES:
        return
    (count,) = struct.unpack_from("<I", frame)
    offsets = [*struct.unpack_from(f"<{min(count, 15)}I", frame, 4), len(frame)]
    for start, end in pairwise(offsets):
        if _RLE_MOST * (end - start) > pixels and _unpacked_bytes(frame, start, end, pixels):
            raise ValueError("RLE that is longer than its image")


def _unpacked_bytes(frame: bytes, start: int, end: int, most: int) -> int:
    """Number of bytes that a segment of RLE unpacks to beyond ``most``, and one pair of padding."""
    found, at = -most - 2, start
    while at < min(end, len(frame)) and found <= 0:
        code = frame[at]
        found += code + 1 if code < 128 else 257 - code if code > 128 else 0
        at += code + 2 if code < 128 else 2 if code > 128 else 1
    return max(found, 0)
