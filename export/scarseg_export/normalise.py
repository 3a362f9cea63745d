"""Robust normalisation that any execution provider computes alike.

Sums only: percentiles need a sort, and min/max reductions fused with rescaling have been
miscompiled by TensorRT builds. Statistics stay in FP32.
"""

from __future__ import annotations

import torch
from torch import Tensor

CLIP_SD = 2.5
ROUNDS = 2


def robust_zscore(views: Tensor) -> Tensor:
    """Z-score [S, h, w] over the whole stack, outliers clipped at 2.5 SD, padding set to 0.

    Padding is whatever equals the lowest value of the stack: air that a scanner or a converter
    filled in. Constant input gives zeros.
    """
    inside = (views > views.amin((0, 1, 2))).to(views.dtype)
    count = inside.sum().clamp_min(1.0)
    clipped = views
    for _ in range(ROUNDS):
        mean, sd = _moments(clipped, inside, count)
        clipped = torch.minimum(torch.maximum(clipped, mean - CLIP_SD * sd), mean + CLIP_SD * sd)
    mean, sd = _moments(clipped, inside, count)
    return (clipped - mean) / sd * inside


def _moments(values: Tensor, inside: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    mean = (values * inside).sum() / count
    variance = ((values - mean) ** 2 * inside).sum() / count
    # The floor keeps constant images finite without touching real ones at any scale. A clamp,
    # since exporters take the addition of a tiny constant for no addition at all.
    return mean, (torch.sqrt(variance) + 1e-6 * mean.abs()).clamp_min(1e-12)
