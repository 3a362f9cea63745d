"""State of each of the twelve leads as recorded: missing, flat, clipped, noisy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import ECG_RATE_HZ, LEADS
from scarseg_runtime.ecg.signal import (
    MAX_RAIL_VISITS,
    MAX_STILL_S,
    MIN_SPAN_MV,
    clipped_places,
    longest_still,
)

NOISE_BAND_HZ: Final = (20.0, 150.0)
"""Band of the noise (half-power corners): above P and T waves, within what recorders store.
At low sampling rates it ends at half of that rate, so that less noise is seen."""
NOISY_UV: Final = 100.0
"""A lead with more noise than this is noisy: 1 mm on paper, the height of a small Q wave
(design choice)."""
AROUND_QRS_MS: Final = 120.0
"""Noise is measured outside this distance from the centre of every QRS complex: the widest
blocks reach as far, and a narrow complex leaves enough between."""
MAX_MV: Final = 1e4
"""Larger values are no ECG; capping them keeps sums finite."""


@dataclass(frozen=True, slots=True)
class LeadQuality:
    """One of the twelve leads, as recorded.

    Attributes:
        lead: its name, one of :data:`scarseg_infer.LEADS`.
        present: whether the record holds this lead; those derived from others are not.
        flat: constant for longer than 2 s, or without a living amplitude.
        clipped: cut off at the limits of the recorder in more than two places.
        invalid_share: share of samples that are not numbers, 0–1.
        noise_uv: RMS in µV between 20 and 150 Hz outside QRS; None without samples to tell.
    """

    lead: str
    present: bool
    flat: bool
    clipped: bool
    invalid_share: float
    noise_uv: float | None

    @property
    def noisy(self) -> bool:
        return self.noise_uv is not None and self.noise_uv > NOISY_UV


def standard_columns(lead_names: Sequence[str]) -> dict[str, int]:
    """Column of each of the twelve leads that is there, whatever its case; the first of two."""
    standard = {lead.casefold(): lead for lead in LEADS}
    columns: dict[str, int] = {}
    for index, name in enumerate(lead_names):
        lead = standard.get(name.strip().casefold())
        if lead is not None:
            columns.setdefault(lead, index)
    return columns


def filled(signals_mv: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, k] with invalid samples bridged by straight lines (0 where a lead has none at all)."""
    values = np.clip(signals_mv, -MAX_MV, MAX_MV)
    time = np.arange(len(values))
    for column in values.T:
        valid = np.isfinite(column)
        if not valid.all():
            column[:] = np.interp(time, time[valid], column[valid]) if valid.any() else 0.0
    return np.asarray(values)


def lead_qualities(
    signals_mv: NDArray[np.float64],
    rate_hz: float,
    columns: dict[str, int],
    qrs: NDArray[np.intp],
) -> tuple[LeadQuality, ...]:
    """The twelve leads in the order of ``contract.LEADS``.

    Args:
        signals_mv: [n, k] as recorded; may hold invalid samples.
        columns: from :func:`standard_columns`.
        qrs: samples at 500 Hz of the centres of QRS.
    """
    bridged = filled(signals_mv)
    noise = high_frequencies(bridged, rate_hz)
    quiet = _outside_qrs(len(bridged), rate_hz, qrs)
    return tuple(
        _lead(lead, signals_mv[:, c], bridged[:, c], noise[:, c], quiet, rate_hz)
        if (c := columns.get(lead)) is not None
        else LeadQuality(lead, False, False, False, 0.0, None)
        for lead in LEADS
    )


def high_frequencies(signals: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """[n, k] what lies in ``NOISE_BAND_HZ``, without phase shift."""
    if not len(signals):
        return signals
    pad = round(rate_hz / 10.0)  # 100 ms of the mirror image at either end
    length = -(-(len(signals) + 2 * pad) // 1000) * 1000  # quick to transform
    pads = [(pad, length - len(signals) - pad), (0, 0)]
    mirrored = np.pad(signals, pads, mode="symmetric")
    frequency = np.fft.rfftfreq(len(mirrored), 1.0 / rate_hz)
    low, high = NOISE_BAND_HZ
    gain = np.sqrt(frequency**8 / (frequency**8 + low**8) / (1.0 + (frequency / high) ** 8))
    spectrum = np.fft.rfft(mirrored, axis=0) * gain[:, None]
    return np.asarray(np.fft.irfft(spectrum, n=len(mirrored), axis=0)[pad : pad + len(signals)])


def _outside_qrs(count: int, rate_hz: float, qrs: NDArray[np.intp]) -> NDArray[np.bool_]:
    edges = np.zeros(count + 1, dtype=np.intp)
    for centre in qrs:
        first, last = (
            (centre / ECG_RATE_HZ + side * AROUND_QRS_MS / 1000.0) * rate_hz for side in (-1, 1)
        )
        edges[max(int(first), 0) : min(int(last) + 1, count)] = 1
    return np.asarray(edges[:-1] == 0)


def _lead(
    lead: str,
    recorded: NDArray[np.float64],
    bridged: NDArray[np.float64],
    noise: NDArray[np.float64],
    quiet: NDArray[np.bool_],
    rate_hz: float,
) -> LeadQuality:
    valid = np.isfinite(recorded)
    used = quiet & valid
    return LeadQuality(
        lead=lead,
        present=True,
        flat=not valid.any()
        or float(np.ptp(bridged)) < MIN_SPAN_MV
        or longest_still(recorded) > MAX_STILL_S * rate_hz,
        clipped=clipped_places(bridged, rate_hz) > MAX_RAIL_VISITS,
        invalid_share=1.0 - float(valid.mean()) if valid.size else 0.0,
        noise_uv=1000.0 * float(np.sqrt(np.mean(noise[used] ** 2))) if used.any() else None,
    )
