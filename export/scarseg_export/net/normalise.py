"""Robust normalisation that any execution provider computes alike.

Sums only: percentiles need a sort, and min/max reductions fused with rescaling have been
miscompiled by TensorRT builds. Statistics stay in FP32, about a mean that is known already: raw
pixels may carry an offset that dwarfs their spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLIP_SD = 2.5
ROUNDS = 2
FLAT = 1e-4
"""A spread below this share of the mean is rounding, not signal."""


@dataclass(frozen=True)
class Normalisation:
    """Clip to [low, high], then (x − mean) / sd. Scalars of one stack."""

    low: Tensor
    high: Tensor
    mean: Tensor
    sd: Tensor


def robust_normalisation(views: Tensor) -> Normalisation:
    """Mean and SD of a whole stack [S, h, w], outliers clipped at 2.5 SD, padding left out.

    Padding is whatever equals the lowest value of the stack: air that a scanner or a converter
    filled in.
    """
    return _normalisation(views, _inside(views))


def robust_zscore(views: Tensor) -> Tensor:
    """Z-score [S, h, w] over the whole stack, padding set to 0. Constant input gives zeros."""
    inside = _inside(views)
    scale = _normalisation(views, inside)
    return (_clip(views, scale.low, scale.high) - scale.mean) / scale.sd * inside


def _normalisation(views: Tensor, inside: Tensor) -> Normalisation:
    count = inside.sum().clamp_min(1.0)
    mean = (views * inside).sum() / count
    low, high = None, None
    mean, sd = _moments(views - mean, inside, count, mean)
    for _ in range(ROUNDS):
        # Bounds only ever narrow: what was clipped once must not come back.
        low = mean - CLIP_SD * sd if low is None else torch.maximum(low, mean - CLIP_SD * sd)
        high = mean + CLIP_SD * sd if high is None else torch.minimum(high, mean + CLIP_SD * sd)
        mean, sd = _moments(_clip(views, low, high) - mean, inside, count, mean)
    assert low is not None and high is not None
    return Normalisation(low, high, mean, sd)


def _inside(views: Tensor) -> Tensor:
    return (views > views.amin((0, 1, 2))).to(views.dtype)


def _clip(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, low), high)


def _moments(apart: Tensor, inside: Tensor, count: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and SD of values given as their distance ``apart`` from ``about``, in one pass."""
    shift = (apart * inside).sum() / count
    square = (apart * apart * inside).sum() / count
    mean = about + shift
    sd = torch.sqrt((square - shift * shift).clamp_min(0.0))
    # The floor keeps constant images finite without touching real ones at any scale.
    return mean, torch.maximum(sd, FLAT * mean.abs()).clamp_min(1e-12)
