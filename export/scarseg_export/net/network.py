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
    locate,
    sectors_of,
    segments_at,
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
from scarseg_export.net.normalise import robust_zscore
from scarseg_export.net.sampling import (
    PixelGrid,
    Place,
    SquareGrid,
    back,
    sampled,
    with_neighbours,
)
from scarseg_export.net.seen import Fused, Seen
from scarseg_export.net.time_weight import TemporalWeight, mix
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
    share = torch.exp(logits - logits.amax(1, keepdim=True))
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
        crops = robust_zscore(sampled(image[:, None], place, size, self.config.crop_spacing_mm))
        return with_neighbours(crops)

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
        scarred = (fused.scar > 0.5).to(torch.float32)
        burden = evidence_of(seen.member, column(wall_of(seen.anatomy)), column(scarred))
        return *outputs, burden, fused.belief, fused.weight, fused.disagreement

    def see(self, lge: Tensor, pixel_spacing: Tensor, slice_level: Tensor) -> Seen:
        """The image path: pixels [S, H, W] and spacing in, no ECG anywhere."""
        grid = PixelGrid.of(lge, pixel_spacing)
        # Padding, whatever a scanner filled in, becomes 0 and stays exactly that when resampled.
        image = lge - lge.amin((0, 1, 2))
        place = self.localiser(image, grid)
        crops = self.crops(image, place)
        anatomy_logits, features, scar = self.image(crops)
        scar = scar.flatten(2)
        # Where nothing stands out from anything there is no heart, whatever rounding suggests.
        contrast = crops.amax((0, 1, 2, 3)) > MIN_CONTRAST_SD
        anatomy = torch.where(contrast, shares_of(anatomy_logits).flatten(2), 0.0)
        size, spacing_mm = self.config.crop_size, self.config.crop_spacing_mm
        frame = locate(anatomy, spacing_mm, slice_level)
        sectors = sectors_of(frame)
        pixels = SquareGrid.of(size, spacing_mm, lge.device).rows
        segments = segments_at(sectors.lines @ pixels, sectors.middle, sectors.start)
        member = members(segments)
        return Seen(
            grid, place, frame, sectors, anatomy, features, scar, segments, member,
            evidence_of(member, column(wall_of(anatomy)), column(torch.sigmoid(scar))),
            heart_size(areas_mm2(anatomy, spacing_mm)),
        )  # fmt: skip

    def fuse(self, seen: Seen, ecg: Tensor, gap_days: Tensor, ecg_valid: Tensor) -> Fused:
        """TAFF: the beat [12, 512] moves the scar of the image path by the age of the ECG."""
        leads = ecg if self.config.ecg_leads == LEADS else ecg[self.lead_rows]
        beliefs, heard = self.ecg(leads[None])
        odd = self.agreement(beliefs, seen.evidence[None], heard, seen.size[None])
        odd, belief = torch.sigmoid(odd), beliefs[0]
        image = self.ceiling(seen.scar)
        change = change_map(self.fusion, seen, belief)
        fused = moved(image, change, odd, self.config)
        weight = self.taff(gap_days, ecg_valid)
        scar = mix(weight, torch.sigmoid(fused), torch.sigmoid(image))
        return Fused(scar, torch.sigmoid(belief), weight, torch.where(ecg_valid > 0, odd, 0.0))

    def to_input_grid(self, seen: Seen, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels, scar probability, image-only labels and segments on the grid of the study."""
        image_scar = torch.sigmoid(self.ceiling(seen.scar))
        decided = self.ceiling.decision(torch.cat([mixed, image_scar], 1))
        to_crop, half_crop = self.to_crop(seen), self.config.crop_mm / 2
        lines = seen.sectors.seen_from(to_crop, 1.0 / half_crop)
        places, borders = seen.grid.maps(torch.cat([to_crop, lines], 1)).split([2, 3], 1)
        base, wall, decided, mixed = self.resampled(seen, [decided, mixed], places)
        muscle = base == _VIABLE_MYOCARDIUM
        # Cast one by one: TensorRT takes bytes as outputs only.
        scarred = torch.where(muscle & (decided > 0.5), _SCAR, base)
        labels, image_only = (scarred[:, k].to(torch.uint8) for k in range(2))
        # Lines in mm or in halves of a crop: the sign is the same.
        middle, start = seen.sectors.middle[..., None], seen.sectors.start[..., None]
        segments = torch.where(muscle, segments_at(borders, middle, start), 0.0)
        return labels, (wall * mixed)[:, 0], image_only, segments[:, 0].to(torch.uint8)

    def to_crop(self, seen: Seen) -> Tensor:
        """[S, 2, 3] from the study's pixels to places in the crops, whose edges are at −1 and 1."""
        return seen.place.from_pixels(seen.grid, self.config.crop_mm / 2)

    def resampled(
        self, seen: Seen, more: list[Tensor], places: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """On the grid of the study: anatomy labels [S, 1, H, W] without scar, the probability of
        the wall [S, 1, H, W], and the maps ``more``, each [S, n, P], as [S, n, H, W]."""
        size = self.config.crop_size
        maps = torch.cat([seen.anatomy[:, 1:], *more], 1)
        maps = maps.reshape(-1, maps.shape[1], size, size)
        maps = back(maps, seen.grid.maps(self.to_crop(seen)) if places is None else places)
        cavity, wall, right, *more = maps.split([1, 1, 1, *(m.shape[1] for m in more)], 1)
        return most_likely(cavity, wall, right), wall, *more


def column(values: Tensor) -> Tensor:
    """[S, P, 1] of maps [S, 1, P]."""
    return values.to(torch.float32).reshape(values.shape[0], -1, 1)


def most_likely(cavity: Tensor, wall: Tensor, right: Tensor) -> Tensor:
    """Anatomy label of every pixel from probabilities of cavity, wall and RV; the rest is
    background. Comparisons in place of an argmax over channels, which needs a copy of them all."""
    background = 1.0 - cavity - wall - right
    inside = torch.maximum(wall, right)
    label = torch.where(wall >= right, _VIABLE_MYOCARDIUM, _RV_CAVITY)
    label = torch.where(cavity >= inside, _LV_CAVITY, label)
    return torch.where(background >= torch.maximum(cavity, inside), _BACKGROUND, label)


def wall_of(anatomy: Tensor) -> Tensor:
    """[S, 1, P] where myocardium is the likeliest of the anatomy probabilities [S, 4, P]."""
    outside, cavity, wall, right = anatomy.split(1, 1)
    return wall > torch.maximum(torch.maximum(outside, cavity), right)


def change_map(head: Fusion, seen: Seen, belief: Tensor) -> Tensor:
    """[S, 1, P] change of every pixel's scar logit that a fusion head asks for."""
    return head.on_maps(seen.features, seen.scar, seen.member, belief, seen.evidence)
