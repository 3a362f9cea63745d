"""Channels of a DICOM waveform that were not sampled at the same instants, put on one clock.

PS3.3 C.10.9: the first sample of a channel lies later than the start of its multiplex group by its
time skew (seconds) or its sample skew (samples), and by its offset (seconds) on top.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from scarseg_infer.ecg.stated import stated_number
from scarseg_runtime.errors import EcgError

SAME_SAMPLES: Final = 0.02
"""Shifts that differ by less than this part of a sample are one."""
LEAST_SHARE: Final = 0.5
"""Of the recording that all channels must have in common."""
_EXPORT_AGAIN: Final = "Export the simultaneous recording of all leads"
_KEYWORDS: Final = ("ChannelTimeSkew", "ChannelSampleSkew", "ChannelOffset")


def channel_delay_s(channel: Dataset, rate_hz: float) -> float:
    """Delay of a channel against its group, in seconds.

    Raises:
        EcgError: what should say that is no number, or its parts contradict each other.
    """
    time_s, samples, offset_s = (stated_number(channel, keyword) for keyword in _KEYWORDS)
    if time_s is not None and samples is not None and abs(time_s * rate_hz - samples) > 0.5:
        raise EcgError("the DICOM ECG gives two different time skews of a channel", _EXPORT_AGAIN)
    skew_s = time_s if time_s is not None else (samples or 0.0) / rate_hz
    return skew_s + (offset_s or 0.0)


def at_one_time(
    signals: NDArray[np.float64], rate_hz: float, delays_s: Sequence[float]
) -> NDArray[np.float64]:
    """The part of [n, k] that all channels have in common, each moved by its delay.

    Between samples is interpolated; whole samples are only moved.

    Raises:
        EcgError: the channels have too little time in common.
    """
    delays = np.asarray(delays_s) * rate_hz  # in samples
    if not delays.size or np.ptp(delays) <= SAME_SAMPLES:
        return signals
    delays -= delays.min()
    late = math.ceil(delays.max() - SAME_SAMPLES)
    count = len(signals) - late
    if count < LEAST_SHARE * len(signals):
        raise EcgError("the leads of the ECG were not recorded at the same time", _EXPORT_AGAIN)
    moved = np.empty((count, signals.shape[1]))
    for channel, delay in enumerate(delays.tolist()):
        start = late - delay
        whole = math.floor(start + SAME_SAMPLES)
        part = start - whole
        first = signals[whole : whole + count, channel]
        if part <= SAME_SAMPLES:
            moved[:, channel] = first
        else:
            second = signals[whole + 1 : whole + 1 + count, channel]
            moved[:, channel] = (1.0 - part) * first + part * second
    return moved
