"""Samples of a DICOM waveform in the units of their channels, from the words that hold them.

PS3.3 C.10.9: a channel may use fewer bits than its words have (WaveformBitsStored), and its samples
may be coded otherwise than linearly (WaveformSampleInterpretation MB and AB).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.waveforms.numpy_handler import multiplex_array

from scarseg_infer.ecg.stated import stated_number
from scarseg_infer.study.dicom.parse import number, text
from scarseg_runtime.errors import EcgError

_COMPANDED: Final = ("MB", "AB")
_FACTORS: Final = ("ChannelSensitivity", "ChannelSensitivityCorrectionFactor")
_EXPORT_AGAIN: Final = "Export the ECG again"


def in_units(dataset: Dataset, index: int) -> NDArray[np.float64]:
    """Samples [n, channels] of a multiplex group: words × sensitivity + baseline, NaN where padded.

    Raises:
        EcgError: the samples are not linear, or attributes of a channel are none of such.
    """
    item = dataset.WaveformSequence[index]
    if text(item, "WaveformSampleInterpretation") in _COMPANDED:
        raise EcgError(
            "the DICOM ECG holds samples that are not linear (µ-law, A-law)", _EXPORT_AGAIN
        )
    raw = np.asarray(multiplex_array(dataset, index, as_raw=True))
    signals = np.empty(raw.shape, np.float64)
    for channel, definition in enumerate(item.ChannelDefinitionSequence):
        words = _value_bits(raw[:, channel], number(definition, "WaveformBitsStored"))
        if "ChannelSensitivity" not in definition:  # of no unit, and left out later
            signals[:, channel] = words
            continue
        sensitivity, factor = (
            1.0 if value is None else value
            for value in (stated_number(definition, keyword) for keyword in _FACTORS)
        )
        if sensitivity * factor == 0.0:
            raise EcgError("the DICOM ECG has a channel whose sensitivity is zero", _EXPORT_AGAIN)
        baseline = stated_number(definition, "ChannelBaseline") or 0.0
        signals[:, channel] = words * (sensitivity * factor) + baseline
    signals[_padded(item, raw)] = np.nan
    return signals


def _value_bits(words: NDArray[Any], stored: float | None) -> NDArray[Any]:
    """The value in words whose upper bits may hold something else, with its sign."""
    room = words.dtype.itemsize * 8
    if stored is None or stored >= room:  # more than there are: all of them
        return words
    if stored != int(stored) or stored <= 1:
        raise EcgError(
            f"the DICOM ECG says that {stored:g} of {room} bits are used (WaveformBitsStored)",
            _EXPORT_AGAIN,
        )
    unused = room - int(stored)
    return np.asarray((words << unused) >> unused)  # shifts the sign in


def _padded(item: Dataset, raw: NDArray[Any]) -> NDArray[np.bool_]:
    """Words that hold the padding value, where the group has one. Zero is none: every lead that
    passes through it would have gaps there."""
    padding = item.get("WaveformPaddingValue")
    if isinstance(padding, bytes) and padding:
        padding = int(np.frombuffer(padding[: raw.dtype.itemsize], dtype=raw.dtype)[0])
    return np.asarray(raw == padding) if padding else np.zeros(raw.shape, dtype=bool)
