"""The whole numeric pipeline as one graph: raw pixels, beat and gap in, labels and burden out.

localise   LV centre of every slice, and where the RV lies, on a coarse view of the full field
anatomy    cavity, wall, RV on the heart crop, turned so that the RV is left of the LV
           (2.5-D: a slice with its neighbours)
scar       logit from image features and from signal against remote myocardium
AHA map    segment of every pixel, from the predicted anatomy
fusion     the ECG's belief moves the scar logit by at most δ_max
TAFF       mixture of fused and image-only probability by the age of the ECG
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scarseg_export.net.aha_map import (
    HeartFrame,
    Sectors,
    locate,
    moments,
    sectors_of,
    segment_map,
)
from scarseg_export.net.ecg_encoder import EcgEncoder
from scarseg_export.net.fusion import (
    Agreement,
    Ceiling,
    Fusion,
    heart_size,
    moved,
    segment_evidence,
)
from scarseg_export.net.normalise import robust_zscore
from scarseg_export.net.sampling import (
    back,
    centred_view,
    half_extent_mm,
    offsets_mm,
    pixel_positions_mm,
    view,
)
from scarseg_export.net.taff import TemporalWeight, mix
from scarseg_export.net.unet import UNet
from scarseg_runtime.contract import LEADS, Label


@dataclass(frozen=True)
class NetworkConfig:
    """Everything needed to build the network again; stored in checkpoints."""

    coarse_size: int = 128
    coarse_spacing_mm: float = 3.0
    crop_size: int = 96
    crop_spacing_mm: float = 1.5
    localiser_widths: tuple[int, ...] = (8, 16, 24, 32, 48)
    fine_widths: tuple[int, ...] = (16, 32, 48, 64, 96)
    scar_width: int = 16
    fusion_width: int = 16
    image_ceiling: float = 2.0
    """Largest scar logit of the image alone, so that an ECG can take away what looks like scar."""
    delta_max: float = 1.4
    """Largest change of the scar logit by the ECG."""
    agreement_gate: float = 1.0
    """Share of that which is withheld where ECG and image surely do not fit one patient."""
    initial_tau_days: float = 480.0
    ecg_leads: tuple[str, ...] = LEADS
    """Order in which the ECG encoder wants the leads; the graph's input has the contract's."""

    @property
    def crop_mm(self) -> float:
        return self.crop_size * self.crop_spacing_mm


@dataclass(frozen=True)
class Place:
    """Where the heart lies in its images, and how."""

    centres_mm: Tensor
    """[S, 2] LV centre of every slice, from the image centre."""
    turn: Tensor
    """[2] cosine and sine of the angle by which the heart's axes are turned against the image's: 1
    and 0 where the RV lies left of the LV, as standard displays show it."""


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

    def coarse_view(self, image: Tensor, half_mm: Tensor) -> Tensor:
        """Normalised full-field view."""
        config = self.config
        return robust_zscore(
            centred_view(image, half_mm, config.coarse_size, config.coarse_spacing_mm)
        )

    def forward(self, image: Tensor, half_mm: Tensor) -> Place:
        probability = torch.sigmoid(self.logits(self.coarse_view(image, half_mm)))
        axis = offsets_mm(self.config.coarse_size, self.config.coarse_spacing_mm, image.device)
        centres = centres_from(probability[:, 0], axis)
        return Place(centres, turn_from(probability[:, 1], centres, axis))


WINDOWS_MM = (80.0, 50.0, 30.0)
"""SDs of the windows in which the stack's LV centre is refined; the last is also how far from it
that of a slice is looked for. An LV is up to about 45 mm in radius and tilts by 10 to 20 mm."""
LEAN = 150.0
"""Weight of the stack's centre in that of a slice, in coarse pixels of LV; a large LV has 400.
With 40, and a last window of 50 mm, slices near the base ended up to 53 mm off on real hearts."""


def centres_from(probability: Tensor, axis_mm: Tensor) -> Tensor:
    """[S, 2] LV centres from LV probability [S, h, w].

    The stack's centre of mass is found first, then refined in a window about it, so that a
    false island far from the heart cannot pull; a slice without LV takes the stack's centre.
    """
    weight = probability * probability
    centre = _centre(moments(weight.sum(0, keepdim=True), axis_mm))[0]
    for radius_mm in WINDOWS_MM:
        away = axis_mm - centre[:, None]
        near = torch.exp(away * away * (-0.5 / radius_mm**2))
        local = weight * (near[1, :, None] * near[0])
        centre = _centre(moments(local.sum(0, keepdim=True), axis_mm))[0]
    found = moments(local, axis_mm)
    return (found[:, :2] + LEAN * centre) / (found[:, 2:] + LEAN)


def _centre(found: Tensor) -> Tensor:
    """[S, 2] centre from moments [S, 3]."""
    return found[:, :2] / (found[:, 2:] + 1e-3)


RV_REACH_MM = 60.0
"""How far from the LV's centre an RV may be: the SD of a window against islands elsewhere."""


