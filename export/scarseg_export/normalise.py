"""Robust normalisation that any execution provider computes alike.

Sums only: percentiles need a sort, and min/max reductions fused with rescaling have been
miscompiled by TensorRT builds. Statistics stay in FP32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLIP_SD = 2.5
ROUNDS = 2


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
    inside = _inside(views)
    count = inside.sum().clamp_min(1.0)
    low, high = views.amin((0, 1, 2)), views.amax((0, 1, 2))
    for _ in range(ROUNDS):
        mean, sd = _moments(_clip(views, low, high), inside, count)
        low = torch.maximum(low, mean - CLIP_SD * sd)
        high = torch.minimum(high, mean + CLIP_SD * sd)
    mean, sd = _moments(_clip(views, low, high), inside, count)
    return Normalisation(low, high, mean, sd)


def robust_zscore(views: Tensor) -> Tensor:
    """Z-score [S, h, w] over the whole stack, padding set to 0. Constant input gives zeros."""
    scale = robust_normalisation(views)
    return (_clip(views, scale.low, scale.high) - scale.mean) / scale.sd * _inside(views)


def _inside(views: Tensor) -> Tensor:
    return (views > views.amin((0, 1, 2))).to(views.dtype)


def _clip(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(values, low), high)


def _moments(values: Tensor, inside: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    mean = (values * inside).sum() / count
    variance = ((values - mean) ** 2 * inside).sum() / count
    # The floor keeps constant images finite without touching real ones at any scale. A clamp,
    # since exporters take the addition of a tiny constant for no addition at all.
    return mean, (torch.sqrt(variance) + 1e-6 * mean.abs()).clamp_min(1e-12)
