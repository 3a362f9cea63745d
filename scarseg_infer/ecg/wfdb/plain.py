"""WFDB records decoded with numpy alone: what a header says, and the signals that follow from it.

Format: header(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/header-5.htm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.wfdb.formats import invalid, samples_in, unpacked

_FORMAT: Final = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", re.ASCII)
_GAIN: Final = re.compile(
    r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?(?:\((-?\d+)\))?(?:/(\S+))?", re.ASCII
)
_WHOLE: Final = re.compile(r"-?\d+", re.ASCII)
_DEFAULT_GAIN: Final = 200.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal as its line of the header describes it.

    Attributes:
        file: name of its data file.
        fmt: storage format.
        per_frame: samples in each frame of the record.
        skew: frames by which it lags behind, to be taken off.
        offset: bytes before the first sample of its file.
        gain: counts a unit.
        baseline: count that stands for 0 units.
        unit: unit of the signal.
        checksum: stated sum of all its samples, 16 bits of it; None where the header has none.
        name: what the header calls it, mostly a lead.
    """

    file: str
    fmt: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    checksum: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A record as its header describes it; ``frames`` is None where the header does not say."""

    rate_hz: float
    frames: int | None
    signals: tuple[Signal, ...]


def parse_header(text: str) -> Layout:
    """Take apart a header without comments. Raises ValueError."""
    first, *lines = text.splitlines()
    fields = first.split()
    rate = fields[2].partition("/")[0] if len(fields) > 2 else ""
    frames = int(fields[3]) if len(fields) > 3 else None
    return Layout(float(rate), frames, tuple(_signal(line) for line in lines))


def _signal(line: str) -> Signal:
    file, coded, *rest = line.split(None, 2)
    stored = _FORMAT.fullmatch(coded)
    if stored is None:
        raise ValueError("a signal's format cannot be understood")
    described = rest[0] if rest else ""
    gain, baseline, unit = _DEFAULT_GAIN, None, "mV"
    token = described.split(None, 1)
    if token and (scale := _GAIN.fullmatch(token[0])):
        gain = float(scale[1] or 0.0) or _DEFAULT_GAIN
        baseline, unit = scale[2], scale[3] or "mV"
        described = token[1] if len(token) > 1 else ""
    elif token and re.search(r"[/(]|^(nan|inf)", token[0], re.IGNORECASE):
        raise ValueError("a gain that is no number")
    # Resolution, zero, first value, checksum and block size; each may only be left out with all
    # behind it, and the name is whatever follows.
    numbers: list[int] = []
    while len(numbers) < 5 and (token := described.split(None, 1)) and _WHOLE.fullmatch(token[0]):
        numbers.append(int(token[0]))
        described = token[1] if len(token) > 1 else ""
    zero = numbers[1] if len(numbers) > 1 else 0
    # Without a baseline of its own a signal's is the converter's zero.
    middle = int(baseline) if baseline is not None else zero
    if abs(middle) >> 32:
        raise ValueError("a baseline that no format holds")
    return Signal(
        file=file,
        fmt=stored[1],
        per_frame=int(stored[2] or 1),
        skew=int(stored[3] or 0),
        offset=int(stored[4] or 0),
        gain=gain,
        baseline=middle,
        unit=unit,
        checksum=numbers[3] if len(numbers) > 3 else None,
        name=described.strip(),
    )


def frames_in(layout: Layout, size: int) -> int:
    """The frames that the first data file holds by its ``size`` in bytes."""
    first = layout.signals[0]
    per_frame = sum(one.per_frame for one in layout.signals if one.file == first.file)
    return samples_in(first.fmt, max(0, size - first.offset)) // per_frame


def stored_samples(
    signals: Sequence[Signal], content: bytes, frames: int
) -> list[NDArray[np.int32]]:
    """All samples of each of the ``signals`` that share the data file of this ``content``."""
    per_frame = [one.per_frame for one in signals]
    fmt, offset = signals[0].fmt, signals[0].offset
    samples = unpacked(fmt, content[offset:], frames * sum(per_frame))
    table = samples.reshape(frames, sum(per_frame))
    ends = np.cumsum(per_frame)
    return [
        table[:, end - count : end].reshape(-1) for end, count in zip(ends, per_frame, strict=True)
    ]


def physical(signal: Signal, stored: NDArray[np.int32]) -> NDArray[np.float64]:
    """A signal in its unit, one value a frame: NaN where no sample is, its skew taken off.

    Where a frame has several samples their mean stands for it.
    """
    values = (stored.astype(np.float64) - signal.baseline) / signal.gain
    values[stored == invalid(signal.fmt)] = np.nan
    if signal.per_frame > 1:
        values = values.reshape(-1, signal.per_frame).mean(1)
    if signal.skew:
        kept = values[signal.skew :]
        values = np.concatenate([kept, np.full(len(values) - len(kept), np.nan)])
    return values


def is_damaged(signal: Signal, stored: NDArray[np.int32]) -> bool:
    """Do a signal's samples disagree with the checksum that the header states?"""
    total = int(stored.sum(dtype=np.int64))
    return signal.checksum is not None and (signal.checksum - total) % 65536 != 0
