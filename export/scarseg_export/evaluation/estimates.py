"""Estimates with bootstrap intervals over patients, averaged over training seeds.

Everything is a ratio of sums over patients (a mean: values over counts; pooled Dice: overlap
over volumes), so a bootstrap draw is a vector of how often each patient was drawn. All estimates
of one group of patients use the same draws: differences between arms stay paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 2000
LEVEL = (0.025, 0.975)


@dataclass(frozen=True)
class Estimate:
    """One number: by training seed, and by bootstrap draw of patients."""

    by_seed: Array
    """[seeds] NaN where undefined."""
    draws: Array
    """[draws] mean over seeds."""
    patients: int
    """Count of those that had a value."""

    def __sub__(self, other: Estimate) -> Estimate:
        fewer = min(self.patients, other.patients)
        return Estimate(self.by_seed - other.by_seed, self.draws - other.draws, fewer)

    def to_dict(self) -> dict[str, Any] | None:
        """Mean over seeds, 95 % interval over patients, SD over seeds; None where undefined."""
        values = self.by_seed[np.isfinite(self.by_seed)]
        if not values.size:
            return None
        low, high = np.nanquantile(self.draws, LEVEL)
        return {
            "mean": float(values.mean()), "low": float(low), "high": float(high),
            "patients": self.patients, "by_seed": [float(v) for v in values],
            "sd_over_seeds": float(values.std(ddof=1)) if values.size > 1 else None,
        }  # fmt: skip


def draw_patients(patients: int, draws: int = DRAWS) -> Array:
    """[draws, patients] how often each patient was drawn; fixed, so that reports repeat."""
    rng = np.random.default_rng(0)
    chances = np.full(patients, 1.0 / patients)
    return rng.multinomial(patients, chances, draws).astype(np.float64)


def ratio(numerator: Array, denominator: Array, draws: Array) -> Estimate:
    """Ratio of sums over patients, from [seeds, patients] each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        by_seed = numerator.sum(1) / denominator.sum(1)
        drawn = (draws @ numerator.T) / (draws @ denominator.T)
    return Estimate(by_seed, _mean_over_seeds(drawn), int((denominator > 0).any(0).sum()))


def mean(values: Array, draws: Array) -> Estimate:
    """Mean over patients of values [seeds, patients]; NaN is left out."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0), defined.astype(np.float64), draws)


def auroc(
    positive: Array,
    negative: Array,
    draws: tuple[Array, Array],
    among: NDArray[np.bool_] | None = None,
) -> Estimate:
    """Chance that a positive scores above a negative one, ties counting half.

    Args:
        positive: [seeds, P] scores, ``negative`` [seeds, N].
        draws: [draws, P] and [draws, N], how often each was drawn.
        among: [seeds, P] which positives count; all if None.
    """
    among = np.ones(positive.shape, bool) if among is None else among
    seeds = []
    for high, low, kept in zip(positive, negative, among, strict=True):
        above = (high[:, None] > low) + 0.5 * (high[:, None] == low)
        once = _weighted(above, kept[None].astype(np.float64), np.ones((1, len(low))))
        seeds.append(np.concatenate([once, _weighted(above, draws[0] * kept, draws[1])]))
    table = np.array(seeds)
    return Estimate(table[:, 0], _mean_over_seeds(table[:, 1:].T), int(among.any(0).sum()))


def average(estimates: list[Estimate]) -> Estimate:
    """Mean of several estimates of the same patients, undefined ones left out."""
    found = [e for e in estimates if np.isfinite(e.by_seed).all()]
    if not found:
        return Estimate(np.array([np.nan]), np.array([np.nan]), 0)
    by_seed = np.mean([e.by_seed for e in found], axis=0)
    drawn = np.array([e.draws for e in found])
    return Estimate(by_seed, _mean_over_seeds(drawn.T), max(e.patients for e in found))


def _weighted(above: Array, high: Array, low: Array) -> Array:
    """[draws] AUROC from pairwise wins [P, N] and drawn counts [draws, P] and [draws, N]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(((high @ above) * low).sum(1) / (high.sum(1) * low.sum(1)))


def _mean_over_seeds(drawn: Array) -> Array:
    """[draws] from [draws, seeds]; NaN only where no seed has a value."""
    defined = np.isfinite(drawn)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(defined, drawn, 0.0).sum(1) / defined.sum(1))
