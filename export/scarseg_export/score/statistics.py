"""Estimates over patients: bootstrap intervals, agreement of methods, paired tests.

Intervals and tests are SciPy's. ICC and kappa, which SciPy has not, follow the formulas of their
papers; tests compare them with other implementations.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
DRAWS = 2000
SEED = 0
FEWEST = 3
"""Patients below which no interval is given."""


def mean_interval(values: Array) -> dict[str, Any] | None:
    """Mean of the finite values with its 95 % bootstrap interval (percentiles) over patients."""
    found = values[np.isfinite(values)]
    if not found.size:
        return None
    low, high = _interval((found,), np.mean)
    return {"mean": float(found.mean()), "low": low, "high": high, "patients": int(found.size)}


def pooled_dice(hit: Array, called: Array, true: Array) -> dict[str, Any] | None:
    """Dice of all patients' volumes together, resampled by patient."""
    known = np.isfinite(hit) & np.isfinite(called) & np.isfinite(true)
    parts = hit[known], called[known], true[known]

    def ratio(hit: Array, called: Array, true: Array, axis: int = -1) -> Any:
        total = called.sum(axis) + true.sum(axis)
        return 2 * hit.sum(axis) / np.where(total > 0, total, np.nan)

    if not known.any() or not parts[2].sum():
        return None
    low, high = _interval(parts, ratio)
    return {
        "mean": float(ratio(*parts)), "low": low, "high": high, "patients": int(known.sum()),
    }  # fmt: skip


def _interval(parts: tuple[Array, ...], statistic: Any) -> tuple[float | None, float | None]:
    if parts[0].size < FEWEST:
        return None, None
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        # Where all draws agree, as of arms that say the same, the interval is that one value.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            parts, statistic, paired=True, n_resamples=DRAWS, method="percentile",
            rng=np.random.default_rng(SEED), vectorized=True, batch=200,
        ).confidence_interval  # fmt: skip
    return _number(found.low), _number(found.high)


def paired_difference(first: Array, second: Array) -> dict[str, Any] | None:
    """Mean of ``second`` − ``first`` over patients that have both, its 95 % interval, and the
    two-sided p of Wilcoxon's signed-rank test."""
    apart = (second - first)[np.isfinite(first) & np.isfinite(second)]
    found = mean_interval(apart)
    if found is None:
        return None
    p = float(stats.wilcoxon(apart).pvalue) if apart.size >= FEWEST and apart.any() else None
    return found | {"p_wilcoxon": p}


def bland_altman(called: Array, true: Array) -> dict[str, Any] | None:
    """Bias (called − true) and 95 % limits of agreement (Bland and Altman, Lancet 1986), and the
    ICC of both."""
    known = np.isfinite(called) & np.isfinite(true)
    apart = (called - true)[known]
    if apart.size < FEWEST:
        return None
    bias, spread = float(apart.mean()), float(apart.std(ddof=1))
    return {
        "bias": bias, "low": bias - 1.96 * spread, "high": bias + 1.96 * spread,
        "patients": int(apart.size), "icc": icc(np.stack([called[known], true[known]], 1)),
    }  # fmt: skip


def icc(ratings: Array) -> float | None:
    """Intraclass correlation of ratings [patients, raters]: two-way random effects, absolute
    agreement, single rater. ICC(2,1) of Shrout and Fleiss, Psychol Bull 1979;86:420."""
    n, k = ratings.shape
    if n < FEWEST:
        return None
    grand = ratings.mean()
    rows = k * ((ratings.mean(1) - grand) ** 2).sum() / (n - 1)
    columns = n * ((ratings.mean(0) - grand) ** 2).sum() / (k - 1)
    rest = ratings - ratings.mean(1)[:, None] - ratings.mean(0)[None, :] + grand
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    total = rows + (k - 1) * error + k * (columns - error) / n
    return float((rows - error) / total) if total > 0 else None


def kappa(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float | None:
    """Agreement beyond chance of two yes-or-no ratings (Cohen, Educ Psychol Meas 1960;20:37)."""
    if not first.size:
        return None
    observed = float((first == second).mean())
    yes = float(first.mean()), float(second.mean())
    chance = yes[0] * yes[1] + (1 - yes[0]) * (1 - yes[1])
    return (observed - chance) / (1 - chance) if chance < 1 else None


def calibration(bins: Array) -> dict[str, Any] | None:
    """Reliability of probabilities [3, bins] (pixels, their sum, scarred pixels): mean predicted
    and observed share of each bin, and the expected calibration error."""
    pixels, predicted, scarred = bins
    total = float(pixels.sum())
    if not total:
        return None
    used = pixels > 0
    gap = np.abs(predicted[used] - scarred[used]).sum() / total
    return {
        "expected_error": float(gap),
        "bins": [
            {"pixels": int(n), "predicted": float(p / n), "observed": float(s / n)}
            for n, p, s in zip(pixels[used], predicted[used], scarred[used], strict=True)
        ],
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
