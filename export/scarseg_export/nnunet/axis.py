"""Tiles of nnU-Net along one axis of an image, and the matrices between both grids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MAX_TILES = 64
"""Along each axis."""
NOWHERE = -1e6
"""Place of the pixels of a tile that an image does not need: on no image and beside no pixel."""
SPLINE_POLE = math.sqrt(3.0) - 2.0
REACH = 12
"""Pixels after which the impulse response of the spline prefilter is below 1e-6."""


def spline_prefilter() -> Tensor:
    """[2 reach + 1] impulse response that turns samples into knots of a cubic spline."""
    taps = torch.arange(-REACH, REACH + 1).abs().to(torch.float32)
    return -6.0 * SPLINE_POLE / (1.0 - SPLINE_POLE**2) * SPLINE_POLE**taps


def covered_pixels(patch: int, tiles: int) -> int:
    """Pixels of the plan's grid that so many half overlapping tiles cover at most."""
    return patch + (tiles - 1) * patch // 2


@dataclass(frozen=True)
class Axis:
    """Layout of tiles along rows or columns. The plan's grid has ``size`` pixels on the box, and
    tiles also cover the padding to at least one patch."""

    first: Tensor
    """First pixel of the box of non-zero pixels."""
    last: Tensor
    step: Tensor
    """Input pixels a pixel of the plan's grid."""
    size: Tensor
    padding: Tensor
    """Pixels of the plan's grid before the image."""
    offsets: Tensor
    """[T] first pixel of each tile on the padded plan's grid."""
    places: Tensor
    """[T · patch] place on the plan's grid of every tile pixel; negative in the padding."""

    @classmethod
    def of(
        cls, box: Tensor, spacing_mm: Tensor, wanted_mm: float, patch: int, tiles: int | None = None
    ) -> Axis:
        """Axis for the box [2] (first, last pixel) of an image of this spacing.

        Args:
            tiles: this many whatever the spacing, those not needed lying nowhere; an image that
                needs more is not covered (:func:`covered_pixels`). None: as many as it needs.
        """
        extent = (box[1] - box[0] + 1).to(torch.float32)
        size = torch.round(spacing_mm / wanted_mm * extent).clamp_min(1.0)
        spare = (patch - size).clamp_min(0.0)
        beyond = (size - patch).clamp_min(0.0)
        steps = torch.ceil(beyond / (patch / 2))
        count: Any = tiles
        if tiles is None:
            count = (steps + 1.0).to(torch.int64).item()
            torch._check(count >= 1)
            torch._check(count <= MAX_TILES)
        number = torch.arange(count, device=box.device, dtype=torch.float32)
        apart = beyond / steps.clamp_min(1.0)
        offsets = torch.round(number * apart)
        padding = torch.floor(spare / 2)
        pixel = torch.arange(patch, device=box.device, dtype=torch.float32)
        places = offsets[:, None] + pixel[None, :] - padding
        if tiles is not None:
            places = torch.where(number[:, None] <= steps, places, NOWHERE)
        places = places.flatten()
        return cls(box[0], box[1], extent / size, size, padding, offsets, places)

    @property
    def within(self) -> Tensor:
        """[T · patch] 1 where a tile pixel lies on the image."""
        return ((self.places >= 0) & (self.places < self.size)).to(torch.float32)

    def clamped(self, count: int) -> Tensor:
        """[count + 4 reach] pixels of the axis with the box's edges repeated on both sides."""
        index = torch.arange(count + 4 * REACH, device=self.first.device) - 2 * REACH
        return torch.minimum(torch.maximum(index, self.first), self.last)

    def spline_weights(self, count: int) -> Tensor:
        """[T · patch, count + 2 reach] weight of every spline knot in every tile pixel."""
        place = (self.places + 0.5) * self.step - 0.5 + self.first
        knots = torch.arange(count + 2 * REACH, device=place.device) - REACH
        apart = (place[:, None] - knots[None, :]).abs()
        near = 2.0 / 3.0 - apart**2 + 0.5 * apart**3
        far = (2.0 - apart).clamp_min(0.0) ** 3 / 6.0
        return torch.where(apart < 1.0, near, far)

    def neighbours(self, count: int) -> list[tuple[Tensor, Tensor]]:
        """For each of ``count`` input pixels the two pixels of the plan's grid beside it, as
        selections [count, T · patch] of tile pixels, with their weights [count] for linear
        resampling."""
        pixel = torch.arange(count, device=self.places.device) - self.first
        place = (pixel + 0.5) / self.step - 0.5
        place = torch.minimum(place.clamp_min(0.0), self.size - 1.0)
        low = torch.minimum(torch.floor(place), (self.size - 2.0).clamp_min(0.0))
        share = place - low
        chosen = [(low, 1.0 - share), (torch.minimum(low + 1.0, self.size - 1.0), share)]
        return [
            ((self.places[None, :] == at[:, None]).to(torch.float32), weight)
            for at, weight in chosen
        ]
