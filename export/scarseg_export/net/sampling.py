"""Moving between pixel grids inside the graph: coarse view, heart crop, and back.

Every position is in mm from the image centre as (column, row), so that spacing enters only
here. ``grid_sample`` runs with ``align_corners=False``: −1 and 1 are the outer pixel edges.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def half_extent_mm(image: Tensor, pixel_spacing: Tensor) -> Tensor:
    """[2] half width and half height in mm of an image [S, H, W] with spacing (row, column)."""
    height, width = image.shape[-2], image.shape[-1]
    return torch.stack([pixel_spacing[1] * width, pixel_spacing[0] * height]) * 0.5


def offsets_mm(size: int, spacing_mm: float, device: torch.device | None = None) -> Tensor:
    """[size] pixel-centre positions of a square grid about its own centre."""
    return (torch.arange(size, device=device, dtype=torch.float32) + 0.5 - size / 2) * spacing_mm


def view(
    image: Tensor, half_mm: Tensor, centres_mm: Tensor, size: int, spacing_mm: float
) -> Tensor:
    """Square views [S, size, size] of slices [S, H, W] about per-slice centres [S, 2]."""
    axis = offsets_mm(size, spacing_mm, image.device)
    grid = grids(axis / half_mm[0], axis / half_mm[1], centres_mm / half_mm)
    return F.grid_sample(
        image[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0]


def centred_view(image: Tensor, half_mm: Tensor, size: int, spacing_mm: float) -> Tensor:
    """Square views [S, size, size] of slices [S, H, W] about the image centre, each pixel the mean
    of 2 × 2 bilinear samples against aliasing.

    All slices share the grid, which is parallel to theirs: two matrix products, in a fraction of
    the time of sampling four times as many pixels one by one.
    """
    axis = offsets_mm(2 * size, spacing_mm / 2, image.device)
    rows = linear_weights(axis / half_mm[1], image.shape[1])
    columns = linear_weights(axis / half_mm[0], image.shape[2])
    return _paired(rows) @ image @ _paired(columns).T


def linear_weights(positions: Tensor, count: int) -> Tensor:
    """[n, count] weight of every pixel of an axis in linear interpolation at ``positions`` [n],
    −1 and 1 being the outer edges; beyond the outer pixels these repeat themselves."""
    place = ((positions + 1.0) * (count / 2) - 0.5).clamp_min(0.0).clamp_max(count - 1)
    pixel = torch.arange(count, device=positions.device, dtype=positions.dtype)
    return (1.0 - (place[:, None] - pixel[None, :]).abs()).clamp_min(0.0)


def _paired(weights: Tensor) -> Tensor:
    return 0.5 * (weights[0::2] + weights[1::2])


def back(
    maps: Tensor, image: Tensor, half_mm: Tensor, centres_mm: Tensor, crop_mm: float
) -> Tensor:
    """Crop maps [S, C, h, w] resampled onto the input grid [S, C, H, W]; 0 outside the crop."""
    columns, rows = pixel_positions_mm(image, half_mm)
    half_crop = crop_mm / 2
    grid = grids(columns / half_crop, rows / half_crop, -centres_mm / half_crop)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def grids(columns: Tensor, rows: Tensor, shifts: Tensor) -> Tensor:
    """[S, h, w, 2] grids of columns [w] and rows [h], each shifted by its (column, row) of
    ``shifts`` [S, 2].

    Columns and rows are put together once and not for every slice, and whole lines are shifted at
    a time: done pixel by pixel this costs as much as a convolution.
    """
    height, width = rows.shape[0], columns.shape[0]
    grid = torch.stack([columns.expand(height, -1), rows[:, None].expand(-1, width)], -1)
    lines = shifts[:, None, :].expand(-1, width, -1)
    return (grid.reshape(1, height, -1) + lines.reshape(-1, 1, 2 * width)).unflatten(2, (-1, 2))


def pixel_positions_mm(image: Tensor, half_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Column positions [W] and row positions [H] in mm from the image centre."""
    height, width = image.shape[-2], image.shape[-1]
    columns = (torch.arange(width, device=image.device) + 0.5) * (2.0 / width) - 1.0
    rows = (torch.arange(height, device=image.device) + 0.5) * (2.0 / height) - 1.0
    return columns * half_mm[0], rows * half_mm[1]
