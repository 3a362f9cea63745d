"""Where the heart lies: LV centre of every slice, and the direction of the RV."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scarseg_export.net.aha_map import centre_of, direction
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.normalise import robust_zscore
from scarseg_export.net.sampling import PixelGrid, centred_view, grid_points
from scarseg_export.net.seen import Place
from scarseg_export.net.unet import UNet


class Localiser(nn.Module):
    """Coarse probabilities of LV and RV → where the heart lies."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(1, config.localiser_widths)
        self.head = nn.Conv2d(config.localiser_widths[0], 2, 1)

    def logits(self, coarse: Tensor) -> Tensor:
        """[S, 2, h, w] logits of LV and RV cavity on normalised coarse views [S, h, w]."""
        return self.head(self.unet(coarse[:, None]))

    def coarse_view(self, image: Tensor, grid: PixelGrid) -> Tensor:
        """Normalised full-field view."""
        config = self.config
        return robust_zscore(
            centred_view(image, grid, config.coarse_size, config.coarse_spacing_mm)
        )

    def forward(self, image: Tensor, grid: PixelGrid) -> Place:
        config = self.config
        logits = self.logits(self.coarse_view(image, grid))
        share = torch.sigmoid(logits.flatten(2))
        left, right = (share * share).split(1, 1)
        points = grid_points(config.coarse_size, config.coarse_spacing_mm, image.device)
        centres = centres_from(left, points)
        return Place(centres[:, 0, :2], turn_from(right, points, centres))


WINDOWS_MM = (80.0, 50.0, 30.0)
"""SDs of the windows in which the stack's LV centre is refined; the last is also how far from it
that of a slice is looked for. An LV is up to about 45 mm in radius and tilts by 10 to 20 mm."""
LEAN = 150.0
"""Weight of the stack's centre in that of a slice, in coarse pixels of LV; a large LV has 400.
With 40, and a last window of 50 mm, slices near the base ended up to 53 mm off on real hearts."""
NOWHERE = 1e-7
"""Weight of a pixel that is surely none of the LV, so that there always is a centre."""


def centres_from(weight: Tensor, points: Tensor) -> Tensor:
    """[S, 1, 3] LV centres, x, y and 1, from weights [S, 1, P] of points [P, 3].

    The stack's centre of mass is found first, then refined in a window about it, so that a
    false island far from the heart cannot pull; a slice without LV takes the stack's centre.
    """
    weight = weight.clamp_min(NOWHERE)
    whole = weight.sum(0, keepdim=True)
    centre = centre_of(whole @ points)
    for radius_mm in WINDOWS_MM[:-1]:
        centre = centre_of((whole * _window(points, centre, radius_mm)) @ points)
    found = (weight * _window(points, centre, WINDOWS_MM[-1])) @ points
    return centre_of(found + LEAN * centre_of(found.sum(0, keepdim=True)))


def _window(points: Tensor, centre: Tensor, radius_mm: float) -> Tensor:
    """[1, P] Gaussian about a centre [1, 1, 3]."""
    away = torch.linalg.vector_norm(points - centre, dim=2)
    return torch.exp(away * away * (-0.5 / radius_mm**2))


RV_REACH_MM = 60.0
"""Distance from the LV's centre at which an RV may be: the SD of a window against islands
elsewhere."""


def turn_from(weight: Tensor, points: Tensor, centres: Tensor) -> Tensor:
    """[2] turn of the heart from weights [S, 1, P] of RV, the whole stack together.

    Every pixel of RV points from its slice's LV centre [S, 1, 3] to itself; the directions' sum is
    left in a crop so turned. With no RV in sight that is left in the image as well.
    """
    # A hundredth of a pixel's worth of "left", so that no direction is none.
    return -direction(weight, points, centres, -1e-2, RV_REACH_MM)
