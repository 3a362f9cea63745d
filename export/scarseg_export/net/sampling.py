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

    shape: tuple[int, int]
    """Rows and columns."""
    spacing_mm: Tensor
    """[2] from row to row and from column to column, as DICOM gives it."""
    half_mm: Tensor
    """[2] half width and half height."""

    @classmethod
    def of(cls, image: Tensor, pixel_spacing: Tensor) -> PixelGrid:
        """Grid of slices [S, H, W] whose rows and columns are ``pixel_spacing`` [2] mm apart."""
        height, width = image.shape[-2:]
        counts = [torch.scalar_tensor(n, dtype=pixel_spacing.dtype) for n in (height, width)]
        lengths = torch.stack(counts).to(pixel_spacing.device) * pixel_spacing
        return cls((height, width), pixel_spacing, lengths @ _half_turned(pixel_spacing))

    @property
    def outermost_mm(self) -> Tensor:
        """[2] position of the last column and of the last row; minus that of the first."""
        return self.half_mm - self.spacing_mm @ _half_turned(self.spacing_mm)

    def positions_mm(self) -> tuple[Tensor, Tensor]:
        """Column positions [W] and row positions [H]."""
        like = self.spacing_mm
        ramps = (torch.arange(n, device=like.device, dtype=like.dtype) for n in self.shape[::-1])
        columns, rows = (r * step for r, step in zip(ramps, (like[1], like[0]), strict=True))
        return columns - self.outermost_mm[0], rows - self.outermost_mm[1]

    def points(self) -> Tensor:
        """[3, H·W] of every pixel: −1 in the first column to 1 in the last, the same of rows,
        and 1."""
        like = self.spacing_mm
        # Stretched from the corners: one operator, where ramps and their sums are a dozen.
        corners = [[[-1.0, 1.0]] * 2, [[-1.0] * 2, [1.0] * 2], [[1.0, 1.0]] * 2]
        table = torch.tensor([corners], device=like.device, dtype=like.dtype)
        return F.interpolate(table, self.shape, mode="bilinear", align_corners=True).reshape(3, -1)


def _half_turned(like: Tensor) -> Tensor:
    return _rows(like, [0.0, 0.5], [0.5, 0.0])


def offsets_mm(size: int, spacing_mm: float, device: torch.device | None = None) -> Tensor:
    """[size] pixel-centre positions of a square grid about its own centre."""
    return (torch.arange(size, device=device, dtype=torch.float32) + 0.5 - size / 2) * spacing_mm


@dataclass(frozen=True)
class SquareGrid:
    """Tables of the pixels of a square grid about its own centre; P = size²."""

    points: Tensor
    """[P, 3] x, y and 1."""
    bowl: Tensor
    """[3, P] x, y and −(x² + y²) / 2: times a centre x, y and 1 this is −d² / 2, d being the
    distance from the centre, but for what is the same at all points."""
    raised: Tensor
    """[3, P] x, y and 1 + 1 mm."""
    flat: Tensor
    """[2, P] x and y."""
    unit_mm: float
    """Of x and y."""

    @classmethod
    def of(
        cls,
        size: int,
        spacing_mm: float,
        device: torch.device | None = None,
        unit_mm: float = 1.0,
    ) -> SquareGrid:
        """Grid of size × size pixels ``spacing_mm`` apart, in units of ``unit_mm``."""
        tables = _square_grid(size, spacing_mm, unit_mm)
        points, bowl, raised, flat = (torch.tensor(t, device=device) for t in tables)
        return cls(points, bowl, raised, flat, unit_mm)

    def away_from(self, centres: Tensor) -> Tensor:
        """[S, 1, 3, P] points from centres [S, …, 3], x, y and 1; the third is 1 mm, so that
        nothing is at no distance."""
        return self.raised - centres.reshape(-1, 1, 3, 1)


@cache
def _square_grid(size: int, spacing_mm: float, unit_mm: float) -> tuple[NDArray[np.float32], ...]:
    # Not offsets_mm: numpy alone, so that an exported graph has the tables and not their making.
    step = np.float32(spacing_mm / unit_mm)
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5 - size / 2)) * step
    y, x = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    points = np.stack([x, y, np.ones_like(x)], 1)
    bowl = np.stack([x, y, -0.5 * (x * x + y * y)])
    raised = np.stack([x, y, np.full_like(x, 1.0 + 1.0 / unit_mm)])
    return points, bowl, raised, np.stack([x, y])


