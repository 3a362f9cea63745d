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
    columns = (centres_mm[:, None, None, 0] + axis[None, None, :]).expand(-1, size, -1)
    rows = (centres_mm[:, None, None, 1] + axis[None, :, None]).expand(-1, -1, size)
    grid = torch.stack([columns / half_mm[0], rows / half_mm[1]], dim=-1)
    return F.grid_sample(
        image[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0]


def back(
    maps: Tensor, image: Tensor, half_mm: Tensor, centres_mm: Tensor, crop_mm: float
) -> Tensor:
    """Crop maps [S, C, h, w] resampled onto the input grid [S, C, H, W]; 0 outside the crop."""
    columns, rows = pixel_positions_mm(image, half_mm)
    dx = (columns[None, None, :] - centres_mm[:, None, None, 0]).expand(-1, image.shape[1], -1)
    dy = (rows[None, :, None] - centres_mm[:, None, None, 1]).expand(-1, -1, image.shape[2])
    grid = torch.stack([dx, dy], dim=-1) / (crop_mm / 2)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def pixel_positions_mm(image: Tensor, half_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Column positions [W] and row positions [H] in mm from the image centre."""
    height, width = image.shape[-2], image.shape[-1]
    columns = (torch.arange(width, device=image.device) + 0.5) * (2.0 / width) - 1.0
    rows = (torch.arange(height, device=image.device) + 0.5) * (2.0 / height) - 1.0
    return columns * half_mm[0], rows * half_mm[1]
