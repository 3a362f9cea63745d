"""The gap policy of TAFF: whether the ECG may be used at all, and why not.

TAFF (temporal aware feature fusion) weights the ECG by the days Δt between ECG and MRI:

    w = exp(−Δt / τ)      τ learned in training, stored in the model file

The graph computes w itself; this module decides what the graph is told. What is unknown is
never taken for zero: a missing, negative or non-finite Δt means w = 0, the image-only result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EcgDecision:
    """Decision on the ECG that the graph is told."""

    valid: bool
    gap_days: float
    """Finite and ≥ 0; 0 where ``valid`` is False (the graph then ignores it)."""
    reason: str
    """One sentence for the report."""


def decide(gap_days: float | None, *, ecg_given: bool, findings: Sequence[str] = ()) -> EcgDecision:
    """Apply the gap policy.

    Args:
        gap_days: days between ECG and MRI, None if unknown.
        ecg_given: whether there is an ECG at all.
        findings: reasons against this ECG (arrhythmia, an event between both tests …).
    """
    if not ecg_given:
        return EcgDecision(False, 0.0, "no ECG was given, so the result is from the image alone")
    if findings:
        return EcgDecision(False, 0.0, f"the ECG was not used: {'; '.join(findings)}")
    if gap_days is None:
        return EcgDecision(
            False, 0.0, "the ECG was not used: the time between ECG and MRI is unknown"
        )
    if not math.isfinite(gap_days):
        return EcgDecision(
            False, 0.0, "the ECG was not used: the time between ECG and MRI is not a finite number"
        )
    if gap_days < 0:
        return EcgDecision(
            False, 0.0, "the ECG was not used: the time between ECG and MRI is negative"
        )
    return EcgDecision(
        True, float(gap_days), f"the ECG was weighted by its age, {gap_days:.1f} days"
    )


def weight(gap_days: float, tau_days: float) -> float:
    """The TAFF weight of a usable gap, as the graph computes it; for hosts that explain it."""
    return math.exp(-gap_days / tau_days)
