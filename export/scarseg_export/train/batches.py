"""Training batches: single slices with their neighbours, from as many stacks as possible.

A batch of slices of one stack looks at one patient; the same number of slices of as many
patients costs the same and teaches more. Each is turned, flipped and scaled about the heart and
its contrast bent, which makes a small buffer of rendered stacks last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scarseg_export.net.network import NetworkConfig
from scarseg_export.net.normalise import robust_normalisation
from scarseg_export.net.sampling import half_extent_mm, offsets_mm, view
from scarseg_export.train.buffers import StackBuffer
from scarseg_runtime.contract import Label

CENTRE_JITTER_MM = 5.0
"""As far off as the localiser may be on real studies."""
SCAR_SLICES = 2.0
"""How much oftener slices with scar are drawn than others: two of three slices have none."""
LONE_SLICE = 0.15
"""Share of slices that are shown without their neighbours, as in a study of one slice."""


@dataclass(frozen=True)
class Source:
    """A buffer with what each of its stacks needs to be normalised, and its share of a batch."""

    buffer: StackBuffer
    scales: Tensor
    """[N, 5] lowest value, clip limits, mean and SD of each stack's heart crop."""
    slices: NDArray[np.float64]
    """[N · S] cumulative probability of every slice to be drawn."""
    share: float


def source_of(buffer: StackBuffer, config: NetworkConfig, share: float) -> Source:
    """Measure the normalisation of every stack on its upright crop."""
    scales = []
    for index in range(len(buffer)):
        pixels = torch.from_numpy(buffer.pixels[index].astype(np.float32))
        spacing = float(buffer.spacing_mm[index])
        centres = torch.from_numpy(buffer.centres_mm[index].copy())
        half = half_extent_mm(pixels, torch.tensor([spacing, spacing]))
        crop = view(pixels, half, centres, config.crop_size, config.crop_spacing_mm)
        scale = robust_normalisation(crop)
        scales.append(torch.stack([crop.min(), scale.low, scale.high, scale.mean, scale.sd]))
    scarred = (buffer.labels == Label.SCAR).any((2, 3)).ravel()
    drawn = np.cumsum(np.where(scarred, SCAR_SLICES, 1.0))
    return Source(buffer, torch.stack(scales), drawn / drawn[-1], share)


def draw_batch(
    rng: np.random.Generator, sources: list[Source], size: int, config: NetworkConfig
) -> tuple[Tensor, Tensor]:
    """Crops [N, 3, h, w] (below, slice, above) and labels [N, h, w] of the middle slice."""
    total = sum(source.share for source in sources)
    crops, labels = [], []
    for source in sources:
        count = round(size * source.share / total)
        if count:
            image, truth = _draw(rng, source, count, config)
            crops.append(image)
            labels.append(truth)
    return torch.cat(crops), torch.cat(labels)


def _draw(
    rng: np.random.Generator, source: Source, count: int, config: NetworkConfig
) -> tuple[Tensor, Tensor]:
    buffer = source.buffer
    slices = buffer.pixels.shape[1]
    stacks, middle = np.divmod(np.searchsorted(source.slices, rng.random(count), "right"), slices)
    below, above = np.maximum(middle - 1, 0), np.minimum(middle + 1, slices - 1)
    lone = rng.random(count) < LONE_SLICE
    below, above = np.where(lone, middle, below), np.where(lone, middle, above)
    pixels = np.stack([buffer.pixels[stacks, k] for k in (below, middle, above)], 1)
    truth = buffer.labels[stacks, middle]
    grid = _pose(rng, buffer, stacks, middle, config)
    image = F.grid_sample(
        torch.from_numpy(pixels.astype(np.float32)), grid,
        padding_mode="border", align_corners=False,
    )  # fmt: skip
    labels = F.grid_sample(
        torch.from_numpy(truth[:, None].astype(np.float32)), grid,
        mode="nearest", padding_mode="border", align_corners=False,
    )  # fmt: skip
    lowest, low, high, mean, sd = source.scales[torch.from_numpy(stacks)].T[..., None, None, None]
    views = (torch.minimum(torch.maximum(image, low), high) - mean) / sd
    views = torch.where(image > lowest, views, 0.0)  # padding, as the deployed graph has it
    return bend_contrast(rng, views), labels[:, 0].long()


def _pose(
    rng: np.random.Generator,
    buffer: StackBuffer,
    stacks: np.ndarray,
    middle: np.ndarray,
    config: NetworkConfig,
) -> Tensor:
    """Sampling grid [N, h, w, 2] of randomly turned, flipped and scaled views of the heart.

    Any rotation and both flips: the image network must not rely on how the heart lies.
    """
    count = len(stacks)
    turn = rng.uniform(0, 2 * np.pi, count)
    flip = rng.choice([-1.0, 1.0], count)
    scale = rng.uniform(0.82, 1.22, count)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.stack([np.stack([cos, -sin * flip], -1), np.stack([sin, cos * flip], -1)], 1)
    matrix *= scale[:, None, None]
    axis = offsets_mm(config.crop_size, config.crop_spacing_mm).numpy()
    offsets = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1)
    centres = buffer.centres_mm[stacks, middle] + rng.normal(0.0, CENTRE_JITTER_MM, (count, 2))
    posed = np.einsum("hwj,nij->nhwi", offsets, matrix) + centres[:, None, None, :]
    rows, columns = buffer.pixels.shape[-2:]
    half = np.array([columns, rows]) / 2 * buffer.spacing_mm[stacks][:, None]
    return torch.from_numpy((posed / half[:, None, None, :]).astype(np.float32))


def bend_contrast(rng: np.random.Generator, views: Tensor) -> Tensor:
    """Random scale, offset and tone curve of each sample [N, ..., h, w]; at times noise, blur."""
    shape = (len(views), *([1] * (views.ndim - 1)))

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))

    views = views * drawn(0.85, 1.18) + drawn(-0.15, 0.15)
    views = views + drawn(-0.12, 0.12) * (views**2 - 1.0)
    noisy = torch.from_numpy((rng.random(shape) < 0.3).astype(np.float32))
    seeds = torch.from_numpy(rng.standard_normal(views.shape, dtype=np.float32))
    views = views + noisy * drawn(0.0, 0.2) * seeds
    if rng.random() < 0.15:
        flat = views.flatten(0, -3)[:, None]
        views = F.avg_pool2d(flat, 3, stride=1, padding=1).view_as(views)
    return views
