"""The commonest kind of WFDB record read with numpy alone.

One data file in format 16 without modifiers is what PTB-XL and most exporters write. The wfdb
package reads it as well, but importing it takes a third of a second, most of it pandas: much, for a
program that is done in two. Everything else is left to wfdb.

Format: header(5) and signal(5) of the WFDB Applications Guide, https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_RECORD: Final = re.compile(r"record (\d{1,2}) (\d+(?:\.\d+)?) ([1-9]\d{0,8})", re.ASCII)
_SIGNAL: Final = re.compile(
    r"data1 16 (\d+(?:\.\d+)?)(?:\((-?\d{1,6})\))?(?:/([^\s/]+))? \d{1,2} (-?\d{1,6})"
    r" -?\d{1,6} (-?\d{1,9}) \d{1,6} (\S.*)",
    re.ASCII,
)
_INVALID: Final = -32768
_DEFAULT_GAIN: Final = 200.0


@dataclass(frozen=True, slots=True)
class PlainRecord:
    """What a header says, named as in wfdb's Record; then the samples."""

    fs: float
    sig_len: int
    sig_name: list[str]
    units: list[str]
    gain: NDArray[np.float64]
    baseline: NDArray[np.int64]
    checksum: list[int]
    samples: NDArray[np.int16] | None = None
    """[sig_len, signals] as stored."""

    @property
    def fmt(self) -> list[str]:
        return ["16"] * len(self.sig_name)

    @property
    def samps_per_frame(self) -> list[int]:
        return [1] * len(self.sig_name)

    @property
    def skew(self) -> list[int | None]:
        return [None] * len(self.sig_name)

    @property
    def byte_offset(self) -> list[int | None]:
        return [None] * len(self.sig_name)

    @property
    def file_name(self) -> list[str]:
        return ["data1"] * len(self.sig_name)

    def dac(self) -> NDArray[np.float64]:
        """[sig_len, signals] in the units of each signal; NaN where marked as invalid."""
        assert self.samples is not None
        values = (self.samples.astype(np.float64) - self.baseline) / self.gain
        values[self.samples == _INVALID] = np.nan
        return values

    def calc_checksum(self) -> list[int]:
        """Sum of each signal's samples, 16 bits of it."""
        assert self.samples is not None
        return [int(total) % 65536 for total in self.samples.sum(0, dtype=np.int64)]


def plain_header(text: str) -> PlainRecord | None:
    """The header of a plain record, whose data file is called ``data1``; None for any other."""
    lines = text.splitlines()
    record = _RECORD.fullmatch(lines[0]) if lines else None
    signals = [_SIGNAL.fullmatch(line) for line in lines[1:]]
    if record is None or len(signals) != int(record[1]) or not signals:
        return None
    found = [match for match in signals if match is not None]
    if len(found) != len(signals):
        return None
    return PlainRecord(
        fs=float(record[2]),
        sig_len=int(record[3]),
        sig_name=[match[6] for match in found],
        units=[match[3] or "mV" for match in found],
        gain=np.array([float(match[1]) or _DEFAULT_GAIN for match in found]),
        # Without a baseline of its own a signal's is the converter's zero.
        baseline=np.array([int(match[2] or match[4]) for match in found]),
        checksum=[int(match[5]) for match in found],
    )


def with_samples(header: PlainRecord, data: bytes) -> PlainRecord:
    """The record with the samples of its data file, known to be long enough."""
    count = len(header.sig_name)
    stored = np.frombuffer(data, "<i2", header.sig_len * count).reshape(header.sig_len, count)
    return PlainRecord(
        header.fs, header.sig_len, header.sig_name, header.units, header.gain, header.baseline,
        header.checksum, stored,
    )  # fmt: skip
