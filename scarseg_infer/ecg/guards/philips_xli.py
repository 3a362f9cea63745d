"""Size of a compressed Philips waveform, known before it is expanded.

XLI is LZW with codes of 10 bits, one chunk a lead; each code can stand for up to some 700 bytes
(https://github.com/sixlettervariables/sierra-ecg-tools/wiki). Lengths alone are followed here.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import numpy as np

_CODE_BITS: Final = 10
_LAST_CODE: Final = (1 << _CODE_BITS) - 2
_HEADER_BYTES: Final = 8
"""Of a chunk: four of its size, little-endian, and four that do not matter here."""


def expanded_bytes(text: str) -> int:
    """Bytes to which all chunks expand; 0 for what is not base64 or no such chunk."""
    try:
        payload = base64.b64decode("".join(text.split()))
    except (binascii.Error, ValueError):
        return 0
    total = start = 0
    while len(payload) - start > _HEADER_BYTES:
        size = int.from_bytes(payload[start : start + 4], "little")
        start += _HEADER_BYTES
        total += _lzw_bytes(payload[start : start + size])
        start += size
    return total


def _lzw_bytes(chunk: bytes) -> int:
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    rows = bits[: len(bits) // _CODE_BITS * _CODE_BITS].reshape(-1, _CODE_BITS)
    codes = rows @ (1 << np.arange(_CODE_BITS)[::-1])
    lengths = dict.fromkeys(range(256), 1)
    next_code, previous, total = 256, 0, 0
    for code in codes.tolist():
        if code > _LAST_CODE:
            break
        # The one code that may be used before it is known repeats the string before it.
        length = lengths.setdefault(code, previous + 1)
        if previous and next_code <= _LAST_CODE:
            lengths[next_code] = previous + 1
            next_code += 1
        previous = length
        total += length
    return total
