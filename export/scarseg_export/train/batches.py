"""Training batches: single slices with their neighbours, from as many stacks as possible.

A batch of slices of one stack looks at one patient; the same number of slices of as many
patients costs the same and teaches more. Each is turned to lie about as in the deployed graph,
mirrored and scaled about the heart, and its contrast bent (see
:mod:`scarseg_export.train.contrast`), which makes a small buffer of rendered stacks last. All of it
happens on the device that trains, from its own random numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.normalise import robust_normalisation
from scarseg_export.net.sampling import PixelGrid, offsets_mm, view
from scarseg_export.train.buffers import StackBuffer
from scarseg_export.train.contrast import bend_contrast, uniform
from scarseg_runtime.contract import Label

SCALES = (0.82, 1.22)
STRETCH = 0.06
"""SD of the logarithm by which one axis is stretched and the other shrunk."""


@dataclass(frozen=True)
class Framing:
    """Views of a heart in training: their grid, and how far off they may lie."""

    size: int
    spacing_mm: float
    off_mm: float
    """SD of where the LV's centre is taken to be."""
    off_deg: float
    """SD about how the localiser says that the heart lies."""
    lost: float
    """Share of slices seen at any angle: where no RV is found."""
    lone: float
    """Share of slices that are shown without their neighbours, as in a study of one slice."""
    scar_slices: float
    """Factor by which slices with scar are drawn oftener than others."""


def crop_framing(config: NetworkConfig) -> Framing:
    """Framing of heart crops as the localiser's close looks make them, and a little worse."""
    return Framing(config.crop_size, config.crop_spacing_mm, 5.0, 12.0, 0.05, 0.15, 1.5)


@dataclass(frozen=True)
class Source:
    """A buffer of N stacks on the training device, ready to be drawn from."""

    pixels: Tensor
    """[N, S, h, w] int16."""
    labels: Tensor
    """[N, S, h, w] uint8."""
    centres_mm: Tensor
    """[N, S, 2] LV centres from the image centre."""
    spacing_mm: Tensor
    """[N]"""
    turns: Tensor
    """[N, 2] cosine and sine of how each heart lies (see :mod:`scarseg_export.net.sampling`)."""
    scales: Tensor
    """[N, 5] lowest value, clip limits, mean and SD of each stack's heart crop."""
    slices: Tensor
    """[N · S] cumulative probability of every slice to be drawn."""
    share: float
    """Of a batch."""


def source_of(
    buffer: StackBuffer,
    turns: Tensor,
    framing: Framing,
    share: float,
    device: torch.device,
) -> Source:
    """Measure the normalisation of every stack, whose heart lies by ``turns`` [N, 2], on its crop;
    move all to ``device``."""
    scales = []
    for index in range(len(buffer)):
        pixels = torch.from_numpy(buffer.pixels[index].astype(np.float32))
        spacing = float(buffer.spacing_mm[index])
        centres = torch.from_numpy(buffer.centres_mm[index].copy())
        half = PixelGrid.of(pixels, torch.tensor([spacing, spacing])).half_mm
        crop = view(pixels, half, centres, framing.size, framing.spacing_mm, turns[index])
        scale = robust_normalisation(crop)
        scales.append(torch.stack([crop.min(), scale.low, scale.high, scale.mean, scale.sd]))
    scarred = (buffer.labels == Label.SCAR).any((2, 3)).ravel()
    drawn = np.cumsum(np.where(scarred, framing.scar_slices, 1.0))
    # Rendered pixels stay below 2^14, so that the signed type, which torch can index, holds them.
    arrays = (buffer.pixels.view(np.int16), buffer.labels, buffer.centres_mm, buffer.spacing_mm)
    pixels, labels, centres, spacings = (torch.from_numpy(a.copy()).to(device) for a in arrays)
    cumulative = torch.from_numpy((drawn / drawn[-1]).astype(np.float32)).to(device)
    return Source(
        pixels, labels, centres, spacings, turns.to(device), torch.stack(scales).to(device),
        cumulative, share,
    )  # fmt: skip


