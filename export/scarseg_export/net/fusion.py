"""Fusion of ECG and image: do they fit one patient, and what may the ECG change?

evidence    what the image alone says of each AHA segment
agreement   does the ECG belong to this heart? Scar pattern and heart size, each seen twice
ceiling     how sure an image alone may be that a bright patch is scar
fusion      the ECG's belief moves a pixel's scar logit, by at most δ_max

An ECG that shows an infarct says that there is scar, not that there is none elsewhere: only a quiet
one takes scar away (:func:`quietness`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scarseg_export.net.ecg_encoder import size_units
from scarseg_runtime.contract import SEGMENT_COUNT

LOGIT_SCALE = 0.3
"""Brings logits to about unit size where they are inputs of a small network."""
QUIET_LOGIT, QUIET_SLOPE = -2.0, 2.0
"""An ECG is quiet where its highest belief logit lies below the first; how sharply. Of real ECGs
normal ones have some −4, those of infarcts −1 and more."""


def segment_evidence(segments: Tensor, wall: Tensor, scar_probability: Tensor) -> Tensor:
    """[17] mean scar probability of the predicted wall in each segment; 0 where absent.

    Args:
        segments: AHA segment of every pixel, ``wall`` its share of myocardium (0 or 1), and
            ``scar_probability`` of the image path, all of one shape.
    """
    numbers = torch.arange(1, SEGMENT_COUNT + 1, device=segments.device, dtype=segments.dtype)
    member = (segments.flatten()[:, None] == numbers[None, :]).to(torch.float32)
    wall = wall.flatten().to(torch.float32)
    sums = torch.stack([wall, wall * scar_probability.flatten()]) @ member
    return sums[1] / sums[0].clamp_min(1.0)


def heart_size(anatomy: Tensor, pixel_mm2: Tensor) -> Tensor:
    """[2] epicardial radius and wall thickness as the image shows them, in :func:`size_units`.

    Args:
        anatomy: probabilities [S, 4, h, w] of background, cavity, wall, RV.
    """
    cavity = anatomy[:, 1].sum((1, 2)) * pixel_mm2
    ventricle = cavity + anatomy[:, 2].sum((1, 2)) * pixel_mm2
    outer = torch.sqrt(ventricle / math.pi)
    inner = torch.sqrt(cavity / math.pi)
    share = ventricle**2 / (ventricle**2).sum().clamp_min(1.0)  # large slices are cut squarely
    return size_units((share * outer).sum(), (share * (outer - inner)).sum())


class Agreement(nn.Module):
    """Logit that an ECG is of another patient: its scar pattern and heart size against the
    image's. Trained on right and on swapped pairs."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * SEGMENT_COUNT + 6, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, width // 2),
            nn.ReLU(inplace=True),
            nn.Linear(width // 2, 1),
        )

    def forward(self, belief: Tensor, evidence: Tensor, heard: Tensor, seen: Tensor) -> Tensor:
        """[N] logits from belief logits and evidence [N, 17], sizes by ECG and image [N, 2]."""
        parts = [belief * LOGIT_SCALE, evidence, heard, seen, heard - seen]
        return self.layers(torch.cat(parts, -1))[..., 0]


def moved(image: Tensor, change: Tensor, odd: Tensor, gate: float) -> Tensor:
    """Image logits moved by the ECG; a likely mix-up (probability ``odd``) withholds up to the
    share ``gate`` of the change."""
    return image + (1.0 - gate * odd) * change


class Ceiling(nn.Module):
    """Bounds how sure the image path may be of scar; never moves a pixel across one half.

    The image network learns what looks enhanced, whether scar or mimic, and is as sure as it
    likes. Only below a ceiling can a change of at most δ_max take a patch away.
    """

    def __init__(self, height: float) -> None:
        super().__init__()
        self.height = height

    def forward(self, scar: Tensor) -> Tensor:
        return torch.where(scar > 0, self.height * torch.tanh(scar / self.height), scar)

    def decision(self, probability: Tensor) -> Tensor:
        """Scar probability spread evenly about one half, for resampling a decision.

        Under a ceiling the scar side of a border lies just above one half and the other far
        below: interpolated as they are, every scar would lose its rim.
        """
        logit = torch.logit(probability.clamp(1e-6, 1.0 - 1e-6))
        above = torch.tanh(2.0 * logit / self.height)
        return 0.5 + 0.5 * torch.where(logit > 0, above, torch.tanh(logit))


def quietness(belief: Tensor) -> Tensor:
    """Share, 0 to 1, in which an ECG of belief logits [..., 17] shows no scar anywhere."""
    return torch.sigmoid(QUIET_SLOPE * (QUIET_LOGIT - belief.amax(-1)))


def unheard(belief: Tensor) -> Tensor:
    """Belief logits of an ECG that shows nothing at all, for heads that are to hear none."""
    return torch.full_like(belief, -8.0)


class Fusion(nn.Module):
    """Shift of each pixel's scar logit by the ECG's belief: within ± δ_max, never further, and
    down only as far as the whole ECG is quiet."""

    def __init__(self, features: int, width: int, delta_max: float) -> None:
        super().__init__()
        self.delta_max = delta_max
        self.context = nn.Sequential(
            nn.Linear(2 * SEGMENT_COUNT, 2 * width),
            nn.ReLU(inplace=True),
            nn.Linear(2 * width, SEGMENT_COUNT),
        )
        self.hidden = nn.Linear(features + 4, width)
        self.out = nn.Linear(width, 1)

    def forward(
        self, features: Tensor, scar: Tensor, segment: Tensor, belief: Tensor, evidence: Tensor
    ) -> Tensor:
        """Change [P] of the scar logit of pixels with features [P, C], image logits [P] and
        segments 0–16 [P], given belief logits and image evidence [17]."""
        scaled = belief * LOGIT_SCALE
        context = self.context(torch.cat([scaled, evidence]))
        case = torch.stack([scaled, context, scaled.amax(0).expand_as(scaled)], 1)
        inputs = torch.cat([features, scar[:, None] * LOGIT_SCALE, case[segment]], 1)
        change = self.delta_max * torch.tanh(self.out(F.relu(self.hidden(inputs)))[:, 0])
        return torch.where(change < 0, quietness(belief) * change, change)
