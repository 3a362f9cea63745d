"""Moving between pixel grids inside the graph: coarse view, heart crop, and back.

Positions are in mm from the image centre as (column, row), so that spacing enters only here.
``grid_sample`` runs with ``align_corners=False``: −1 and 1 are the outer pixel edges.

Points carry a 1 as third, so that moving and turning all of them is one matrix product: a few
launches on a GPU where sums and differences need dozens.

A ``turn`` [2] is the cosine and sine of the angle by which the axes of a heart crop are turned
against those of the image, from columns towards rows. The crop lies as the heart does, whatever way
the image was acquired or displayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PixelGrid:
    """Place of the pixels of a study's slices."""

    columns: Tensor
    """[W] 0, 1, …"""
    rows: Tensor
    """[H] 0, 1, …"""
    last: Tensor
    """[2] number of the last column and row."""
    spacing_mm: Tensor
    """[2] from column to column and from row to row."""

    @classmethod
    def of(cls, image: Tensor, pixel_spacing: Tensor) -> PixelGrid:
        """Grid of slices [S, H, W] whose rows and columns are ``pixel_spacing`` [2] mm apart, as
        DICOM gives it: first from row to row."""
        rows, columns = (
            torch.arange(count, device=image.device, dtype=pixel_spacing.dtype)
            for count in image.shape[-2:]
        )
        return cls(columns, rows, torch.cat([columns[-1:], rows[-1:]]), pixel_spacing.flip(0))

    @property
    def half_mm(self) -> Tensor:
        """[2] half width and half height."""
        return (self.last + 1.0) * (0.5 * self.spacing_mm)

    @property
    def first_mm(self) -> Tensor:
        """[2] position of the first pixel."""
        return self.last * (-0.5 * self.spacing_mm)

    def points(self) -> Tensor:
        """[3, H, W] numbers of column and row of every pixel, and 1."""
        return points_of(self.columns, self.rows)

    def positions_mm(self) -> tuple[Tensor, Tensor]:
        """Column positions [W] and row positions [H]."""
        first, spacing = self.first_mm, self.spacing_mm
        return self.columns * spacing[0] + first[0], self.rows * spacing[1] + first[1]


def offsets_mm(size: int, spacing_mm: float, device: torch.device | None = None) -> Tensor:
    """[size] pixel-centre positions of a square grid about its own centre."""
    return (torch.arange(size, device=device, dtype=torch.float32) + 0.5 - size / 2) * spacing_mm


def grid_points(size: int, spacing_mm: float, device: torch.device | None = None) -> Tensor:
    """[size², 3] x, y and 1 of the pixels of a square grid about its own centre."""
    return torch.tensor(_grid_points(size, spacing_mm), device=device)


@cache
def _grid_points(size: int, spacing_mm: float) -> NDArray[np.float32]:
    # Not offsets_mm: numpy alone, so that an exported graph has the table and not its making.
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5 - size / 2)) * np.float32(spacing_mm)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x.ravel(), y.ravel(), np.ones_like(x.ravel())], 1)


def points_of(columns: Tensor, rows: Tensor) -> Tensor:
    """[3, h, w] x, y and 1 of pixels at columns [w] and rows [h]."""
    x, y, one = torch.eye(3, device=columns.device)[:, :, None, None].unbind()
    return columns * x + (rows[:, None] * y + one)


