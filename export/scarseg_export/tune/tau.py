"""The time constant of ECGs from pairs of known gaps: an estimate with its interval, or none.

The likelihood is that of TAFF's training (net/time_weight.py). Here it is profiled: for every time
constant of a grid the other parameters are fitted anew, and what lies within 1.92 of the best
log-likelihood is the 95 % interval (Wilks). A hundred pairs may well not tell: then the interval
says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import chi2

from scarseg_export.net.time_weight import AgeLikelihood
from scarseg_export.train.fusion import Pairs
from scarseg_export.tune.pairs import OwnPair

GRID_DAYS = np.geomspace(3.0, 3000.0, 25)
FINE = 17
"""Points between the neighbours of the best."""
DROP = float(chi2.ppf(0.95, 1)) / 2
TOLD = 10.0
"""An interval whose ends are further apart than this factor says too little to move τ."""
FRESH_DAYS, OLD_DAYS, EACH = 14.0, 60.0, 10
"""So many pairs at least must be younger than the first and older than the second."""
FEWEST = 40


@dataclass(frozen=True, slots=True)
class TauEstimate:
    """Answer of the pairs on the time constant."""

    pairs: int
    fresh: int
    old: int
    tau_days: float | None
    low_days: float | None
    """End of the 95 % interval; None: beyond the grid, so open."""
    high_days: float | None
    adopted: bool
    why: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate_tau(pairs: Sequence[OwnPair]) -> TauEstimate:
    """Profile the time constant over own pairs; say whether it is known well enough to be used."""
    gaps = np.array([pair.gap_days for pair in pairs])
    fresh, old = int((gaps <= FRESH_DAYS).sum()), int((gaps > OLD_DAYS).sum())
    known = len(pairs), fresh, old
    if len(pairs) < FEWEST or min(fresh, old) < EACH:
        why = (
            f"{len(pairs)} pairs, {fresh} up to {FRESH_DAYS:g} and {old} above {OLD_DAYS:g} days; "
            f"at least {FEWEST}, and {EACH} of each, are needed"
        )
        return TauEstimate(*known, None, None, None, False, why)
    stacked = Pairs.of([pair.patient for pair in pairs])
    days, profile = _profile(stacked, gaps)
    best = int(profile.argmin())
    inside = np.flatnonzero(profile <= profile[best] + DROP)
    # The ends are the first points that are out, so that no interval is narrower than the grid.
    low = None if inside[0] == 0 else float(days[inside[0] - 1])
    high = None if inside[-1] == len(days) - 1 else float(days[inside[-1] + 1])
    tau = float(days[best])
    if low is None or high is None:
        why = "the interval is open: these pairs cannot tell how fast ECGs grow old"
    elif high / low > TOLD:
        why = f"the interval, {low:.0f} to {high:.0f} days, is too wide"
    else:
        why = ""
    return TauEstimate(*known, tau, low, high, not why, why)


def _profile(pairs: Pairs, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Time constants and their negative log-likelihoods: the grid, and a finer one at its best."""
    coarse = np.array([_fitted(pairs, gaps, tau) for tau in GRID_DAYS])
    best = int(coarse.argmin())
    near = GRID_DAYS[max(best - 2, 0)], GRID_DAYS[min(best + 2, len(GRID_DAYS) - 1)]
    fine_days = np.geomspace(*near, FINE)[1:-1]
    fine = np.array([_fitted(pairs, gaps, tau) for tau in fine_days])
    days, profile = np.append(GRID_DAYS, fine_days), np.append(coarse, fine)
    order = np.argsort(days)
    return days[order], profile[order]


def _fitted(pairs: Pairs, gaps: np.ndarray, tau: float) -> float:
    """Negative log-likelihood at a time constant, calibration of the belief fitted along."""
    belief = pairs.belief[:, 0].mean(1).double()
    scarred = pairs.scarred.double()
    age = AgeLikelihood(scarred).double()
    weights = torch.from_numpy(np.exp(-gaps / tau))

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        age.zero_grad()
        with torch.no_grad():
            for parameter, value in zip(age.parameters(), values, strict=True):
                parameter.fill_(float(value))
        loss = age(weights, belief, scarred) * len(gaps)
        # A weak pull towards what training begins with, lest few pairs run off to infinity.
        loss = loss + 0.05 * sum(
            (p - at) ** 2 for p, at in zip(age.parameters(), START, strict=True)
        )
        loss.backward()
        slopes = [0.0 if p.grad is None else float(p.grad) for p in age.parameters()]
        return float(loss.detach()), np.array(slopes)

    found = minimize(objective, START, jac=True, method="L-BFGS-B")
    return float(found.fun) if math.isfinite(found.fun) else math.inf


START = (2.0, 1.0, 0.0)
"""Of AgeLikelihood's parameters: how often a scar shows at all, scale and shift of the belief."""
