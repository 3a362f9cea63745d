"""The whole numeric pipeline as one graph: raw pixels, beat and gap in, labels and burden out.

localise   LV centre of every slice, and where the RV lies: on a coarse view of the full field,
           then close by and upright
anatomy    cavity, wall, RV on the heart crop, turned so that the RV is left of the LV
           (2.5-D: a slice with its neighbours)
scar       logit from image features and from signal against remote myocardium
AHA map    segment of every pixel, from the predicted anatomy
fusion     the ECG's belief moves the scar logit by at most δ_max
TAFF       mixture of fused and image-only probability by the age of the ECG
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scarseg_export.net.aha_map import (
    areas_mm2,
    flat_parts,
    locate,
    sectors_of,
)
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.ecg_encoder import EcgEncoder
from scarseg_export.net.fusion import (
    Agreement,
    Ceiling,
    Fusion,
    evidence_of,
    heart_size,
    members,
    moved,
)
from scarseg_export.net.localiser import Localiser
from scarseg_export.net.normalise import flat_below, robust_zscore
from scarseg_export.net.sampling import (
    PixelGrid,
    Place,
    SquareGrid,
    back,
    sampled,
    with_neighbours,
)
from scarseg_export.net.seen import Fused, Seen
from scarseg_export.net.time_weight import TemporalWeight, mix_numbers
from scarseg_export.net.unet import UNet
from scarseg_runtime.contract import LEADS, Label

# Plain floats: torch.compile cannot follow an IntEnum.
_BACKGROUND, _LV_CAVITY, _VIABLE_MYOCARDIUM, _SCAR, _RV_CAVITY = (float(label) for label in Label)
SCAR_PRIOR_LOGIT = -3.0
MIN_CONTRAST_SD = 0.1
"""An image whose brightest pixel is no further above the mean shows nothing."""


class ImageNet(nn.Module):
    """Heart crop → anatomy and image-only scar. Sees pixels only: no ECG, no atlas."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.fine_widths[0]
        self.unet = UNet(3, config.fine_widths)
        self.anatomy = nn.Conv2d(width, 4, 1)
        self.scar = nn.Sequential(
            nn.Conv2d(width + 4, config.scar_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.scar_width),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.scar_width, config.scar_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.scar_width),
            nn.ReLU(inplace=True),
        )
        self.scar_head = nn.Conv2d(config.scar_width + 1, 1, 1)
        # Start at how rare scar is. From 0, training first learns "no" with every feature, and
        # features that only ever say no leave a logit that cannot rise above its bias.
        assert self.scar_head.bias is not None
        nn.init.constant_(self.scar_head.bias, SCAR_PRIOR_LOGIT)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops [N, 3, h, w] (below, slice, above) → anatomy logits [N, 4, h, w], scar
        features [N, C, h, w], scar logits [N, h, w]."""
        features = self.unet(crops)
        anatomy = self.anatomy(features)
        # Under autocast the logits come in BF16, which would round the statistics made of them.
        heart = shares_of(anatomy.float())[:, 1:3]
        pixels = crops[:, 1:2]
        evidence = remote_contrast(pixels, heart.detach())
        scar = self.scar(torch.cat([features, evidence, pixels, heart], 1))
        return anatomy, scar, self.scar_head(torch.cat([scar, evidence], 1))


def shares_of(logits: Tensor) -> Tensor:
    """Softmax over the few channels of logits [N, C, …]: step by step 16 times as fast in ONNX
    Runtime on a CPU, whose softmax wants channels last and turns the maps about twice."""
    # So that none leaves the range of FP32: on the validation hearts logits stay within ±10.3. Only
    # two beyond one limit would be taken for equal.
    share = torch.exp(logits.clamp(-40.0, 40.0))
    return share / share.sum(1, keepdim=True)


def remote_contrast(pixels: Tensor, heart: Tensor) -> Tensor:
    """Signal [N, 1, h, w] above remote myocardium in units of the blood − myocardium difference.

    Remote myocardium is the darker part of the predicted wall: its mean, then the mean of
    what lies below that mean plus the spread's share. Per slice, sums only.

    Args:
        pixels: [N, 1, h, w].
        heart: [N, 2, h, w] probabilities of cavity and wall.
    """
    pixels = pixels * STEEPNESS
    weights = heart * heart
    blood, remote = _mean(pixels, weights).split(1, 1)
    wall = weights[:, 1:]
    for _ in range(2):
        remote = _mean(pixels, wall * torch.sigmoid(remote - pixels))
    difference = (blood - remote).clamp_min(0.25 * STEEPNESS)
    return ((pixels - remote) / difference).clamp(-2.0, 4.0)


STEEPNESS = 4.0
"""Sharpness with which darker than the mean is told from brighter, per unit of the pixels."""


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    sums = (values * weights).sum((2, 3), keepdim=True)
    return sums / (weights.sum((2, 3), keepdim=True) + 1.0)


class ScarNet(nn.Module):
    """The deployed graph; inputs and outputs are those of :mod:`scarseg_runtime.contract`."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        self.localiser = Localiser(self.config)
        self.image = ImageNet(self.config)
        self.ecg = EcgEncoder()
        self.agreement = Agreement()
        self.ceiling = Ceiling(self.config.image_ceiling)
        self.fusion = Fusion(self.config)
        self.taff = TemporalWeight(self.config.initial_tau_days)
        self.lead_rows = [LEADS.index(lead) for lead in self.config.ecg_leads]

    def crops(self, image: Tensor, place: Place) -> Tensor:
        """[S, 3, h, w] normalised heart crops, each with its basal and apical neighbour."""
        size = self.config.crop_size
        crops = sampled(image[:, None], place, size, self.config.crop_spacing_mm)
        return with_neighbours(robust_zscore(crops, flat_below(image)).reshape(-1, 1, size, size))

    def forward(
        self,
        lge: Tensor,
        pixel_spacing: Tensor,
        slice_level: Tensor,
        ecg: Tensor,
        gap_days: Tensor,
        ecg_valid: Tensor,
    ) -> tuple[Tensor, ...]:
        seen = self.see(lge, pixel_spacing, slice_level)
        fused = self.fuse(seen, ecg, gap_days, ecg_valid)
        outputs = self.to_input_grid(seen, fused.scar)
        scarred = (fused.scar > 0.5) & seen.wall
        scarred = (seen.member @ column(scarred)).sum((0, 1))
        burden = (scarred / seen.area).flatten()
        return *outputs, burden, fused.belief, fused.weight, fused.disagreement

    def see(self, lge: Tensor, pixel_spacing: Tensor, slice_level: Tensor) -> Seen:
        """The image path: pixels [S, H, W] and spacing in, no ECG anywhere."""
        grid = PixelGrid.of(lge, pixel_spacing)
        # Padding, whatever a scanner filled in, becomes 0 and stays exactly that when resampled.
        image = lge - lge.amin((0, 1, 2))
        place = self.localiser(image, grid)
        crops = self.crops(image, place)
        anatomy_logits, features, scar = self.image(crops)
        scar = scar.reshape(-1, 1, 1, self.config.crop_size**2)
        # Where nothing stands out from anything there is no heart, whatever rounding suggests.
        contrast = crops.amax((0, 1, 2, 3)) > MIN_CONTRAST_SD
        anatomy = torch.where(contrast, shares_of(anatomy_logits), 0.0)
        size, spacing_mm = self.config.crop_size, self.config.crop_spacing_mm
        frame = locate(anatomy, spacing_mm, slice_level, place.unit_mm)
        sectors = sectors_of(frame)
        pixels = SquareGrid.of(size, spacing_mm, lge.device, place.unit_mm).flat
        segments = sectors.segments_at(pixels)
        member = members(segments)
        wall = wall_of(anatomy)
        evidence, area = evidence_of(member, wall.to(torch.float32), torch.sigmoid(scar))
        return Seen(
            grid, place, frame, sectors, anatomy, features, scar, segments, member, wall, area,
            evidence.reshape(1, -1), heart_size(areas_mm2(anatomy, spacing_mm)),
        )  # fmt: skip

    def fuse(self, seen: Seen, ecg: Tensor, gap_days: Tensor, ecg_valid: Tensor) -> Fused:
        """TAFF: the beat [12, 512] moves the scar of the image path by the age of the ECG."""
        leads = ecg if self.config.ecg_leads == LEADS else ecg[self.lead_rows]
        belief, heard = self.ecg(leads[None])
        odd = torch.sigmoid(self.agreement(belief, seen.evidence_row, heard, seen.size_row))
        image = self.ceiling(seen.scar)
        fused = moved(image, change_map(self.fusion, seen, belief), odd, self.config)
        weight = self.taff(gap_days, ecg_valid)
        scar = mix_numbers(weight, torch.sigmoid(fused), torch.sigmoid(image))
        disagreement = torch.where(ecg_valid > 0, odd, 0.0)
        return Fused(scar, torch.sigmoid(belief)[0], weight, disagreement)

    def to_input_grid(self, seen: Seen, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels, scar probability, image-only labels and segments on the grid of the study."""
        image_scar = torch.sigmoid(self.ceiling(seen.scar))
        decided = self.ceiling.decision(torch.cat([mixed, image_scar], 1))
        places = self.places(seen)
        base, wall, decided, mixed = self.resampled(seen, [decided, mixed], places)
        muscle = base == _VIABLE_MYOCARDIUM
        scarred = torch.where(muscle & (decided > 0.0), _SCAR, base)
        segments = torch.where(muscle, seen.sectors.segments_at(places), 0.0)
        whole = (-1, *seen.grid.shape)
        labels, image_only, segments = (
            # Cast one by one: TensorRT takes bytes as outputs only.
            v.reshape(whole).to(torch.uint8) for v in (*scarred.split(1, 1), segments)
        )  # fmt: skip
        return labels, (wall * mixed).reshape(whole), image_only, segments

    def places(self, seen: Seen) -> Tensor:
        """[S, 1, 2, H·W] of the study's pixels in the crops, whose edges are at −1 and 1."""
        return seen.place.from_pixels(seen.grid) @ seen.grid.points()

    def resampled(
        self, seen: Seen, more: list[Tensor], places: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """On the grid of the study: anatomy labels [S, 1, 1, H·W] without scar, the probability of
        the wall likewise, and the maps ``more``, each [S, n, 1, P], as [S, n, 1, H·W]."""
        size = self.config.crop_size
        maps = torch.cat([*flat_parts(seen.anatomy)[1:], *more], 1)
        maps = maps.reshape(-1, maps.shape[1], size, size)
        maps = back(maps, self.places(seen) if places is None else places)
        heart, *more = maps.split([3, *(m.shape[1] for m in more)], 1)
        return most_likely(heart), heart[:, 1:2], *more


def column(values: Tensor) -> Tensor:
    """[S, 1, P, 1] of maps [S, 1, 1, P]."""
    return values.to(torch.float32).transpose(2, 3)


def most_likely(heart: Tensor) -> Tensor:
    """Anatomy label [S, 1, …] of every pixel from probabilities of cavity, wall and RV [S, 3, …];
    the rest is background. Comparisons in place of an argmax over channels, which needs a copy of
    them all."""
    background = 1.0 - heart.sum(1, keepdim=True)
    highest = torch.maximum(heart.amax(1, keepdim=True), background)
    labels = heart.new_tensor([_LV_CAVITY, _VIABLE_MYOCARDIUM, _RV_CAVITY])
    found = torch.where(heart >= highest, labels.reshape(3, *[1] * (heart.ndim - 2)), 0.0)
    return found.amax(1, keepdim=True)


def wall_of(anatomy: Tensor) -> Tensor:
    """[S, 1, 1, P] where myocardium is the likeliest of the anatomy probabilities [S, 4, …]."""
    outside, cavity, wall, right = flat_parts(anatomy)
    return wall > torch.maximum(torch.maximum(outside, cavity), right)


def change_map(head: Fusion, seen: Seen, belief: Tensor) -> Tensor:
    """[S, 1, 1, P] change of every pixel's scar logit that a fusion head asks for, given belief
    logits [17] or [1, 17]."""
    rows = belief if belief.ndim == 2 else belief[None]
    return head.on_maps(seen.features, seen.scar, seen.member, rows, seen.evidence_row)
