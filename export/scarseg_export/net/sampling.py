"""Moving between pixel grids inside the graph: coarse view, heart crop, and back.

Every position is in mm from the image centre as (column, row), so that spacing enters only
here. ``grid_sample`` runs with ``align_corners=False``: −1 and 1 are the outer pixel edges.

A ``turn`` [2] is the cosine and sine of the angle by which the axes of a heart crop are turned
against those of the image, from columns towards rows. The crop lies as the heart does, whatever way
the image was acquired or displayed.
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


def turned(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Positions along the axes of a crop (x, y) as (columns, rows) of the image; with the inverse
    of the turn the other way round. Shapes broadcast."""
    return turn[0] * x - turn[1] * y, turn[1] * x + turn[0] * y


def inverse(turn: Tensor) -> Tensor:
    """[2] the same angle the other way."""
    return torch.stack([turn[0], -turn[1]])


def view(
    image: Tensor,
    half_mm: Tensor,
    centres_mm: Tensor,
    size: int,
    spacing_mm: float,
    turn: Tensor | None = None,
) -> Tensor:
    """Square views [S, size, size] of slices [S, H, W] about per-slice centres [S, 2], upright
    without a ``turn``."""
    axis = offsets_mm(size, spacing_mm, image.device)
    x, y = axis[None, :].expand(size, -1), axis[:, None].expand(-1, size)
    columns, rows = (x, y) if turn is None else turned(x, y, turn)
    grid = grids(columns / half_mm[0], rows / half_mm[1], centres_mm / half_mm)
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
    maps: Tensor,
    image: Tensor,
    half_mm: Tensor,
    centres_mm: Tensor,
    turn: Tensor,
    crop_mm: float,
) -> Tensor:
    """Crop maps [S, C, h, w] resampled onto the input grid [S, C, H, W]; 0 outside the crop."""
    columns, rows = pixel_positions_mm(image, half_mm)
    half_crop = crop_mm / 2
    there = inverse(turn)
    x, y = turned(columns[None, :] / half_crop, rows[:, None] / half_crop, there)
    shifts = turned(centres_mm[:, 0], centres_mm[:, 1], there)
    grid = grids(x, y, torch.stack(shifts, 1) / -half_crop)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def grids(columns: Tensor, rows: Tensor, shifts: Tensor) -> Tensor:
    """[S, h, w, 2] grids of columns [h, w] and rows [h, w], each shifted by its (column, row) of
    ``shifts`` [S, 2].

    Columns and rows are put together once and not for every slice, and whole lines are shifted at
    a time: done pixel by pixel this costs as much as a convolution.
    """
    height, width = rows.shape
    grid = torch.stack([columns, rows], -1)
    lines = shifts[:, None, :].expand(-1, width, -1)
    return (grid.reshape(1, height, -1) + lines.reshape(-1, 1, 2 * width)).unflatten(2, (-1, 2))


def pixel_positions_mm(image: Tensor, half_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Column positions [W] and row positions [H] in mm from the image centre."""
    height, width = image.shape[-2], image.shape[-1]
    columns = (torch.arange(width, device=image.device) + 0.5) * (2.0 / width) - 1.0
    rows = (torch.arange(height, device=image.device) + 0.5) * (2.0 / height) - 1.0
    return columns * half_mm[0], rows * half_mm[1]
