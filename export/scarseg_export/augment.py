"""Training views: crops turned, flipped and scaled about the heart, contrast bent."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scarseg_export.normalise import robust_zscore


def turned_views(
    rng: np.random.Generator,
    pixels: Tensor,
    labels: Tensor,
    spacing_mm: float,
    centres_mm: Tensor,
    size: int,
    out_spacing_mm: float,
) -> tuple[Tensor, Tensor]:
    """Normalised views [S, size, size] and labels of one stack, randomly posed.

    Any rotation and both flips: the image network must not rely on how the heart lies.
    """
    height, width = pixels.shape[-2:]
    turn = rng.uniform(0, 2 * np.pi)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    scale = rng.uniform(0.85, 1.18)
    matrix = scale * np.array(
        [[np.cos(turn), -np.sin(turn) * flip], [np.sin(turn), np.cos(turn) * flip]]
    )
    axis = (np.arange(size) + 0.5 - size / 2) * out_spacing_mm
    offsets = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1) @ matrix.T
    jitter = rng.normal(0.0, 4.0, 2) + rng.normal(0.0, 1.0, (len(pixels), 2))
    centres = centres_mm.numpy() + jitter
    half = np.array([width, height]) * spacing_mm / 2
    grid = torch.from_numpy(((centres[:, None, None, :] + offsets) / half).astype(np.float32))
    image = F.grid_sample(pixels[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    truth = F.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0]
    return bend_contrast(rng, robust_zscore(image)), truth.long()


def bend_contrast(rng: np.random.Generator, views: Tensor) -> Tensor:
    """A random monotone tone curve, a little noise, sometimes a blur."""
    curve = rng.uniform(-0.12, 0.12)
    views = views + curve * (views**2 - 1.0)
    if rng.random() < 0.3:
        views = views + torch.randn(views.shape) * float(rng.uniform(0.0, 0.2))
    if rng.random() < 0.15:
        views = F.avg_pool2d(views[:, None], 3, stride=1, padding=1)[:, 0]
    return views
