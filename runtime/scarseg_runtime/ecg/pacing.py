"""Pacing spikes in a raw ECG, and which chamber they pace.

A pacing pulse lasts half a millisecond or less and cannot be reliably seen in records of 500 to
1000 Hz (AHA recommendations 2007); a detector on 12 leads at 500 Hz found 78 % of them, 90 % of
its findings being right (Luo et al., Computers in Cardiology 2008). So what is seen is worth
saying, what is not seen proves nothing, and below 500 Hz nothing is looked for.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import ECG_RATE_HZ

Pacing = Literal["ventricular", "some ventricular", "atrial", "not seen", "cannot tell"]

MIN_SPIKE_RATE_HZ: Final = 500.0
SPIKE_MV: Final = 0.1
"""Least height in a lead. Half a millisecond of 1 mV is 0.17 mV high behind the usual 150 Hz
low-pass; more than half of real pulses are below 2 mV (J Electrocardiol 2012, n = 140)."""
NARROW_MS: Final = 4.0
WIDER_MS: Final = (8.0, 12.0, 16.0, 20.0)
NARROW_SHARE: Final = 0.9
"""A spike stands out from its neighbours ``NARROW_MS`` away nearly as much as from any farther
off. The sharpest R waves of real records reach 0.4 of that."""
POINT_MS: Final = 2.0
POINT_SHARE: Final = 0.5
"""A spike stands out this much already from its neighbours ``POINT_MS`` away, a steep beginning
of QRS does not. This costs spikes that were smoothed below 150 Hz: behind a 100 Hz low-pass
hardly one remains."""
OVER_NOISE: Final = 8.0
"""Spikes exceed the median of their lead by this factor: muscle noise is as narrow as a spike."""
LEADS_SHARE: Final = 1 / 3
"""A spike shows in this share of the leads at least; a loose electrode seldom does."""
_REFRACTORY_MS: Final = 20.0

MIN_SPIKES: Final = 3
"""Fewer spikes are artefacts."""
_VENTRICULAR_MS: Final = (-60.0, 40.0)  # relative to QRS onset, whose find the spike disturbs
_ATRIAL_MS: Final = (-300.0, -60.0)
MOST: Final = 0.5
"""Share of beats that must be paced for the mean beat to be a paced one."""


def find_spikes(signals_mv: NDArray[np.float64], rate_hz: float) -> NDArray[np.intp] | None:
    """Samples of pacing spikes in [n, k] as recorded; None where the rate does not allow it."""
    if not rate_hz >= MIN_SPIKE_RATE_HZ:
        return None
    margin = round(WIDER_MS[-1] / 1000.0 * rate_hz)
    if signals_mv.shape[0] <= 2 * margin or not signals_mv.shape[1]:
        return np.empty(0, dtype=np.intp)
    height = _height(signals_mv, NARROW_MS, rate_hz, margin)
    high = height > np.maximum(SPIKE_MV, OVER_NOISE * np.median(height, axis=0))
    least = LEADS_SHARE * signals_mv.shape[1]
    found = np.flatnonzero(np.count_nonzero(high, axis=1) >= least)
    point = _height(signals_mv, POINT_MS, rate_hz, margin)[found]
    narrow = high[found] & (point > POINT_SHARE * height[found])
    for wider_ms in WIDER_MS:
        wide = _height(signals_mv, wider_ms, rate_hz, margin)[found]
        narrow &= height[found] > NARROW_SHARE * wide
    found = found[np.count_nonzero(narrow, axis=1) >= least]
    first = np.diff(found, prepend=-np.inf) > _REFRACTORY_MS / 1000.0 * rate_hz
    return np.asarray(found[first] + margin)


def pacing_of(
    spikes: NDArray[np.intp] | None,
    rate_hz: float,
    qrs_onsets: NDArray[np.float64],
    *,
    wide_qrs: bool,
) -> Pacing:
    """Chamber that the spikes pace, by where they lie before QRS.

    A paced ventricle has a wide QRS, save with pacing of the conduction system, which leaves
    activation, and so the signs of scar, as usual: spikes at a narrow one are not reported.

    Args:
        spikes: samples at ``rate_hz``, from :func:`find_spikes`.
        qrs_onsets: samples at 500 Hz at which the beats of the record begin.
        wide_qrs: whether QRS of the mean beat is wide.
    """
    if spikes is None:
        return "cannot tell"
    if spikes.size < MIN_SPIKES or not qrs_onsets.size:
        return "not seen"
    lag_ms = 1000.0 * (spikes[None, :] / rate_hz - qrs_onsets[:, None] / ECG_RATE_HZ)
    low, high = _VENTRICULAR_MS
    ventricular = int(np.count_nonzero(((lag_ms > low) & (lag_ms < high)).any(axis=1)))
    low, high = _ATRIAL_MS
    atrial = int(np.count_nonzero(((lag_ms > low) & (lag_ms < high)).any(axis=1)))
    if wide_qrs and ventricular >= MIN_SPIKES:
        return "ventricular" if ventricular >= MOST * qrs_onsets.size else "some ventricular"
    return "atrial" if atrial >= MIN_SPIKES else "not seen"


def _height(
    signals_mv: NDArray[np.float64], reach_ms: float, rate_hz: float, margin: int
) -> NDArray[np.float64]:
    """[n - 2 margin, k] by how much samples stand out from those ``reach_ms`` to either side."""
    reach = round(reach_ms / 1000.0 * rate_hz)
    stop = signals_mv.shape[0] - margin
    sides = signals_mv[margin - reach : stop - reach] + signals_mv[margin + reach : stop + reach]
    return np.abs(signals_mv[margin:stop] - 0.5 * sides)
