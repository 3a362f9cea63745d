"""Quality report of an ECG: is it fit to say anything about scar, and what should a reader know?

``findings`` are reasons to give the ECG no weight (:func:`scarseg_runtime.taff.decide`): bundle
branch block, ventricular pacing and rates from 150/min invalidate ECG signs of scar (the
exclusions of the Selvester score, see the clinical facts), and so does a record whose electrodes
or signals are wrong. ``warnings`` leave the weight alone. A rule that is often wrong is worse
than none: what is not reliable is not claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scarseg_runtime.contract import BEAT_R_INDEX
from scarseg_runtime.ecg.beats import find_qrs
from scarseg_runtime.ecg.conduction import (
    WIDE_QRS_MS,
    Pattern,
    Qrs,
    bundle_pattern,
    qrs_extent,
)
from scarseg_runtime.ecg.electrodes import suspected_exchange
from scarseg_runtime.ecg.noise import (
    NOISY_UV,
    LeadQuality,
    filled,
    lead_qualities,
    standard_columns,
)
from scarseg_runtime.ecg.pacing import Pacing, find_spikes, pacing_of
from scarseg_runtime.ecg.signal import MIN_RATE_HZ, bandpass_resample
from scarseg_runtime.preprocess import FAST_BPM, MeanBeat

INVALIDATING_PATTERNS: Final[frozenset[Pattern]] = frozenset({"LBBB", "RBBB", "nonspecific"})
"""Conduction patterns that take all weight from the ECG.

