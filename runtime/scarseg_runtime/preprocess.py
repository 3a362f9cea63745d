"""Steps that a graph cannot do well: slice order and levels, and the mean beat of an ECG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_runtime.contract import BEAT_R_INDEX, BEAT_SAMPLES, ECG_RATE_HZ
from scarseg_runtime.ecg.beats import (
    aligned_beats,
    centre_beat,
    find_qrs,
    lies_inside,
    qrs_centre,
    samples,
)
from scarseg_runtime.ecg.signal import (
    BAND_HZ,
    bandpass_resample,
    check_amplitude,
    check_limb_leads,
    check_recording,
    complete_leads,
    pick_leads,
)
from scarseg_runtime.errors import EcgError, StudyError

__all__ = [
    "BAND_HZ",
    "MeanBeat",
    "bandpass_resample",
    "centre_beat",
    "mean_beat",
    "order_slices",
    "qrs_centre",
    "slice_levels",
    "taper_window",
    "zero_baseline",
]

TAPER_BEFORE_RR: Final = 0.35
"""Fraction of the RR interval before R that still belongs to this beat (P wave)."""
TAPER_AFTER_RR: Final = 0.65
"""Fraction of the RR interval after R that still belongs to this beat (T wave)."""
TAPER_RAMP_MS: Final = 60.0
"""Length of the cosine ramp that ends at either limit: no step for a filter to ring on."""

BASELINE_MS: Final = (-90.0, -60.0)
"""The PR segment, relative to R: after the usual P wave, before the usual QRS onset."""

MIN_BEATS: Final = 3
"""Fewer beats than this do not make a mean."""
LITTLE_USED: Final = 0.8
"""With a smaller share of usable beats the rhythm or the recording is worth a warning."""
EARLY_RR: Final = 0.8
"""A beat that follows in less than this share of the mean RR interval came early. The window
of the beat before it holds part of it, and its own holds part of the T wave before."""
FAST_BPM: Final = 150.0
"""From this rate on ECG scar criteria do not hold (an exclusion of the Selvester score)."""


@dataclass(frozen=True, slots=True, eq=False)
class MeanBeat:
    """The typical heart beat of an ECG, as the network wants it."""

    beat_mv: NDArray[np.float32]
    """[12, 512] in the order of ``contract.LEADS``, 500 Hz, PR segment at 0 mV, R (the centre
    of QRS energy over all leads) at ``contract.BEAT_R_INDEX``."""
    heart_rate_bpm: float
    beats_averaged: int
    derived_leads: tuple[str, ...]
    """Limb leads that were not in the record but follow from the others."""
    warnings: tuple[str, ...] = ()


def order_slices(positions_mm: ArrayLike) -> NDArray[np.intp]:
    """Indices that sort slices by position along the stack, [S] → [S]; ties keep their order."""
    return np.argsort(np.asarray(positions_mm, dtype=np.float64), kind="stable")


def slice_levels(positions_mm_base_to_apex: ArrayLike) -> NDArray[np.float32]:
    """Level of each slice [S]: 0 the most basal … 1 the most apical, linear in position.

    Args:
        positions_mm_base_to_apex: [S] positions along the stack, listed from the most basal
            slice to the most apical one, growing or falling. A missing slice leaves its gap in
            the levels. A single slice is taken for mid-ventricular: 0.5.

    Raises:
        StudyError: the positions are not in order.
    """
    positions = np.asarray(positions_mm_base_to_apex, dtype=np.float64)
    if positions.size == 1:
        return np.full(1, 0.5, dtype=np.float32)
    steps = np.diff(positions)
    if not (np.all(steps > 0.0) or np.all(steps < 0.0)):
        raise StudyError("the slice positions are not in order", "Sort the slices base to apex")
    levels = (positions - positions[0]) / (positions[-1] - positions[0])
    return np.asarray(levels, dtype=np.float32)


def mean_beat(signals_mv: ArrayLike, rate_hz: float, lead_names: Sequence[str]) -> MeanBeat:
    """The mean of the typical beats of a resting ECG.

    Args:
        signals_mv: [n, k] in mV, one column a lead, as recorded.
        rate_hz: sampling rate.
        lead_names: k names in any order and case; at least two limb leads and V1–V6. Other
            leads are ignored.

    Raises:
        EcgError: leads are missing or contradict each other, the record is too short, flat,
            clipped or has invalid samples, or fewer than three usable beats are found.
    """
    signals = np.asarray(signals_mv, dtype=np.float64)
    if signals.ndim != 2 or signals.shape[1] != len(lead_names):
        raise EcgError(
            f"the ECG array has shape {signals.shape} for {len(lead_names)} lead names",
            "Pass samples in rows and one column a lead name",
        )
    picked, present = pick_leads(signals, lead_names)
    check_recording(picked, rate_hz, present)
    filtered = bandpass_resample(picked, rate_hz)
    check_amplitude(filtered, present)
    warnings = check_limb_leads(filtered, present)
    signals, derived = complete_leads(filtered, present)

    peaks = find_qrs(signals)
    if peaks.size < MIN_BEATS:
        raise EcgError(f"only {peaks.size} heart beats were found in the ECG", _LONGER)
    rr_ms = float(np.median(np.diff(peaks))) * 1000.0 / ECG_RATE_HZ
    beats, doubts = _usable_beats(signals, peaks)
    mean = centre_beat(beats.mean(axis=0), BEAT_R_INDEX + (beats.shape[2] - BEAT_SAMPLES) // 2)
    rate_bpm = 60000.0 / rr_ms
    warnings += doubts
    if rate_bpm >= FAST_BPM:
        warnings += (f"Heart rate {rate_bpm:.0f}/min: ECG signs of scar do not hold at 150/min.",)
    return MeanBeat(
        beat_mv=(zero_baseline(mean) * taper_window(rr_ms)).astype(np.float32),
        heart_rate_bpm=rate_bpm,
        beats_averaged=len(beats),
        derived_leads=derived,
        warnings=warnings,
    )


def _usable_beats(
    signals: NDArray[np.float64], peaks: NDArray[np.intp]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """[b, 12, m] beats that look alike and, if possible, have no early neighbour; warnings.

    Beats cut by the ends of the record do not count. Raises EcgError for fewer than
    ``MIN_BEATS`` that are alike.
    """
    intervals = np.diff(peaks)
    early = np.append(False, intervals < EARLY_RR * intervals.mean())
    disturbed = early | np.append(early[1:], False)
    inside = lies_inside(peaks, signals.shape[0])
    if not inside.any():
        raise EcgError("no whole heart beat was found in the ECG", _LONGER)
    beats, alike = aligned_beats(signals, peaks[inside], early[inside])
    if np.count_nonzero(alike) < MIN_BEATS:
        raise EcgError(
            f"only {np.count_nonzero(alike)} of {len(beats)} heart beats in the ECG are alike",
            _LONGER,
        )
    clean = alike & ~disturbed[inside]
    if np.count_nonzero(clean) < MIN_BEATS:  # a bigeminus
        doubt = "Extrasystoles follow too closely: the mean beat of the ECG holds part of them."
        return beats[alike], (doubt,)
    used = np.count_nonzero(clean)
    if used < LITTLE_USED * len(beats):
        doubt = f"Only {used} of {len(beats)} heart beats in the ECG are alike and undisturbed."
        return beats[clean], (doubt,)
    return beats[clean], ()


_LONGER: Final = f"At least {MIN_BEATS} similar beats are needed: use a longer or quieter record"


def taper_window(rr_ms: float) -> NDArray[np.float64]:
    """[512] weights that keep one beat and fade its neighbours out of the mean-beat window.

    1 inside the beat, 0 from ``TAPER_BEFORE_RR`` x RR before R and from ``TAPER_AFTER_RR`` x
    RR after it, with cosine ramps of ``TAPER_RAMP_MS`` just inside those limits. Slow rhythms
    have their limits outside the window and are not faded.
    """
    time_ms = (np.arange(BEAT_SAMPLES) - BEAT_R_INDEX) * (1000.0 / ECG_RATE_HZ)
    inside_ms = np.minimum(time_ms + TAPER_BEFORE_RR * rr_ms, TAPER_AFTER_RR * rr_ms - time_ms)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(inside_ms / TAPER_RAMP_MS, 0.0, 1.0)))


def zero_baseline(beat: ArrayLike) -> NDArray[np.float64]:
    """The beat [12, 512] with the PR-segment level of each lead (its median) made 0 mV."""
    values = np.asarray(beat, dtype=np.float64)
    first, last = (BEAT_R_INDEX + samples(t) for t in BASELINE_MS)
    return np.asarray(values - np.median(values[:, first : last + 1], axis=1, keepdims=True))
