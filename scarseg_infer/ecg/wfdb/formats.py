"""Samples of WFDB data files: whole numbers out of the bytes of each storage format.

Format: signal(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/signal-5.htm.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

BITS: Final = {
    "80": 8, "16": 16, "61": 16, "160": 16, "24": 24, "32": 32, "212": 12, "310": 10, "311": 10,
}  # fmt: skip
"""Formats that are decoded here, with the bits of a sample."""
FLAC: Final = {"508": 8, "516": 16, "524": 24}
"""Formats that are compressed as FLAC, with the bits of a sample; see package.py."""
_BYTES: Final = {"212": Fraction(3, 2), "310": Fraction(4, 3), "311": Fraction(4, 3)}


def invalid(fmt: str) -> int:
    """The value by which a format marks that there is no sample: the lowest that it holds."""
    return -(1 << ((BITS | FLAC)[fmt] - 1))


def bytes_of(fmt: str, samples: int) -> int:
    """The fewest bytes that hold ``samples`` samples from the first bit of a file on.

    Of an unfinished group of packed samples that is the bytes with a bit of one of them.
    """
    if fmt == "310" and samples % 3 == 2:
        return samples // 3 * 4 + 4
    return -(-samples * _BYTES.get(fmt, Fraction(BITS[fmt], 8)) // 1)


def samples_in(fmt: str, size: int) -> int:
    """The samples that ``size`` bytes hold."""
    return int(size / _BYTES.get(fmt, Fraction(BITS[fmt], 8)))


def unpacked(fmt: str, content: bytes, count: int) -> NDArray[np.int32]:
    """The first ``count`` samples of a file, which is known to be long enough."""
    data = np.frombuffer(content, np.uint8, bytes_of(fmt, count))
    if fmt in _PLAIN:
        values = data.view(_PLAIN[fmt]).astype(np.int32)
        return values - (1 << (BITS[fmt] - 1)) if fmt in ("80", "160") else values
    if fmt == "24":
        low, middle, high = data.reshape(-1, 3).astype(np.int32).T
        return _signed(low | middle << 8 | high << 16, 24)
    group = 3 if fmt == "212" else 4
    whole = np.zeros(-(-len(data) // group) * group, np.int32)
    whole[: len(data)] = data
    samples = _UNPACK[fmt](whole.reshape(-1, group).T)
    return _signed(samples.T.reshape(-1)[:count], BITS[fmt])


def _signed(values: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """Two's complement numbers of some bits."""
    top = 1 << (bits - 1)
    return ((values & ((1 << bits) - 1)) ^ top) - top


def _pairs(block: NDArray[np.int32]) -> NDArray[np.int32]:
    """212: two samples of 12 bits; the second byte has the upper bits of both."""
    first, second, third = block
    return np.stack([first | (second & 0x0F) << 8, third | second >> 4 << 8])


def _triples_310(block: NDArray[np.int32]) -> NDArray[np.int32]:
    """310: the upper 11 bits of two words less their lowest, and of both the top five bits."""
    one, two = block[0] | block[1] << 8, block[2] | block[3] << 8
    return np.stack([one >> 1 & 0x3FF, two >> 1 & 0x3FF, one >> 11 | two >> 11 << 5])


def _triples_311(block: NDArray[np.int32]) -> NDArray[np.int32]:
    """311: three times 10 bits of one word of 32, lowest first."""
    low, high = block[0] | block[1] << 8, block[2] | block[3] << 8
    return np.stack([low & 0x3FF, low >> 10 | (high & 0x0F) << 6, high >> 4 & 0x3FF])


_PLAIN: Final = {"80": "u1", "16": "<i2", "61": ">i2", "160": "<u2", "32": "<i4"}
_UNPACK: Final = {"212": _pairs, "310": _triples_310, "311": _triples_311}