def draw_batch(sources: list[Source], size: int, framing: Framing) -> tuple[Tensor, Tensor]:
    """Crops [N, 3, h, w] (below, slice, above) and labels [N, h, w] of the middle slice."""
    total = sum(source.share for source in sources)
    counts = [round(size * source.share / total) for source in sources]
    drawn = [
        _draw(source, count, framing)
        for source, count in zip(sources, counts, strict=True)
        if count
    ]  # fmt: skip
    crops, labels = (torch.cat(part) for part in zip(*drawn, strict=True))
    return crops, labels


def _draw(source: Source, count: int, framing: Framing) -> tuple[Tensor, Tensor]:
    device = source.pixels.device
    slices = source.pixels.shape[1]
    flat = torch.searchsorted(source.slices, torch.rand(count, device=device), right=True)
    flat = flat.clamp_max(len(source.slices) - 1)
    stacks, middle = flat // slices, flat % slices
    lone = torch.rand(count, device=device) < framing.lone
    below = torch.where(lone, middle, (middle - 1).clamp_min(0))
    above = torch.where(lone, middle, (middle + 1).clamp_max(slices - 1))
    pixels = torch.stack([source.pixels[stacks, k] for k in (below, middle, above)], 1)
    truth = source.labels[stacks, middle]
    grid = _pose(source, stacks, middle, framing)
    image = F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
    labels = F.grid_sample(
        truth[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    lowest, low, high, mean, sd = source.scales[stacks].T[..., None, None, None]
    views = (torch.minimum(torch.maximum(image, low), high) - mean) / sd
    padding = image <= lowest
    views = torch.where(padding, 0.0, bend_contrast(views))  # as the deployed graph has it
    return views, labels[:, 0].long()


def _pose(source: Source, stacks: Tensor, middle: Tensor, framing: Framing) -> Tensor:
    """Sampling grid [N, h, w, 2] of views of the heart with its RV on the left, about; randomly
    mirrored and scaled."""
    device, count = stacks.device, len(stacks)
    matrix = turned_and_flipped(about(source.turns[stacks], framing.off_deg, framing.lost))
    matrix = matrix * uniform(*SCALES, (count, 1, 1), device)
    stretch = torch.exp(STRETCH * torch.randn(count, device=device))
    matrix = matrix * torch.stack([stretch, 1 / stretch], -1)[:, None, :]
    axis = offsets_mm(framing.size, framing.spacing_mm, device)
    offsets = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    jitter = framing.off_mm * torch.randn(count, 2, device=device)
    centres = source.centres_mm[stacks, middle] + jitter
    posed = torch.einsum("hwj,nij->nhwi", offsets, matrix) + centres[:, None, None, :]
    rows, columns = source.pixels.shape[-2:]
    half = torch.tensor([columns, rows], device=device) / 2 * source.spacing_mm[stacks][:, None]
    return posed / half[:, None, None, :]


def about(turns: Tensor, off_deg: float, lost: float) -> Tensor:
    """Turns [N, 2] each off by some degrees, and a share of them by any angle."""
    off = math.radians(off_deg) * torch.randn(len(turns), device=turns.device)
    cos, sin = torch.cos(off), torch.sin(off)
    near = torch.stack(
        [turns[:, 0] * cos - turns[:, 1] * sin, turns[:, 1] * cos + turns[:, 0] * sin], 1
    )
    none_found = torch.rand(len(turns), 1, device=turns.device) < lost
    return torch.where(none_found, any_turn(len(turns), turns.device), near)


def any_turn(count: int, device: torch.device) -> Tensor:
    """[N, 2] turns by any angle."""
    angle = uniform(0.0, 2 * torch.pi, (count,), device)
    return torch.stack([torch.cos(angle), torch.sin(angle)], 1)


def turned_and_flipped(turns: Tensor) -> Tensor:
    """[N, 2, 2] from the axes of a crop to those of the image by turns [N, 2], every second one
    mirrored upside down, which leaves the RV where it is."""
    flip = 1.0 - 2.0 * (torch.rand(len(turns), device=turns.device) < 0.5).float()
    cos, sin = turns.unbind(1)
    return torch.stack([torch.stack([cos, -sin * flip], -1), torch.stack([sin, cos * flip], -1)], 1)
