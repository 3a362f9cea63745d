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

NEVER_DAYS = 1e30
"""A gap whose weight is 0 with any time constant."""


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
        return torch.exp(torch.where(usable, gap_days, NEVER_DAYS) / -self.log_tau.exp())


NEIGHBOURS = 0.5
"""Scar spans neighbouring segments, so 17 of them are worth about half as many observations."""


class AgeLikelihood(nn.Module):
    """Likelihood of the scarred segments with an ECG of a given weight, against not listening.

    A pixel's loss cannot tell τ: it is content with any weight that makes up for what the two
    maps get wrong, and one that rewards overlap trusts any ECG. Whether an ECG shows the scar
    state of its image is one fact per patient, and the scarred segments tell it.
    Used in training only.

    Args:
        scarred: [N, 17] 1 where a segment has scar, of all training patients: what is known
            without an ECG is how many hearts have none, and how often each segment has in the rest.
    """

    def __init__(self, scarred: Tensor) -> None:
        super().__init__()
        ill = scarred.amax(1) > 0
        rows = torch.stack([scarred[~ill].sum(0), scarred[ill].sum(0)])
        counts = torch.stack([(~ill).sum(), ill.sum()]).to(scarred.dtype)
        # A patient more of either kind with every second segment scarred, lest a zero be certain.
        self.usual = nn.Buffer(torch.logit((rows + 0.5) / (counts[:, None] + 1.0)))
        self.share = nn.Buffer(((counts + 0.5) / (counts.sum() + 1.0)).log())
        # Some scars show in no ECG, however fresh. Without this share a short time constant would
        # stand for it: 27 days were learned from real ECGs and the twin's, where 120 are true.
        self.shown = nn.Parameter(torch.tensor(2.0))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(0.0))

    def forward(self, weight: Tensor, belief: Tensor, scarred: Tensor) -> Tensor:
        """Mean negative log-likelihood of scarred segments [N, 17], given weights [N] and the
        ECGs' belief logits [N, 17]; calibration of the belief, and how often a scar shows in an
        ECG at all, are learned along."""
        heard = _log_likelihood(self.scale * belief + self.shift, scarred)
        unheard = self.share[:, None] + _log_likelihood(self.usual[:, None], scarred[None])
        unheard = torch.logsumexp(unheard, 0)
        weight = (weight * torch.sigmoid(self.shown)).clamp(1e-6, 1.0 - 1e-6)
        either = torch.stack(
            [weight.log() + NEIGHBOURS * heard, (-weight).log1p() + NEIGHBOURS * unheard]
        )
        return -torch.logsumexp(either, 0).mean()


def _log_likelihood(logit: Tensor, scarred: Tensor) -> Tensor:
    """[...] of segments [..., 17]."""
    logit, scarred = torch.broadcast_tensors(logit, scarred)
    return -F.binary_cross_entropy_with_logits(logit, scarred, reduction="none").sum(-1)


def mix(weight: Tensor, fused: Tensor, image: Tensor) -> Tensor:
    """Mixture of two probability maps, w · fused + (1 − w) · image; the image map itself, bit for
    bit, where the weight is 0, also where ``fused`` is no number."""
    return torch.where(weight > 0, mix_numbers(weight, fused, image), image)


def mix_numbers(weight: Tensor, fused: Tensor, image: Tensor) -> Tensor:
    """The same of a ``fused`` that holds numbers, as the ECG encoder gives for whatever beat."""
    return image + weight * (fused - image)
