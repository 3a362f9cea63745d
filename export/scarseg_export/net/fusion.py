"""Fusion of ECG and image: do they fit one patient, and what may the ECG change?

evidence    what the image alone says of each AHA segment
agreement   does the ECG belong to this heart? Scar pattern and heart size, each seen twice
ceiling     how sure an image alone may be that a bright patch is scar
fusion      the ECG's belief moves a pixel's scar logit, by at most δ_max

An ECG that shows an infarct says that there is scar, not that there is none elsewhere: only a quiet
one takes scar away (:func:`quietness`). Nor does a quiet one outweigh an image that shows much
scar: many infarcts leave no trace in an ECG. It decides where the image shows little
(:func:`paucity`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.ecg_encoder import SIZE_MEAN_MM, SIZE_SPREAD_MM
from scarseg_runtime.contract import SEGMENT_COUNT

LOGIT_SCALE = 0.3
"""Brings logits to about unit size where they are inputs of a small network."""
QUIET_LOGIT, QUIET_SLOPE = -2.0, 2.0
"""An ECG is quiet where its highest belief logit lies below the first; how sharply. Of real ECGs
normal ones have some −4, those of infarcts −1 and more."""
LITTLE_SCAR, LITTLE_WIDTH = 0.05, 0.007
"""An image shows little scar where the mean of its evidence lies below the first; how sharply. On
the validation hearts bright blood and fat make 0.02 to 0.10, infarcts 0.08 and more."""


def members(segments: Tensor) -> Tensor:
    """[S, 1, 17, P] 1 where a pixel is of a segment, from AHA segments [S, 1, 1, P]."""
    numbers = torch.arange(1, SEGMENT_COUNT + 1, device=segments.device, dtype=segments.dtype)
    return (segments == numbers[:, None]).to(torch.float32)


def evidence_of(member: Tensor, wall: Tensor, scar_probability: Tensor) -> tuple[Tensor, Tensor]:
    """[17, 1] mean scar probability of the predicted wall in each segment, 0 where absent; and
    the wall's pixels in each, 1 at least.

    Args:
        member: [S, 1, 17, P] see :func:`members`.
        wall: [S, 1, 1, P] share of myocardium (0 or 1); ``scar_probability`` likewise.
    """
    both = torch.cat([wall, wall * scar_probability], 2)
    area, scar = (member @ both.transpose(2, 3)).sum((0, 1)).split(1, 1)
    area = area.clamp_min(1.0)
    return scar / area, area


def segment_evidence(segments: Tensor, wall: Tensor, scar_probability: Tensor) -> Tensor:
    """[17] mean scar probability of the predicted wall in each segment; 0 where absent.

    Args:
        segments: AHA segment of every pixel, ``wall`` its share of myocardium (0 or 1), and
            ``scar_probability`` of the image path, all of one shape.
    """
    flat = (1, 1, 1, -1)
    member = members(segments.reshape(flat))
    evidence, _ = evidence_of(
        member, wall.to(torch.float32).reshape(flat), scar_probability.reshape(flat)
    )
    return evidence.flatten()


def heart_size(areas_mm2: Tensor) -> Tensor:
    """[1, 2] epicardial radius and wall thickness as the image shows them, in :func:`size_units`.

    Args:
        areas_mm2: [S, 2] of cavity and whole LV.
    """
    whole = areas_mm2[:, 1:]
    weight = whole * whole  # large slices are cut squarely
    roots = (weight * torch.sqrt(areas_mm2)).sum(0, keepdim=True) / weight.sum().clamp_min(1.0)
    mean, spread = (roots.new_tensor(values) for values in (SIZE_MEAN_MM, SIZE_SPREAD_MM))
    # Outer radius and thickness, in units, of roots of areas of circles.
    parts = roots.new_tensor([[0.0, -1.0], [1.0, 1.0]]) / (math.sqrt(math.pi) * spread)
    return torch.addmm(-mean / spread, roots, parts)


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


def moved(image: Tensor, change: Tensor, odd: Tensor, config: NetworkConfig) -> Tensor:
    """Image logits moved by the ECG, less the likelier a mix-up is.

    Args:
        odd: probability of a mix-up as :class:`Agreement` learned it, where every second pair is
            one. In a hospital few are: where it cannot tell, the ECG is to be heard.
    """
    share = config.mix_up_share
    if share != 0.5:  # odds are products: those of a mix-up here, and what speaks for it
        odd = share * odd / (odd * (2.0 * share - 1.0) + (1.0 - share))
    return image + (1.0 - config.agreement_gate * odd) * change


class Ceiling(nn.Module):
    """Bounds how sure the image path may be of scar; never moves a pixel across one half.

    The image network learns what looks enhanced, whether scar or mimic, and is as sure as it
    likes. Only below a ceiling can a change of at most δ_max take a patch away.
    """

    def __init__(self, height: float) -> None:
        super().__init__()
        self.height = height

    def forward(self, scar: Tensor) -> Tensor:
        # The curve lies below its argument above 0, and above it below 0.
        return torch.minimum(scar, self.height * torch.tanh(scar / self.height))

    def decision(self, probability: Tensor) -> Tensor:
        """Scar probability spread evenly about one half, from −1 to 1, for resampling a decision:
        scar where the result is above 0.

        Under a ceiling the scar side of a border lies just above one half and the other far
        below: interpolated as they are, every scar would lose its rim.
        """
        # Of twice the logit.
        tilt = probability - 0.5
        spread = tilt / (tilt * tilt + 0.25)
        if self.height == 2.0:  # the scar side is spread just as far
            return spread
        odds = ((1.0 - probability) / probability) ** (4.0 / self.height)
        return torch.where(probability > 0.5, 2.0 / (1.0 + odds) - 1.0, spread)


def quietness(belief: Tensor) -> Tensor:
    """Share [..., 1], 0 to 1, in which an ECG of belief logits [..., 17] shows no scar anywhere."""
    return torch.sigmoid(QUIET_SLOPE * (QUIET_LOGIT - belief.amax(-1, keepdim=True)))


def paucity(evidence: Tensor) -> Tensor:
    """Share [..., 1], 0 to 1, in which an image of evidence [..., 17] shows little scar: what many
    segments or much of a few have in common is scar, a single small patch may be anything
    bright."""
    slopes = evidence.new_tensor([[-1.0 / (SEGMENT_COUNT * LITTLE_WIDTH)] * SEGMENT_COUNT])
    bias = evidence.new_tensor([LITTLE_SCAR / LITTLE_WIDTH])
    return torch.sigmoid(F.linear(evidence, slopes, bias))


def unheard(belief: Tensor) -> Tensor:
    """Belief logits of an ECG that shows nothing at all, for heads that are to hear none."""
    return torch.full_like(belief, -8.0)


class Fusion(nn.Module):
    """Shift of each pixel's scar logit by the ECG's belief: see :meth:`bounded`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        features, width = config.scar_width, config.fusion_width
        self.delta_max, self.delta_scarred = config.delta_max, config.delta_scarred
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
        case = self.case(belief[None], evidence[None]).T[segment]
        inputs = torch.cat([features, scar[:, None] * LOGIT_SCALE, case], 1)
        return self.bounded(self.out(F.relu(self.hidden(inputs)))[:, 0], belief, evidence)

    def on_maps(
        self, features: Tensor, scar: Tensor, member: Tensor, belief: Tensor, evidence: Tensor
    ) -> Tensor:
        """Change [S, 1, 1, P] of every pixel's scar logit: as above, of whole maps.

        Args:
            features: [S, C, h, w].
            scar: [S, 1, 1, P] image logits.
            member: [S, 1, 17, P] see :func:`members`.
            belief: [1, 17] logits, and ``evidence``.
        """
        pixels = torch.cat([scar * LOGIT_SCALE, self.case(belief, evidence) @ member], 2)
        inputs = torch.cat([features, pixels.reshape(-1, 4, *features.shape[2:])], 1)
        hidden = F.relu(F.conv2d(inputs, self.hidden.weight[:, :, None, None], self.hidden.bias))
        out = F.conv2d(hidden, self.out.weight[:, :, None, None], self.out.bias)
        # Flat from here: providers pad a map of one channel to sixteen.
        return self.bounded(out.reshape(-1, 1, 1, scar.shape[3]), belief, evidence)

    def case(self, belief: Tensor, evidence: Tensor) -> Tensor:
        """[3, 17] what the head is told of each segment, from belief logits and evidence
        [1, 17]."""
        scaled = belief * LOGIT_SCALE
        context = self.context(torch.cat([scaled, evidence], 1))
        highest = belief.amax(-1, keepdim=True) * torch.full_like(belief, LOGIT_SCALE)
        return torch.cat([scaled, context, highest])

    def bounded(self, out: Tensor, belief: Tensor, evidence: Tensor) -> Tensor:
        """Changes upwards within δ_scarred. Those downwards only as far as the whole ECG is quiet:
        within δ_scarred where the image shows much scar, within δ_max where it shows little."""
        further = self.delta_scarred + (self.delta_max - self.delta_scarred) * paucity(evidence)
        change = torch.tanh(out)
        down = quietness(belief) * further
        return torch.where(change < 0, down, self.delta_scarred) * change
