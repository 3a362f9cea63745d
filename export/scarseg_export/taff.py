"""TAFF, temporal aware feature fusion: where the time gap becomes a weight.

    w(Δt) = valid · exp(−Δt / τ)            τ learned, monotone by construction
    p     = w · p_fused + (1 − w) · p_image  so w = 0 is exactly the image path

A gap that is negative or not a number gives w = 0, never Δt = 0. The runtime's gap policy
(scarseg_runtime.taff) says in words why an ECG was not used; this module is the arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TemporalWeight(nn.Module):
    """Weight of the ECG by its age."""

    def __init__(self, initial_tau_days: float) -> None:
        super().__init__()
        self.log_tau = nn.Parameter(torch.tensor(math.log(initial_tau_days)))

    @property
    def tau_days(self) -> float:
        return float(self.log_tau.detach().exp())

    def forward(self, gap_days: Tensor, valid: Tensor) -> Tensor:
        """[N] weights in [0, 1] from gaps in days [N] and validity [N]."""
        usable = (gap_days >= 0) & (valid > 0)  # False for NaN as well
        decay = torch.exp(-torch.where(usable, gap_days, 0.0) / self.log_tau.exp())
        return torch.where(usable, decay, 0.0)


def mix(weight: Tensor, fused: Tensor, image: Tensor) -> Tensor:
    """Mixture of two probability maps; the image map itself, bit for bit, where weight is 0."""
    return torch.where(weight > 0, weight * fused + (1.0 - weight) * image, image)