def turn_from(right: Tensor, centres_mm: Tensor, axis_mm: Tensor) -> Tensor:
    """[2] turn of the heart from the RV's probability [S, h, w], the whole stack together.

    Every pixel of RV points from its slice's LV centre [S, 2] to itself; the directions' sum is
    left in a crop so turned. With no RV in sight that is left in the image as well.
    """
    dx = axis_mm[None, None, :] - centres_mm[:, None, None, 0]
    dy = axis_mm[None, :, None] - centres_mm[:, None, None, 1]
    square = dx**2 + dy**2
    weight = right**2 * torch.exp(square * (-0.5 / RV_REACH_MM**2)) / torch.sqrt(square + 1.0)
    # A hundredth of a pixel's worth of "left", so that no direction is none.
    towards = torch.stack([(weight * dx).sum() - 1e-2, (weight * dy).sum()])
    return -towards / torch.sqrt((towards**2).sum() + 1e-12)


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
        probability = torch.softmax(anatomy.float(), 1)
        evidence = remote_contrast(crops[:, 1], probability.detach())
        inputs = [features, evidence[:, None], crops[:, 1:2], probability[:, 1:3]]
        scar = self.scar(torch.cat(inputs, 1))
        logit = self.scar_head(torch.cat([scar, evidence[:, None]], 1))
        return anatomy, scar, logit[:, 0]


def remote_contrast(pixels: Tensor, probability: Tensor) -> Tensor:
    """Signal above remote myocardium in units of the blood − myocardium difference [N, h, w].

    Remote myocardium is the darker part of the predicted wall: its mean, then the mean of
    what lies below that mean plus the spread's share. Per slice, sums only.
    """
    wall, blood = probability[:, 2] ** 2, probability[:, 1] ** 2
    remote = _mean(pixels, wall)
    for _ in range(2):
        darker = wall * torch.sigmoid((remote[:, None, None] - pixels) * 4.0)
        remote = _mean(pixels, darker)
    difference = (_mean(pixels, blood) - remote).clamp_min(0.25)
    return ((pixels - remote[:, None, None]) / difference[:, None, None]).clamp(-2.0, 4.0)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum((1, 2)) / (weights.sum((1, 2)) + 1.0)


@dataclass(frozen=True)
class Seen:
    """Outputs from the image alone for one study; S slices, crops of h × h pixels."""

    half_mm: Tensor
    place: Place
    """Where the crops lie in the image, and how they are turned."""
    frame: HeartFrame
    sectors: Sectors
    """Both in the axes of the crops."""
    anatomy: Tensor
    """[S, 4, h, h] probability of background, cavity, wall, RV."""
    features: Tensor
    """[S, C, h, h] scar features."""
    scar: Tensor
    """[S, h, h] scar logit."""
    segments: Tensor
    """[S, h, h] AHA segment of every pixel, also outside the wall."""
    evidence: Tensor
    """[17] mean scar probability of the wall in each segment."""
    size: Tensor
    """[2] of the heart, in size units."""


