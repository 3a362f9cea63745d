"""Order of bytes and of pixels, told by the picture: in the right one neighbours are alike."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import StudyError

ROUGHER: Final = 1.25
"""Neighbours that differ by this factor more, against all that differs, are not neighbours. In real
images bytes in the wrong order make it 1.4 and more, in the right one 0.7 and less."""
ENOUGH_PIXELS: Final = 1024
"""Fewer may be alike by chance; images of a heart have 64² and more."""
MISPLACED: Final = 1.4
"""The same for lengths of rows. In 22 real images none fits better than the one that is said; wrong
ones make it 1.6 to 7."""
_ASIDE: Final = 8
"""Pixels by which a length is moved to see whether it fits better than others."""


def in_other_byte_order(words: NDArray[Any]) -> bool:
    """Tell whether stored whole numbers [..., columns] make a picture only with their bytes turned
    round; of one byte, with each two exchanged, as in words of two."""
    if words.dtype.itemsize > 1:
        return _rougher(words, words.byteswap())
    if words.shape[-1] % 2:
        return False
    pairs = words.reshape(*words.shape[:-1], -1, 2)
    return _rougher(words, pairs[..., ::-1].reshape(words.shape))


def check_row_length(pixels: NDArray[np.float32]) -> None:
    """Raise StudyError where rows of another length make a better picture of a stack [S, H, W]."""
    slices, rows, columns = pixels.shape
    flat = pixels[slices // 2].reshape(-1)
    lengths = range(max(_ASIDE + 1, (columns + 1) // 2), min(2 * columns, flat.size // 2) + 1)
    jumps = {length: _jump(flat, length) for length in lengths if flat.size % length == 0}
    best = min(jumps, key=lambda length: jumps[length], default=columns)
    least = MISPLACED * jumps.get(best, 0.0)
    if flat.size < ENOUGH_PIXELS or rows == 1 or jumps.get(columns, 0.0) <= least or least == 0.0:
        return
    # Where brightness only grows, each shorter length fits better than a longer one.
    if min(_jump(flat, best - _ASIDE), _jump(flat, best + _ASIDE)) > least:
        raise StudyError(
            f"the pixels make no picture of {rows} rows and {columns} columns, but one whose rows "
            f"have {best} pixels",
            "Export the study again from its source, or correct rows and columns in its header",
        )


def _jump(flat: NDArray[np.float32], length: int) -> float:
    """Mean difference of pixels below each other in rows of some length."""
    return float(np.abs(flat[length:] - flat[:-length]).mean())


def _rougher(words: NDArray[Any], other: NDArray[Any]) -> bool:
    if words.size < ENOUGH_PIXELS:
        return False
    one, two = _roughness(words), _roughness(other)
    return one > ROUGHER * two > 0.0


def _roughness(words: NDArray[Any]) -> float:
    """Mean difference of neighbours in units of what there is in all."""
    values = words.astype(np.float64)
    spread = float(values.std())
    if values.shape[-1] < 2 or not spread:
        return 0.0
    return float(np.abs(np.diff(values, axis=-1)).mean()) / spread
