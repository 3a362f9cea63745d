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
        return 0.5 * self.spacing_mm - self.half_mm

    def positions_mm(self) -> tuple[Tensor, Tensor]:
        """Column positions [W] and row positions [H]."""
        first, spacing = self.first_mm, self.spacing_mm
        return self.columns * spacing[0] + first[0], self.rows * spacing[1] + first[1]

    def maps(self, affine: Tensor) -> Tensor:
        """[S, n, H, W] what matrices [S, n, 3] make of every pixel: of its numbers of column and
        row, and 1."""
        return maps_of(affine, self.columns, self.rows)


def maps_of(affine: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """[S, n, h, w] what matrices [S, n, 3] make of x, y and 1 at columns [w] and rows [h]."""
    x, y, one = affine[..., None].split(1, 2)
    return x * columns + (y * rows[:, None] + one)


def offsets_mm(size: int, spacing_mm: float, device: torch.device | None = None) -> Tensor:
    """[size] pixel-centre positions of a square grid about its own centre."""
    return (torch.arange(size, device=device, dtype=torch.float32) + 0.5 - size / 2) * spacing_mm


@dataclass(frozen=True)
class SquareGrid:
    """Tables of the pixels of a square grid about its own centre; P = size²."""

    points: Tensor
    """[P, 3] x, y and 1."""
    rows: Tensor
    """[3, P] the same."""
    bowl: Tensor
    """[3, P] x, y and −(x² + y²) / 2: times a centre x, y and 1 this is −d² / 2, d being the
    distance from the centre, but for what is the same at all points."""

    @classmethod
    def of(cls, size: int, spacing_mm: float, device: torch.device | None = None) -> SquareGrid:
        """Grid of size × size pixels ``spacing_mm`` apart."""
        return cls(*(torch.tensor(t, device=device) for t in _square_grid(size, spacing_mm)))


@cache
def _square_grid(size: int, spacing_mm: float) -> tuple[NDArray[np.float32], ...]:
    # Not offsets_mm: numpy alone, so that an exported graph has the tables and not their making.
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5 - size / 2)) * np.float32(spacing_mm)
    y, x = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    rows = np.stack([x, y, np.ones_like(x)])
    return np.ascontiguousarray(rows.T), rows, np.stack([x, y, -0.5 * (x * x + y * y)])


def turned(x: Tensor, y: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Positions along the axes of a crop (x, y) as (columns, rows) of the image; with the inverse
    of the turn the other way round. Shapes broadcast."""
    return turn[0] * x - turn[1] * y, turn[1] * x + turn[0] * y


@dataclass(frozen=True)
class Place:
    """Place of the heart in its images, and how it lies."""

    to_image: Tensor
    """[S, 3, 2] by which x, y in mm and 1 in a crop become a place in the image, whose outer edges
    are at −1 and 1."""
    half_mm: Tensor
    """[2] half width and half height of the image."""

    @classmethod
    def at(cls, centres_mm: Tensor, turn: Tensor, half_mm: Tensor) -> Place:
        """Place from the LV centres of slices [S, 2] and the turn [2] of them all."""
        turning = turn @ _rows(turn, [1, 0, 0, 1, 0, 0], [0, 1, -1, 0, 0, 0])
        shift = centres_mm @ _rows(turn, [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1])
        return cls((turning + shift).reshape(-1, 3, 2) / half_mm, half_mm)

    @classmethod
    def of_image(cls, half_mm: Tensor) -> Place:
        """The image's own centre, upright; one for all slices."""
        return cls(_rows(half_mm, [1, 0], [0, 1], [0, 0]) / half_mm, half_mm)

    def within(self, centres: Tensor, towards: Tensor) -> Place:
        """Place of what lies in crops here: about centres [S, 1, 3], x, y and 1, its left in the
        direction ``towards`` [2]."""
        turning = towards @ _rows(towards, [-1, 0, 0, 0, -1, *[0] * 4], [0, -1, 0, 1, *[0] * 5])
        shift = centres @ _rows(towards, *([int(k == c) for k in range(9)] for c in (6, 7, 8)))
        return Place((turning + shift).reshape(-1, 3, 3) @ self.to_image, self.half_mm)

    def of_stack(self) -> Place:
        """The same about the mean of all centres."""
        return Place(self.to_image.mean(0, keepdim=True), self.half_mm)

    @property
    def centres_mm(self) -> Tensor:
        """[S, 2] LV centre of every slice, from the image centre."""
        return self.to_image[:, 2] * self.half_mm

    @property
    def turn(self) -> Tensor:
        """[2] cosine and sine of the angle by which the heart's axes are turned against the
        image's: 1 and 0 where the RV lies left of the LV, as standard displays show it."""
        return self.to_image[0, 0] * self.half_mm

    def from_pixels(self, grid: PixelGrid, half_crop_mm: float) -> Tensor:
        """[S, 2, 3] from numbers of column and row, and 1, to the place in the crop, whose edges
        are at −1 and 1."""
        turning, centres = (self.to_image * self.half_mm).split([2, 1], 1)
        unit = 1.0 / half_crop_mm
        spacing = grid.spacing_mm @ _rows(centres, [unit, *[0] * 5], [0, 0, 0, 0, unit, 0])
        shift = (grid.first_mm - centres) @ _rows(centres, [0, 0, unit, 0, 0, 0], [*[0] * 5, unit])
        return turning @ (spacing + shift).reshape(-1, 2, 3)


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
    points = SquareGrid.of(size, spacing_mm, image.device).points.to(image.dtype)
    grid = (points @ place.to_image).reshape(-1, size, size, 2)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def centred_view(image: Tensor, pixels: PixelGrid, size: int, spacing_mm: float) -> Tensor:
    """Square views [S, size, size] of slices [S, H, W] about the image centre, each pixel the mean
    of 2 × 2 bilinear samples against aliasing; beyond the outer pixels these repeat themselves.

    All slices share the grid, which is parallel to theirs: two matrix products, in a fraction of
    the time of sampling four times as many pixels one by one.
    """
    fine = offsets_mm(2 * size, spacing_mm / 2, image.device).reshape(size, 2).T[:, :, None]
    # [2, size, axis] where each sample lies, in pixels from the first.
    place = fine / pixels.spacing_mm + 0.5 * pixels.last
    across, down = torch.minimum(place.clamp_min(0.0), pixels.last).split(1, 2)
    return _weights(down, pixels.rows) @ image @ _weights(across, pixels.columns).T


def _weights(places: Tensor, pixels: Tensor) -> Tensor:
    """[size, n] weight of every pixel in the mean of two linear interpolations at places
    [2, size, 1]."""
    return F.relu(1.0 - (places - pixels).abs()).mean(0)


def back(maps: Tensor, places: Tensor) -> Tensor:
    """Crop maps [S, C, h, w] resampled onto the input grid [S, C, H, W]; 0 outside the crop.

    Args:
        places: [S, 2, H, W] place of every pixel in its crop, whose edges are at −1 and 1.
    """
    grid = places.permute(0, 2, 3, 1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def with_neighbours(crops: Tensor) -> Tensor:
    """[S, 3, h, w] previous, this and next of slices [S, 1, h, w] or [1, S, h, w]; ends repeat
    themselves."""
    # No table of places, which would hide the number of slices from who counts the work.
    slices = crops.reshape(-1, 1, *crops.shape[2:])
    padded = torch.cat([slices[:1], slices, slices[-1:]])
    return torch.cat([padded[:-2], slices, padded[2:]], 1)