def turned(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Positions along the axes of a crop (x, y) as (columns, rows) of the image; with the inverse
    of the turn the other way round. Shapes broadcast."""
    return turn[0] * x - turn[1] * y, turn[1] * x + turn[0] * y


@dataclass(frozen=True)
class Place:
    """Place of the heart in its images, and how it lies."""

    to_image: Tensor
    """[S, 1, 3, 2] by which x, y and 1 in a crop become a place in the image, whose outer edges are
    at −1 and 1."""
    half_mm: Tensor
    """[2] half width and half height of the image."""
    unit_mm: float = 1.0
    """Of x and y in a crop."""

    @classmethod
    def at(cls, centres_mm: Tensor, turn: Tensor, half_mm: Tensor, unit_mm: float = 1.0) -> Place:
        """Place from the LV centres of slices [S, 2] and the turn [2] of them all."""
        u = unit_mm
        turning = turn @ _rows(turn, [u, 0, 0, u, 0, 0], [0, u, -u, 0, 0, 0])
        shift = centres_mm @ _rows(turn, [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1])
        return cls((turning + shift).reshape(-1, 1, 3, 2) / half_mm, half_mm, u)

    @classmethod
    def of_image(cls, half_mm: Tensor, unit_mm: float = 1.0) -> Place:
        """The image's own centre, upright; one for all slices."""
        axes = _rows(half_mm, [unit_mm, 0.0], [0.0, unit_mm], [0.0, 0.0])[None, None]
        return cls(axes / half_mm, half_mm, unit_mm)

    def within(self, centres: Tensor, towards: Tensor, unit_mm: float = 1.0) -> Place:
        """Place of what lies in crops here: about centres [S, …, 3], x, y and 1, its left in the
        direction ``towards`` [1, 2]; ``unit_mm`` of the crops there."""
        u = unit_mm / self.unit_mm
        turning = towards @ _rows(towards, [-u, 0, 0, 0, -u, *[0] * 4], [0, -u, 0, u, *[0] * 5])
        shift = centres @ _rows(towards, *([int(k == c) for k in range(9)] for c in (6, 7, 8)))
        to_image = (turning + shift).reshape(-1, 1, 3, 3) @ self.to_image
        return Place(to_image, self.half_mm, unit_mm)

    def of_stack(self) -> Place:
        """The same about the mean of all centres."""
        return Place(self.to_image.mean(0, keepdim=True), self.half_mm, self.unit_mm)

    @property
    def centres_mm(self) -> Tensor:
        """[S, 2] LV centre of every slice, from the image centre."""
        return self.to_image[:, 0, 2] * self.half_mm

    @property
    def turn(self) -> Tensor:
        """[2] cosine and sine of the angle by which the heart's axes are turned against the
        image's: 1 and 0 where the RV lies left of the LV, as standard displays show it."""
        return self.to_image[0, 0, 0] * self.half_mm / self.unit_mm

    def from_pixels(self, grid: PixelGrid) -> Tensor:
        """[S, 1, 2, 3] from points of the grid (:meth:`PixelGrid.points`) to x and y in a crop."""
        turning, centres = (self.to_image * self.half_mm).split([2, 1], 2)
        unit = 1.0 / self.unit_mm**2
        spread = grid.outermost_mm @ _rows(centres, [unit, *[0] * 5], [0, 0, 0, 0, unit, 0])
        shift = centres @ _rows(centres, [0, 0, -unit, 0, 0, 0], [*[0] * 5, -unit])
        return turning @ (spread + shift).reshape(-1, 1, 2, 3)


def _rows(like: Tensor, *rows: list[int] | list[float]) -> Tensor:
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
    place = Place.at(centres_mm, turn, half_mm)
    return sampled(image[:, None], place, size, spacing_mm)[:, 0]


def sampled(image: Tensor, place: Place, size: int, spacing_mm: float) -> Tensor:
    """Square views [S, C, size, size] of slices [S, C, H, W] about a place of each."""
    points = SquareGrid.of(size, spacing_mm, image.device, place.unit_mm).points.to(image.dtype)
    grid = (points @ place.to_image).reshape(-1, size, size, 2)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def centred_view(stack: Tensor, pixels: PixelGrid, size: int, spacing_mm: float) -> Tensor:
    """Square views [1, S, size, size] of slices [1, S, H, W] about the image centre, each pixel the
    mean of 2 × 2 bilinear samples against aliasing; beyond the outer pixels these repeat
    themselves."""
    axis = offsets_mm(2 * size, spacing_mm / 2, stack.device)
    none = torch.zeros_like(axis)
    across, down = torch.stack([axis, none], 1), torch.stack([none, axis], 1)
    # One by one, so that no table of all places is part of a model file.
    grid = across[None, None] / pixels.half_mm + down[None, :, None] / pixels.half_mm
    views = F.grid_sample(stack, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(views, 2)


def back(maps: Tensor, places: Tensor) -> Tensor:
    """Crop maps [S, C, h, w] resampled at N places of each crop [S, C, 1, N]; 0 outside the crop.

    Args:
        places: [S, 1, 2, N] in the crops, whose edges are at −1 and 1.
    """
    grid = places.transpose(2, 3)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def with_neighbours(crops: Tensor) -> Tensor:
    """[S, 3, h, w] previous, this and next of slices [S, 1, h, w] or [1, S, h, w]; ends repeat
    themselves."""
    # No table of places, which would hide the number of slices from who counts the work.
    slices = crops.reshape(-1, 1, *crops.shape[2:])
    padded = torch.cat([slices[:1], slices, slices[-1:]])
    return torch.cat([padded[:-2], slices, padded[2:]], 1)
