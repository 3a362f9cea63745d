"""Robust normalisation that any execution provider computes alike.

Sums only: percentiles need a sort, and min/max reductions fused with rescaling have been
miscompiled by TensorRT builds. Statistics stay in FP32, about a mean that is known already: raw
pixels may carry an offset that dwarfs their spread.

On a GPU every operator is a launch, and each of these works on little: so as few as can be. A
spread is a norm, and what is left out stays zero throughout instead of being masked in every sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CLIP_SD = 2.5
FLAT = 1e-4
"""A spread below this share of the mean of all pixels is rounding, not signal."""
NOTHING = 1e-12
"""The least spread: keeps a stack of zeros finite without touching real ones at any scale."""


@dataclass(frozen=True)
class Normalisation:
    """Clip to [low, high], then (x − mean) / sd. Scalars of one stack."""

    low: Tensor
    high: Tensor
    mean: Tensor
    sd: Tensor


@dataclass(frozen=True)
class _Clipped:
    """A stack about its mean as a row [1, N], outliers clipped twice; padding is 0."""

    values: Tensor
    first_mean: Tensor
    means: tuple[Tensor, Tensor]
    """Of the first and second clipping, each about the mean before."""
    limits: tuple[Tensor, Tensor]
    """Of the first and second clipping, each about the mean before."""
    sd: Tensor


def robust_normalisation(views: Tensor) -> Normalisation:
    """Mean and SD of a whole stack [S, h, w], outliers clipped at 2.5 SD, padding left out.

    Padding is whatever equals the lowest value of the stack: air that a scanner or a converter
    filled in.
    """
    clipped = _clipped(views, flat_below(views))
    (first, second), (wide, narrow) = clipped.means, clipped.limits
    about = clipped.first_mean + first
    low = torch.maximum(clipped.first_mean - wide, about - narrow)
    high = torch.minimum(clipped.first_mean + wide, about + narrow)
    found = (low, high, about + second, clipped.sd)
    return Normalisation(*(value.reshape(()) for value in found))


def robust_zscore(views: Tensor, least: Tensor | None = None) -> Tensor:
    """Z-score of views [S, …] over the whole stack, padding set to 0, as one row [1, N]. Constant
    input gives zeros.

    Args:
        least: spread that there always is, from :func:`flat_below`; by default of the views.
    """
    clipped = _clipped(views, flat_below(views) if least is None else least)
    return clipped.values / clipped.sd


def flat_below(image: Tensor) -> Tensor:
    """Scalar spread below which nothing in an image above 0 is signal."""
    return (FLAT * image.mean(tuple(range(image.ndim)))).clamp_min(NOTHING)


def _clipped(views: Tensor, least: Tensor) -> _Clipped:
    row = views.reshape(1, -1)
    low = row.amin(1, keepdim=True)
    above = row - low
    inside = torch.sign(above)
    count = inside.sum(1, keepdim=True).clamp_min(1.0)
    # Times a sum: the mean, where there is no padding.
    share = inside / count
    root = count.sqrt()
    reach = root / CLIP_SD
    apart, total = _about_mean(above, share)
    wide = _norm(apart) / reach
    apart, first = _about_mean(_within(apart, wide), share)
    # Limits about the new mean need not be narrowed to those before: what lay beyond is gone.
    narrow = _norm(apart) / reach
    apart, second = _about_mean(_within(apart, narrow), share)
    sd = torch.maximum(_norm(apart) / root, least)
    return _Clipped(apart, low + total / count, (first / count, second / count), (wide, narrow), sd)


def _within(values: Tensor, limit: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(values, limit), -limit)


def _about_mean(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Values [1, N] about their mean, and their sum."""
    total = values.sum(1, keepdim=True)
    return torch.addmm(values, total, share, alpha=-1.0), total


def _norm(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values, dim=1, keepdim=True)
