"""Place of the heart: LV centre of every slice, and the direction of the RV.

First a coarse look at the whole field: about where the stack's LV is and how the heart lies. Then
two close looks by one small network that sees the heart upright, with the RV on the left: whatever
way a study lies, the last look sees almost the same picture, and finds almost the same place.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scarseg_export.net.aha_map import centre_of, direction, leant
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.normalise import flat_below, robust_zscore
from scarseg_export.net.sampling import (
    PixelGrid,
    Place,
    SquareGrid,
    centred_view,
    sampled,
    with_neighbours,
)
from scarseg_export.net.unet import UNet

EVERY = 2
"""Of the slices, every second one is enough for the coarse look, which finds the stack."""
FAR_MM = (80.0, 50.0, 30.0)
"""SDs of the windows in which the coarse look refines the stack's LV centre: a false island far
from the heart cannot pull."""
CLOSE_MM = (50.0, 30.0)
"""The same of a close look; the last is also how far from the stack's centre that of a slice is
looked for. An LV is up to about 45 mm in radius and tilts by 10 to 20 mm."""
LEAN_MM2 = 1350.0
"""Weight of the stack's centre in that of a slice, in area of LV; a large LV has 3600. With 360,
and a last window of 50 mm, slices near the base ended up to 53 mm off on real hearts."""
NOWHERE = 1e-7
"""Weight of a pixel that is surely none of the LV, so that there always is a centre."""
RV_REACH_MM = 60.0
"""Distance from the LV's centre at which an RV may be: the SD of a window against islands
elsewhere."""

UNIT_MM = math.sqrt(2.0) * RV_REACH_MM
"""Unit of length in the views: in it that window is exp(−d²)."""


class Ventricles(nn.Module):
    """A U-Net that tells LV and RV from everything else."""

    def __init__(self, slices: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.unet = UNet(slices, widths)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, views: Tensor) -> Tensor:
        """[S, 2, h, w] logits of LV and RV cavity on normalised views [S, slices, h, w]."""
        return self.head(self.unet(views))


class Localiser(nn.Module):
    """Probabilities of LV and RV, coarsely and close by → where the heart lies."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.far = Ventricles(1, config.localiser_widths)
        self.close = Ventricles(3, config.localiser_widths)

    def forward(self, image: Tensor, grid: PixelGrid) -> Place:
        """Place of the heart in slices [S, H, W]: of crops whose edges are at −1 and 1."""
        far = self.look_far(image, grid, EVERY)
        again = self.look_close(image, far)
        # Once more, since the closer the view is to upright, the less it matters how the study lay.
        return self.look_close(image, again.of_stack(), self.config.crop_mm / 2)

    def look_far(self, image: Tensor, grid: PixelGrid, every: int = 1) -> Place:
        """Place of the heart in slices [S, H, W], one centre for all of them; only ``every`` so
        many slices are looked at."""
        config = self.config
        # Of one slice: the stack's RV about the stack's centre.
        share = torch.sigmoid(self.far(self.coarse_view(image, grid, every)).flatten(2))
        left, right = (share * share).sum(0).split(1)
        size, spacing_mm = config.coarse_size, config.coarse_spacing_mm
        points = SquareGrid.of(size, spacing_mm, image.device, UNIT_MM)
        centre = stack_centre((left + NOWHERE).log(), points, FAR_MM)
        towards = towards_rv(right, points, centre)
        return Place.of_image(grid.half_mm, UNIT_MM).within(centre, towards, UNIT_MM)

    def look_close(self, image: Tensor, place: Place, unit_mm: float = UNIT_MM) -> Place:
        """The same for every slice [S, H, W], seen about the one place that is known;
        ``unit_mm`` of the crops that are told."""
        config = self.config
        size, spacing_mm = config.close_size, config.close_spacing_mm
        logits = self.close(self.close_view(image, place))
        share = torch.sigmoid(logits.reshape(-1, 2, 1, size * size))
        left, right = (share * share).split(1, 1)
        points = SquareGrid.of(size, spacing_mm, image.device, place.unit_mm)
        centres = centres_from(left, points, LEAN_MM2 / spacing_mm**2)
        return place.within(centres, towards_rv(right, points, centres), unit_mm)

    def coarse_view(self, image: Tensor, grid: PixelGrid, every: int = 1) -> Tensor:
        """Normalised full-field views [S, 1, h, w]."""
        size, spacing_mm = self.config.coarse_size, self.config.coarse_spacing_mm
        views = centred_view(image[None, ::every], grid, size, spacing_mm)
        return robust_zscore(views, flat_below(image)).reshape(-1, 1, size, size)

    def close_view(self, image: Tensor, place: Place) -> Tensor:
        """Normalised upright views of the heart with their neighbours [S, 3, h, w]."""
        # One grid for all slices, which are its channels.
        size = self.config.close_size
        views = sampled(image[None], place, size, self.config.close_spacing_mm)
        return with_neighbours(robust_zscore(views, flat_below(image)).reshape(-1, 1, size, size))


def stack_centre(logits: Tensor, points: SquareGrid, windows_mm: tuple[float, ...]) -> Tensor:
    """[1, 3] LV centre, x, y and 1, of a whole stack from logarithms of weights [1, P].

    The centre of mass, refined in ever narrower windows about it. Weights and windows are products,
    so their logarithms are sums: a softmax of these, times the points, is the centre.
    """
    centre = torch.softmax(logits, 1) @ points.points
    for radius_mm in windows_mm:
        sharpness = (points.unit_mm / radius_mm) ** 2
        about = torch.addmm(logits, centre, points.bowl, alpha=sharpness)
        centre = torch.softmax(about, 1) @ points.points
    return centre


def centres_from(weight: Tensor, points: SquareGrid, lean: float) -> Tensor:
    """[S, 1, 1, 3] LV centres of slices, x, y and 1, from weights [S, 1, 1, P].

    A slice without LV takes the stack's centre; ``lean`` is the weight of that in every slice.
    """
    weight = weight + NOWHERE
    centre = stack_centre(weight.sum((0, 1)).log(), points, CLOSE_MM[:-1])
    found = (weight * _window(points, centre, CLOSE_MM[-1])) @ points.points
    return centre_of(found + leant(found.sum(0, keepdim=True), lean))


def _window(points: SquareGrid, centre: Tensor, radius_mm: float) -> Tensor:
    """[1, P] Gaussian about a centre [1, 3]."""
    sharpness = (points.unit_mm / radius_mm) ** 2
    squares = F.linear(
        centre * centre,
        centre.new_tensor([[-0.5 * sharpness, -0.5 * sharpness, 0.0]]),
        centre.new_tensor([0.0]),
    )
    return torch.exp(torch.addmm(squares, centre, points.bowl, alpha=sharpness))


def towards_rv(weight: Tensor, points: SquareGrid, centres: Tensor) -> Tensor:
    """[1, 2] direction of the RV from weights [S, 1, 1, P] of RV, the whole stack together.

    Every pixel of RV points from its slice's LV centre [S, …, 3] to itself; the directions' sum is
    left in a crop so turned. With no RV in sight that is left in the view as well.
    """
    # A hundredth of a pixel's worth of "left", so that no direction is none.
    reach = RV_REACH_MM / points.unit_mm
    return direction(weight, points.away_from(centres), -1e-2, reach)
