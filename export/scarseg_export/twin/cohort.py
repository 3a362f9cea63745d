"""Simulated patients: a heart, its scar at MRI time, the ECG's scar, and the time between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scarseg_export.twin.anatomy import Anatomy, sample_anatomy
from scarseg_export.twin.ecg import Conduction, sample_conduction, simulate_beats
from scarseg_export.twin.grid import sample_grid
from scarseg_export.twin.image import ImageStack, render
from scarseg_export.twin.scanner import Look, sample_look
from scarseg_export.twin.scar import ScarMap, no_scar, sample_mimic, sample_scar

TAU_DAYS = 120.0
"""The twin's own time constant: an ECG Δt days away shows another scar state with
probability 1 − exp(−Δt/τ)."""

MIMIC_SHARE = 0.4
"""Share of hearts with a bright patch that looks like scar but is none: the question that an
image alone cannot answer and an ECG of the same days can."""


@dataclass(frozen=True, slots=True)
class Case:
    """One simulated patient. Draws of image, ECG and gap come from separate streams of the
    seed, so that changing one part of the twin leaves the others as they were."""

    seed: int
    anatomy: Anatomy
    scar: ScarMap
    """At the time of the MRI."""
    other_scar: ScarMap
    """Another state of the same heart: what a stale ECG shows."""
    mimic: ScarMap
    conduction: Conduction
    look_of: Callable[[np.random.Generator], Look] = sample_look
    """Draws how an acquisition of this patient looks."""

    def image(
        self, size: int, spacing_mm: float, wander_mm: float, slices: int | None = None
    ) -> ImageStack:
        """Render the MRI of this patient on a grid of size × size pixels."""
        rng = _stream(self.seed, 2)
        grid = sample_grid(rng, self.anatomy, size, spacing_mm, wander_mm, slices)
        return render(rng, self.anatomy, self.scar, self.mimic, grid, self.look_of(rng))


def sample_case(seed: int, scar_free: float = 0.4) -> Case:
    """Draw the patient that belongs to ``seed``."""
    rng = _stream(seed, 0)
    anatomy = sample_anatomy(rng)
    scar = sample_scar(rng, scar_free)
    other = sample_scar(rng, scar_free)
    mimic = sample_mimic(rng) if rng.random() < MIMIC_SHARE else no_scar()
    return Case(seed, anatomy, scar, other, mimic, sample_conduction(_stream(seed, 1)))


def beats_of(cases: list[Case], stale: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[cases, 12, 512] mean beats; where ``stale``, of the patient's other scar state."""
    scars = [c.other_scar if old else c.scar for c, old in zip(cases, stale, strict=True)]
    beats = simulate_beats([c.anatomy for c in cases], scars, [c.conduction for c in cases])
    noise = [_stream(c.seed, 3).normal(0.0, 0.01, (12, 1)) for c in cases]
    return (beats * (1 + np.stack(noise))).astype(np.float32)


def sample_gaps(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Days between ECG and MRI as in a clinic: mostly the same admission, some years old."""
    near = rng.exponential(7.0, count)
    spread = np.exp(rng.uniform(np.log(1.0), np.log(1000.0), count))
    return np.where(rng.random(count) < 0.5, near, spread)


def is_stale(
    rng: np.random.Generator, gap_days: NDArray[np.float64], tau_days: float = TAU_DAYS
) -> NDArray[np.bool_]:
    """True where each ECG belongs to another scar state, by a time constant."""
    return rng.random(gap_days.shape) < 1.0 - np.exp(-gap_days / tau_days)


def _stream(seed: int, part: int) -> np.random.Generator:
    return np.random.default_rng([seed, part])