def turned(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Positions along the axes of a crop (x, y) as (columns, rows) of the image; with the inverse
    of the turn the other way round. Shapes broadcast."""
    return turn[0] * x - turn[1] * y, turn[1] * x + turn[0] * y


def crop_to_image(centres_mm: Tensor, turn: Tensor) -> Tensor:
    """[S, 3, 2] from positions in crops to those in the image; crops lie about ``centres_mm``
    [S, 2]."""
    turning = turn @ _rows(turn, [1, 0, 0, 1, 0, 0], [0, 1, -1, 0, 0, 0])
    shift = centres_mm @ _rows(turn, [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1])
    return (turning + shift).reshape(-1, 3, 2)


def pixels_to_crop(grid: PixelGrid, centres_mm: Tensor, turn: Tensor, half_crop: float) -> Tensor:
    """[S, 3, 3] from pixel numbers to positions in crops about ``centres_mm`` [S, 2]: what a column
    of column, row and 1 is multiplied with from the left. All three, the 1 as well, are divided by
    ``half_crop`` mm."""
    spacing = grid.spacing_mm @ _rows(turn, [1, *[0] * 8], [0, 0, 0, 0, 1, *[0] * 4])
    shift = (grid.first_mm - centres_mm) @ _rows(turn, [0, 0, 1, *[0] * 6], [*[0] * 5, 1, 0, 0, 0])
    one = _rows(turn, [*[0] * 8, 1])
    from_pixels = (shift + (spacing + one)).reshape(-1, 3, 3)
    turning = turn @ _rows(turn, [1, 0, 0, 0, 1, *[0] * 4], [0, 1, 0, -1, *[0] * 5])
    return ((turning + one) / half_crop).reshape(3, 3) @ from_pixels


def _rows(like: Tensor, *rows: list[int | float]) -> Tensor:
    return torch.tensor(rows, device=like.device, dtype=like.dtype)


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
    turn = centres_mm.new_tensor([1.0, 0.0]) if turn is None else turn
    to_image = crop_to_image(centres_mm, turn) / half_mm
    return sampled(image[:, None], to_image, size, spacing_mm)[:, 0]


def sampled(image: Tensor, to_image: Tensor, size: int, spacing_mm: float) -> Tensor:
    """Square views [S, C, size, size] of slices [S, C, H, W], of which ``to_image`` [S, 3, 2]
    brings positions to the image, whose outer edges are at −1 and 1."""
    points = grid_points(size, spacing_mm, image.device).to(image.dtype)
    grid = (points @ to_image).reshape(-1, size, size, 2)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def centred_view(image: Tensor, pixels: PixelGrid, size: int, spacing_mm: float) -> Tensor:
    """Square views [S, size, size] of slices [S, H, W] about the image centre, each pixel the mean
    of 2 × 2 bilinear samples against aliasing; beyond the outer pixels these repeat themselves.

    All slices share the grid, which is parallel to theirs: two matrix products, in a fraction of
    the time of sampling four times as many pixels one by one.
    """
    fine = offsets_mm(2 * size, spacing_mm / 2, image.device).reshape(size, 2).T[:, :, None]
    last = pixels.last.reshape(2, 1, 1, 1)
    # [axis, 2, size, 1] where each sample lies, in pixels from the first.
    place = fine / pixels.spacing_mm.reshape(2, 1, 1, 1) + 0.5 * last
    across, down = torch.minimum(place.clamp_min(0.0), last).split(1)
    return _weights(down, pixels.rows) @ image @ _weights(across, pixels.columns).T


def _weights(places: Tensor, pixels: Tensor) -> Tensor:
    """[size, n] weight of every pixel in the mean of two linear interpolations at places
    [1, 2, size, 1]."""
    return F.relu(1.0 - (places - pixels).abs()).mean((0, 1))


def back(maps: Tensor, pixels: Tensor, to_crop: Tensor) -> Tensor:
    """Crop maps [S, C, h, w] resampled onto the input grid [S, C, H, W]; 0 outside the crop.

    Args:
        pixels: [3, H, W] numbers of column and row, and 1.
        to_crop: [S, 3, 3] see :func:`pixels_to_crop`, of half the crop's width.
    """
    height, width = pixels.shape[1:]
    # As rows, not columns: products of two numbers at a time are slow on a CPU.
    grid = (to_crop[:, :2] @ pixels.flatten(1)).reshape(-1, 2, height, width).permute(0, 2, 3, 1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def with_neighbours(crop: Tensor) -> Tensor:
    """[S, 1, h, w] → [S, 3, h, w]: previous, this and next slice; ends repeat themselves."""
    padded = torch.cat([crop[:1], crop, crop[-1:]])
    return torch.cat([padded[:-2], crop, padded[2:]], 1)