The clinical facts exclude bundle branch block of either side. For the right one opinions
differ: Q waves long counted as valid, but it hides inferior ones (J Electrocardiol 1999;32:279)
and feigns others (Cardiology 2000;94:165), and the Selvester score adapted to it hardly told scar
from none (area under the curve 0.62–0.65 with 0.5 within the interval; Wieslander et al.,
"Evaluation of Selvester QRS score for use in presence of conduction abnormalities", 51 patients
with right block). Without the ECG the result is that of the image: exclusion is the safe side.
"""

MOST_LEADS: Final = 0.5
"""With more than this share of the recorded leads noisy or dead the beat is not to be trusted."""
_MIN_S: Final = 2.5  # less holds no two beats to measure noise between

_PATTERN_WORDS: Final[dict[Pattern, str]] = {
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
    "nonspecific": "QRS is wide without the shape of a bundle branch block",
}


@dataclass(frozen=True, slots=True)
class EcgQuality:
    """Quality of an ECG record. JSON-friendly by :func:`dataclasses.asdict`.

    Attributes:
        leads: [12] in the order of :data:`scarseg_infer.LEADS`.
        heart_rate_bpm: beats a minute.
        qrs_ms: duration of QRS over all leads of the mean beat, within some 15 ms of what recorders
            state.
        pattern: conduction: ``none`` below 120 ms; ``LBBB``, ``RBBB``; ``nonspecific`` is wide
            without the shape of a block.
        pacing: ``ventricular``, ``some ventricular`` (beats), ``atrial``, ``not seen`` or
            ``cannot tell``.
        exchanged_electrodes: limb electrodes that look exchanged, as ``right arm and left arm``.
        findings: clauses for ``taff.decide(findings=…)``: any of them takes all weight from the
            ECG.
        warnings: sentences for the report. Those of ``MeanBeat.warnings`` are not repeated.
    """

    leads: tuple[LeadQuality, ...]
    heart_rate_bpm: float
    qrs_ms: float | None
    pattern: Pattern
    pacing: Pacing
    exchanged_electrodes: str | None
    findings: tuple[str, ...]
    warnings: tuple[str, ...]


def assess(
    signals_mv: ArrayLike, rate_hz: float, lead_names: Sequence[str], beat: MeanBeat
) -> EcgQuality:
    """Quality of a record and of the mean beat made of it. Raises nothing for what is in them.

    Args:
        signals_mv: [n, k] in mV, one column a lead, as recorded; samples may be NaN.
        rate_hz: sampling rate.
        lead_names: k names in any order and case.
        beat: from :func:`scarseg_runtime.preprocess.mean_beat`.
    """
    signals = np.asarray(signals_mv, dtype=np.float64)
    columns = standard_columns(lead_names)
    bridged = filled(signals[:, sorted(columns.values())])
    peaks = _qrs_centres(bridged, rate_hz)
    leads = lead_qualities(signals, rate_hz, columns, peaks)
    qrs = qrs_extent(beat.beat_mv)
    onset = (qrs.onset if qrs else BEAT_R_INDEX) - BEAT_R_INDEX
    wide = qrs is not None and qrs.duration_ms >= WIDE_QRS_MS
    spikes = find_spikes(bridged, rate_hz)
    pacing = pacing_of(spikes, rate_hz, peaks.astype(np.float64) + onset, wide_qrs=wide)
    pattern: Pattern = bundle_pattern(beat.beat_mv, qrs) if qrs else "none"
    exchanged = suspected_exchange(beat.beat_mv, qrs) if qrs else None
    return EcgQuality(
        leads=leads,
        heart_rate_bpm=beat.heart_rate_bpm,
        qrs_ms=qrs.duration_ms if qrs else None,
        pattern=pattern,
        pacing=pacing,
        exchanged_electrodes=exchanged,
        findings=_findings(leads, beat, qrs, pattern, pacing, exchanged),
        warnings=_warnings(leads, qrs, pattern, pacing),
    )


def _qrs_centres(bridged: NDArray[np.float64], rate_hz: float) -> NDArray[np.intp]:
    """Samples at 500 Hz of QRS centres in [n, k]; none in what is too short or too slow."""
    if not bridged.shape[1] or rate_hz < MIN_RATE_HZ or len(bridged) < _MIN_S * rate_hz:
        return np.empty(0, dtype=np.intp)
    return find_qrs(bandpass_resample(bridged, rate_hz))


def _findings(
    leads: tuple[LeadQuality, ...],
    beat: MeanBeat,
    qrs: Qrs | None,
    pattern: Pattern,
    pacing: Pacing,
    exchanged: str | None,
) -> tuple[str, ...]:
    found = []
    if beat.heart_rate_bpm >= FAST_BPM:
        found.append(
            f"at a heart rate of {beat.heart_rate_bpm:.0f}/min ECG signs of scar do not hold"
        )
    if pacing == "ventricular":
        found.append("the ventricles are paced")
    elif qrs and pattern in INVALIDATING_PATTERNS:  # a paced QRS is wide as well
        found.append(f"{_PATTERN_WORDS[pattern]} ({qrs.duration_ms:.0f} ms)")
    if exchanged:
        found.append(f"the electrodes of {exchanged} seem to be exchanged")
    recorded = [lead for lead in leads if lead.present]
    bad = [lead for lead in recorded if lead.noisy or lead.flat or lead.clipped]
    if recorded and len(bad) > MOST_LEADS * len(recorded):
        found.append(f"{len(bad)} of {len(recorded)} leads are noisy, flat or clipped")
    return tuple(found)


def _warnings(
    leads: tuple[LeadQuality, ...], qrs: Qrs | None, pattern: Pattern, pacing: Pacing
) -> tuple[str, ...]:
    told = []
    if qrs and pattern in _PATTERN_WORDS and pattern not in INVALIDATING_PATTERNS:
        words = _PATTERN_WORDS[pattern]
        told.append(
            f"{words[0].upper()}{words[1:]} ({qrs.duration_ms:.0f} ms): signs of scar may mislead."
        )
    if pacing == "atrial":
        told.append("The atria are paced.")
    if pacing == "some ventricular":
        told.append("Some heart beats are paced.")
    states = {
        f"noisier than {NOISY_UV:.0f} µV": [lead.lead for lead in leads if lead.noisy],
        "flat": [lead.lead for lead in leads if lead.flat],
        "clipped": [lead.lead for lead in leads if lead.clipped],
        "partly without valid samples": [
            lead.lead for lead in leads if lead.invalid_share > 0.0 and not lead.flat
        ],
    }
    told.extend(
        f"ECG lead{'s' if len(names) > 1 else ''} {state}: {', '.join(names)}."
        for state, names in states.items()
        if names
    )
    return tuple(told)
