"""The calibration pulse that devices, Philips' above all, append to a recording.

It comes in every format such a recording is exported or converted to. In exports of 11 s the last
half second holds, alike in all leads, a pulse of 1 mV and 200 ms between zeros
(https://github.com/BIVectors/BRAVEHEART/issues/5). Left in, it contradicts Einthoven's law: leads
that are alike and not zero are no ECG.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import LEADS

TOLERANCE_MV: Final = 0.02
"""The pulse in the files that we have is exact."""
ALIKE_MV: Final = 0.03
"""Leads of unlike resolution round the same pulse a little differently, and what was converted once
has the noise of a filter."""
EXACT_MV: Final = 1e-6
LEAST_S: Final = 0.08
"""A shorter plateau may be chance: the pulse lasts 200 ms."""
HEIGHTS_MV: Final = (0.4, 2.1)
"""Half and double gain included. What is alike in all leads beyond is a converter's end."""
MOST_S: Final = 2.0
"""A pulse and the zeros around it, at either end of the recording."""
_STANDARD: Final = frozenset(lead.casefold() for lead in LEADS)
_MEASURED: Final = _STANDARD - {"iii", "avr", "avl", "avf"}
"""Leads that devices record. The others may have been computed from I and II, pulse included."""


def without_calibration(
    signals_mv: NDArray[np.floating[Any]], rate_hz: float, lead_names: Sequence[str]
) -> tuple[NDArray[np.floating[Any]], tuple[str, ...]]:
    """The ECG [n, k] without a calibration pulse at its end or beginning.

    The pulse also shows whether the scale is right: if not, a warning.
    """
    used = [i for i, name in enumerate(lead_names) if name.strip().casefold() in _STANDARD]
    used = [i for i in used if i < signals_mv.shape[1]]
    measured = [i for i in used if lead_names[i].strip().casefold() in _MEASURED]
    used = measured if len(measured) == len(_MEASURED) else used
    if len(used) < 2:
        return signals_mv, ()
    doubts: tuple[str, ...] = ()
    for backward in (True, False):
        ordered = signals_mv[::-1] if backward else signals_mv
        count, height_mv = _pulse(ordered[:, used], rate_hz)
        if not count:
            continue
        signals_mv = signals_mv[:-count] if backward else signals_mv[count:]
        if abs(height_mv - 1.0) > TOLERANCE_MV:
            doubts = (
                f"The calibration pulse of the ECG is {height_mv:.2f} mV high, which should be 1.",
            )
    return signals_mv, doubts


def _pulse(leads: NDArray[np.floating[Any]], rate_hz: float) -> tuple[int, float]:
    """Length of the pulse with its zeros at the beginning of [n, k], in samples, and its height.

    Converters take the mean of each lead away, pulse included: then all but its base is alike.
    """
    ahead = leads[: int(MOST_S * rate_hz)].astype(np.float64)
    known = np.asarray(np.isfinite(ahead).all(axis=1))[:, None]
    ahead = np.where(known, ahead, 0.0)
    found = _pulse_of(ahead, rate_hz)
    base = ahead[int(np.argmax(known))]
    if found[0] or not base.any():
        return found
    return _pulse_of(np.where(known, ahead - base, 0.0), rate_hz)


def _pulse_of(ahead: NDArray[np.float64], rate_hz: float) -> tuple[int, float]:
    spread, middle = np.ptp(ahead, axis=1), np.median(ahead, axis=1)
    if not (spread > ALIKE_MV).any():  # no ECG, or one lead under many names
        return 0, 0.0
    alike = int(np.argmax(spread > ALIKE_MV))
    size = np.abs(middle[:alike])
    top = size[size > size.max(initial=0.0) / 2.0]  # a filter lets its corners overshoot
    height = float(np.median(top)) if top.size else 0.0
    if not HEIGHTS_MV[0] <= height <= HEIGHTS_MV[1]:
        return 0, 0.0
    plateau = np.flatnonzero(np.abs(size - height) <= ALIKE_MV)
    if len(plateau) < LEAST_S * rate_hz:
        return 0, 0.0
    end = int(plateau[-1]) + 1
    while end < alike and size[end] > ALIKE_MV:  # its flank, where it was filtered
        end += 1
    while end < alike and spread[end] <= EXACT_MV and size[end] <= ALIKE_MV:
        end += 1
    return end, height
