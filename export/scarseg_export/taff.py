"""TAFF, temporal aware feature fusion: where the time gap becomes a weight.

    w(Δt) = valid · exp(−Δt / τ)            τ learned, monotone by construction
    p     = w · p_fused + (1 − w) · p_image  so w = 0 is exactly the image path

A gap that is negative or not a number gives w = 0, never Δt = 0. The runtime's gap policy
(scarseg_runtime.taff) says in words why an ECG was not used; this module is the arithmetic.

τ is learned from scar labels: each ECG shows either the scar state of its image, with
probability w(Δt), or another one. :class:`AgeLikelihood` is the likelihood of the labels under
both, and only it moves τ.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
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


class AgeLikelihood(nn.Module):
    """How well an ECG of a given weight explains the labels, against not listening to it.

    A pixel's loss cannot tell τ: it is content with any weight that makes up for what the two
    maps get wrong, and one that rewards overlap trusts any ECG. Whether an ECG shows the scar
    state of its image is one fact per patient, and the burden of the segments tells it. Segments
    count as independent, which makes two hearts without scar look like one state too often and τ
    somewhat long.
    Used in training only.

    Args:
        usual: [17] mean burden of all patients, what is known without an ECG.
    """

    def __init__(self, usual: Tensor) -> None:
        super().__init__()
        self.usual = nn.Buffer(torch.logit(usual.clamp(1e-3, 1.0 - 1e-3)))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(0.0))

    def forward(self, weight: Tensor, belief: Tensor, burden: Tensor) -> Tensor:
        """Mean negative log-likelihood of the true burden [N, 17], given weights [N] and the
        ECGs' belief logits [N, 17]; calibration of the belief is learned along."""
        heard = _log_likelihood(self.scale * belief + self.shift, burden)
        unheard = _log_likelihood(self.usual.expand_as(burden), burden)
        weight = weight.clamp(1e-6, 1.0 - 1e-6)
        either = torch.stack([weight.log() + heard, (-weight).log1p() + unheard])
        return -torch.logsumexp(either, 0).mean()


def _log_likelihood(logit: Tensor, burden: Tensor) -> Tensor:
    """[N] of burdens [N, 17]."""
    return -F.binary_cross_entropy_with_logits(logit, burden, reduction="none").sum(-1)


def mix(weight: Tensor, fused: Tensor, image: Tensor) -> Tensor:
    """Mixture of two probability maps; the image map itself, bit for bit, where weight is 0."""
    return torch.where(weight > 0, weight * fused + (1.0 - weight) * image, image)
