"""Two fixed test sets: Δt as in a clinic, and Δt spread evenly over its magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_export.buffers import TEST, patient_seed
from scarseg_export.train_ecg import segment_burden_of
from scarseg_export.twin.cohort import beats_of, is_stale, sample_case, sample_gaps
from scarseg_export.twin.image import ImageStack

SetName = Literal["clinical", "spread"]
SETS: tuple[SetName, ...] = ("clinical", "spread")

SIZE, SPACING_MM, WANDER_MM = 176, 1.6, 30.0
SET_OFFSET = {"clinical": 0, "spread": 1_000_000}
OTHER_OFFSET = 500_000
"""Patients whose ECG is offered with a test patient's image by mistake."""
SPREAD_DAYS = (0.1, 1000.0)


@dataclass(frozen=True)
class TestCase:
    """One test patient, as the deployed model and the truth see it."""

    index: int
    stack: ImageStack
    gap_days: float
    stale: bool
    beat: NDArray[np.float32]
    """[12, 512] the ECG recorded ``gap_days`` from the MRI, which may show another scar."""
    fresh_beat: NDArray[np.float32]
    """The ECG of the MRI's own day."""
    stale_beat: NDArray[np.float32]
    """An ECG of another scar state."""
    other_beat: NDArray[np.float32]
    """The ECG of somebody else."""
    burden: NDArray[np.float32]
    """[17] true scar fraction per segment at MRI time."""


def gaps_of(name: SetName, count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Days between ECG and MRI of every patient of a set, and whether the ECG is stale.

    Each patient has a generator of its own, so that a smaller set is the start of a larger one.
    """
    gaps, stale = np.empty(count), np.empty(count, bool)
    for index in range(count):
        rng = np.random.default_rng([TEST, SET_OFFSET[name] + index])
        gap = sample_gaps(rng, 1)
        if name == "spread":
            low, high = np.log(SPREAD_DAYS)
            gap = np.exp(rng.uniform(low, high, 1))
        gaps[index], stale[index] = gap[0], is_stale(rng, gap)[0]
    return gaps, stale


def load_case(name: SetName, index: int) -> TestCase:
    """Simulate one test patient."""
    case = sample_case(patient_seed(0, TEST, SET_OFFSET[name] + index))
    other = sample_case(patient_seed(0, TEST, SET_OFFSET[name] + OTHER_OFFSET + index))
    gaps, stale = gaps_of(name, index + 1)
    fresh, old, foreign = beats_of([case, case, other], np.array([False, True, False]))
    stack = case.image(SIZE, SPACING_MM, WANDER_MM)
    burden = segment_burden_of(case)
    is_old = bool(stale[index])
    return TestCase(
        index, stack, float(gaps[index]), is_old, old if is_old else fresh, fresh, old, foreign,
        burden,
    )  # fmt: skip