@dataclass(frozen=True)
class Fused:
    """Outputs from image and ECG together."""

    scar: Tensor
    """[S, h, h] scar probability."""
    belief: Tensor
    """[17] scar belief of the ECG, 0–1."""
    weight: Tensor
    """[1] TAFF weight."""
    disagreement: Tensor
    """[1] probability that ECG and image are of different patients."""


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
        self.fusion = Fusion(
            self.config.scar_width, self.config.fusion_width, self.config.delta_max
        )
        self.taff = TemporalWeight(self.config.initial_tau_days)
        self.lead_rows = [LEADS.index(lead) for lead in self.config.ecg_leads]

    def crops(self, image: Tensor, half_mm: Tensor, place: Place) -> Tensor:
        """[S, 3, h, w] normalised heart crops, each with its basal and apical neighbour."""
        size, spacing_mm = self.config.crop_size, self.config.crop_spacing_mm
        crop = view(image, half_mm, place.centres_mm, size, spacing_mm, place.turn)
        return with_neighbours(robust_zscore(crop))

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
        outputs = self.to_input_grid(lge, seen, fused.scar)
        wall = wall_of(seen.anatomy).to(torch.float32)
        burden = segment_evidence(seen.segments, wall, (fused.scar > 0.5).to(torch.float32))
        return *outputs, burden, fused.belief, fused.weight, fused.disagreement

    def see(self, lge: Tensor, pixel_spacing: Tensor, slice_level: Tensor) -> Seen:
        """The image path: pixels [S, H, W] and spacing in, no ECG anywhere."""
        half_mm = half_extent_mm(lge, pixel_spacing)
        # Padding, whatever a scanner filled in, becomes 0 and stays exactly that when resampled.
        image = lge - lge.amin((0, 1, 2))
        place = self.localiser(image, half_mm)
        crops = self.crops(image, half_mm, place)
        anatomy_logits, features, scar = self.image(crops)
        # Where nothing stands out from anything there is no heart, whatever rounding suggests.
        contrast = (crops.amax((0, 1, 2, 3)) > MIN_CONTRAST_SD).to(lge.dtype)
        anatomy = torch.softmax(anatomy_logits, 1) * contrast
        axis = offsets_mm(self.config.crop_size, self.config.crop_spacing_mm, lge.device)
        frame = locate(anatomy, axis, slice_level)
        sectors = sectors_of(frame)
        segments = segment_map(axis, axis, sectors)
        wall = wall_of(anatomy)
        return Seen(
            half_mm, place, frame, sectors, anatomy, features, scar, segments,
            segment_evidence(segments, wall, torch.sigmoid(scar)),
            heart_size(anatomy, (axis[1] - axis[0]) ** 2),
        )  # fmt: skip

    def fuse(self, seen: Seen, ecg: Tensor, gap_days: Tensor, ecg_valid: Tensor) -> Fused:
        """TAFF: the beat [12, 512] moves the scar of the image path by the age of the ECG."""
        leads = ecg if self.config.ecg_leads == LEADS else ecg[self.lead_rows]
        belief, heard = (out[0] for out in self.ecg(leads[None]))
        odd = torch.sigmoid(self.agreement(belief, seen.evidence, heard, seen.size))[None]
        image = self.ceiling(seen.scar)
        change = change_map(self.fusion, seen, belief)
        fused = moved(image, change, odd, self.config.agreement_gate)
        weight = self.taff(gap_days, ecg_valid)
        scar = mix(weight[0], torch.sigmoid(fused), torch.sigmoid(image))
        return Fused(scar, torch.sigmoid(belief), weight, torch.where(ecg_valid > 0, odd, 0.0))

    def to_input_grid(
        self, lge: Tensor, seen: Seen, mixed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels, scar probability, image-only labels and segments on the grid of ``lge``."""
        image_scar = torch.sigmoid(self.ceiling(seen.scar))
        decided = self.ceiling.decision(torch.stack([mixed, image_scar], 1))
        base, maps = self.resampled(lge, seen, torch.cat([decided, mixed[:, None]], 1))
        wall = base == _VIABLE_MYOCARDIUM
        scarred = wall[:, None] & (maps[:, 3:5] > 0.5)
        # Cast one by one: TensorRT takes bytes as outputs only.
        labels, image_only = (
            part.to(torch.uint8) for part in torch.where(scarred, _SCAR, base[:, None]).unbind(1)
        )
        columns, rows = pixel_positions_mm(lge, seen.half_mm)
        sectors = seen.sectors.turned(seen.place.turn, seen.place.centres_mm)
        segments = torch.where(wall, segment_map(columns, rows, sectors), 0.0)
        return labels, maps[:, 1] * maps[:, 5], image_only, segments.to(torch.uint8)

    def resampled(self, lge: Tensor, seen: Seen, extra: Tensor) -> tuple[Tensor, Tensor]:
        """On the grid of ``lge``: anatomy labels [S, H, W] without scar, and anatomy
        probabilities followed by the maps ``extra`` [S, n, h, h], as [S, 3 + n, H, W]."""
        maps = torch.cat([seen.anatomy[:, 1:], extra], 1)
        place = seen.place
        maps = back(maps, lge, seen.half_mm, place.centres_mm, place.turn, self.config.crop_mm)
        return most_likely(*(maps[:, k] for k in range(3))), maps


def most_likely(cavity: Tensor, wall: Tensor, right: Tensor) -> Tensor:
    """Anatomy label of every pixel from probabilities of cavity, wall and RV; the rest is
    background. Comparisons in place of an argmax over channels, which needs a copy of them all."""
    background = 1.0 - cavity - wall - right
    inside = torch.maximum(wall, right)
    label = torch.where(wall >= right, _VIABLE_MYOCARDIUM, _RV_CAVITY)
    label = torch.where(cavity >= inside, _LV_CAVITY, label)
    return torch.where(background >= torch.maximum(cavity, inside), _BACKGROUND, label)


def wall_of(anatomy: Tensor) -> Tensor:
    """[S, h, w] where myocardium is the likeliest of the anatomy probabilities [S, 4, h, w]."""
    outside, cavity, wall, right = (anatomy[:, k] for k in range(4))
    return (wall > torch.maximum(outside, cavity)) & (wall >= right)


def change_map(head: nn.Module, seen: Seen, belief: Tensor) -> Tensor:
    """[S, h, h] change of every pixel's scar logit that a fusion head asks for."""
    flat = seen.features.permute(0, 2, 3, 1).flatten(0, 2)
    segment = (seen.segments - 1.0).to(torch.int64).flatten()
    return head(flat, seen.scar.flatten(), segment, belief, seen.evidence).view_as(seen.scar)


def with_neighbours(crop: Tensor) -> Tensor:
    """[S, h, w] → [S, 3, h, w]: previous, this and next slice; ends repeat themselves."""
    before = torch.cat([crop[:1], crop[:-1]], 0)
    after = torch.cat([crop[1:], crop[-1:]], 0)
    return torch.stack([before, crop, after], 1)
