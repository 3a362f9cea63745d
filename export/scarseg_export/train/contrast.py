"""Contrast, noise and sharpness as scanners, sequences and pictures of pictures differ in them.

Works on normalised views [N, C, h, w], each sample by itself; the neighbours of a slice (C = 3:
below, slice, above) get a little brightness of their own, since some archives scale every
slice by itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(low: float, high: float, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Random numbers evenly spread from ``low`` to ``high``."""
    return low + (high - low) * torch.rand(shape, device=device)


def bend_contrast(views: Tensor) -> Tensor:
    """Random gain, offset, tone curve, shading, noise and blur of each sample [N, C, h, w]."""
    count, channels, height, width = views.shape
    device = views.device

    def drawn(low: float, high: float, each: int = 1) -> Tensor:
        return uniform(low, high, (count, each, 1, 1), device)

    def some(share: float) -> Tensor:
        return (torch.rand(count, 1, 1, 1, device=device) < share).float()

    gain, offset = drawn(0.75, 1.3), drawn(-0.3, 0.3)
    own = some(0.4)  # slices that were scaled one by one
    gain = gain * (1.0 + own * drawn(-0.2, 0.2, channels))
    offset = offset + own * drawn(-0.3, 0.3, channels)
    views = views * gain + offset
    views = views + drawn(-0.15, 0.15) * (views**2 - 1.0)
    # Coils: one side brighter than the other.
    across = torch.linspace(-1, 1, width, device=device)
    along = torch.linspace(-1, 1, height, device=device)[:, None]
    views = views * (1.0 + drawn(-0.15, 0.15) * across + drawn(-0.15, 0.15) * along)
    # Coarse acquisitions and the blur of a beating apex.
    blurred = F.avg_pool2d(views, 3, stride=1, padding=1, count_include_pad=False)
    views = torch.lerp(views, blurred, some(0.35) * drawn(0.0, 1.0))
    if height % 2 == 0 and width % 2 == 0:
        coarse = F.interpolate(F.avg_pool2d(views, 2), scale_factor=2.0, mode="bilinear")
        views = torch.lerp(views, coarse, some(0.15))
    noise = torch.randn_like(views)
    smooth = F.avg_pool2d(noise, 3, stride=1, padding=1) * 2.0
    noise = torch.where(some(0.5) > 0, noise, smooth)
    views = views + some(0.5) * drawn(0.0, 0.25) * noise
    # Windows that cut off what is bright.
    return torch.minimum(views, torch.where(some(0.25) > 0, drawn(1.0, 2.2), drawn(2.5, 4.0)))
