"""Time that an SCP-ECG record takes to decode, bounded before it is.

Its Huffman code is decoded bit by bit in Python, and reference beats are added back zone by zone,
so a small hostile file could keep the library busy for minutes. Sections of a resting ECG are far
smaller than what is allowed here (design choices); the longest decoding then takes seconds.

Format: EN 1064. Section 0 is a list of pointers: number, length and place of every section.
"""

from __future__ import annotations

import struct
from typing import Final

from scarseg_runtime.errors import EcgError

MAX_LEADS: Final = 64
MAX_CODED_BYTES: Final = 192 << 10
"""Of rhythm data in Huffman code: 12 leads of 10 s at 500 Hz take some 50 kB."""
_MAX_BYTES: Final = {
    0: 2 << 10, 1: 64 << 10, 2: 16 << 10, 4: 8 << 10, 5: 128 << 10, 7: 64 << 10, 8: 64 << 10,
    10: 64 << 10, 11: 64 << 10,
}  # fmt: skip
"""By section: pointers, patient, Huffman tables, QRS zones, reference beats, measurements, texts,
measurements of leads, codes of findings."""
_HEADER_BYTES: Final = 16
_LAST_TAG: Final = 255
_TABLES, _LEADS, _RHYTHM = 2, 3, 6


def check_scp(data: bytes) -> None:
    """Check the sizes of the sections of a record.

    Raises:
        EcgError: one is larger than that of any resting ECG, or the list of sections is damaged.
    """
    try:
        sections = _sections(data)
        start, _ = sections.get(_LEADS, (0, 0))
        leads = data[start + _HEADER_BYTES] if start else 0
    except (struct.error, IndexError) as error:
        raise EcgError("the SCP-ECG file is damaged or cut short", "Export it again") from error
    limits = dict(_MAX_BYTES)
    if _TABLES in sections:
        limits[_RHYTHM] = MAX_CODED_BYTES
    too_large = any(
        length > limits[number] for number, (_, length) in sections.items() if number in limits
    )
    if too_large or leads > MAX_LEADS:
        raise EcgError("the SCP-ECG file is too large for a resting ECG", "Give a resting ECG")
    if any(length > len(data) for _, length in sections.values()):
        raise EcgError("the SCP-ECG file is damaged or cut short", "Export or copy it again")


def first_section_tags(data: bytes) -> dict[int, bytes]:
    """Values of the tags of section 1 (patient and recording), as far as they are whole."""
    start, length = _sections(data).get(1, (0, 0))
    place, end = start + _HEADER_BYTES, min(start + length, len(data))
    tags: dict[int, bytes] = {}
    while start and place + 3 <= end and data[place] != _LAST_TAG:
        tag, size = struct.unpack_from("<BH", data, place)
        tags[tag] = data[place + 3 : place + 3 + size]
        place += 3 + size
    return tags


def _sections(data: bytes) -> dict[int, tuple[int, int]]:
    """Start and length of each section; the last of two pointers to one counts."""
    (own_length,) = struct.unpack_from("<I", data, 10)
    found = {0: (6, own_length)}
    if own_length > _MAX_BYTES[0]:
        return found
    for place in range(6 + _HEADER_BYTES, 6 + own_length - 9, 10):
        number, length, index = struct.unpack_from("<HII", data, place)
        if number and length and index:
            found[number] = (index - 1, length)
    return found
