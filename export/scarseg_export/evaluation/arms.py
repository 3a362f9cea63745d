"""One patient through every arm: the same image each time, only what else is known differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scarseg_export.checkpoint import Checkpoint
from scarseg_export.evaluation.testset import TestCase
from scarseg_export.network import ScarNet, Seen
from scarseg_export.sampling import back
from scarseg_runtime import threshold_rules
from scarseg_runtime.contract import Label
from scarseg_runtime.preprocess import slice_levels

Labels = NDArray[np.uint8]

IMAGE, ATLAS, UNTIMED, TAFF = "image only", "image + atlas", "ECG without Δt", "TAFF"
SHUFFLED, SWAPPED, FORCED = "shuffled ECG", "swapped fresh ECG", "Δt forced to 0"
RIGHT, NO_ECG = "own fresh ECG", "no ECG"
NETWORK_ARMS = (IMAGE, ATLAS, UNTIMED, TAFF, SHUFFLED, SWAPPED, FORCED, RIGHT, NO_ECG)
EXPERT_IMAGE, EXPERT_TAFF = "image only, expert wall", "TAFF, expert wall"
RULES = ("FWHM", "2 SD", "3 SD", "5 SD", "6 SD", "Otsu")


@dataclass(frozen=True)
class ArmResults:
    """Everything the arms say of one patient, on the grid of the image."""

    labels: dict[str, Labels]
    """By arm, before small islands are cleaned away."""
    segments: NDArray[np.uint8]
    weight: float
    """TAFF weight at the patient's own gap."""
    belief_fresh: NDArray[np.float32]
    belief_stale: NDArray[np.float32]
    disagreement_right: float
    disagreement_swapped: float


@torch.no_grad()
def run_arms(trained: Checkpoint, case: TestCase) -> ArmResults:
    """Pass one patient through the network once and through all heads."""
    net = trained.net
    lge = torch.from_numpy(case.stack.pixels)
    levels = torch.from_numpy(slice_levels(np.arange(len(lge)))).float()
    seen = net.see(lge, torch.full((2,), case.stack.spacing_mm), levels)
    own, fresh, stale, other = (
        torch.from_numpy(b) for b in (case.beat, case.fresh_beat, case.stale_beat, case.other_beat)
    )
    taff = net.fuse(seen, own, _days(case.gap_days), torch.ones(1))
    right = net.fuse(seen, fresh, _days(0.0), torch.ones(1))
    swapped = net.fuse(seen, other, _days(0.0), torch.ones(1))
    belief = net.ecg(own[None])[0][0]
    maps = {
        IMAGE: torch.sigmoid(net.ceiling(seen.scar)),
        ATLAS: _head(net, trained.ablations.atlas, seen, torch.zeros_like(belief)),
        UNTIMED: _head(net, trained.ablations.untimed, seen, belief),
        TAFF: taff.scar,
        SHUFFLED: net.fuse(seen, other, _days(case.gap_days), torch.ones(1)).scar,
        SWAPPED: swapped.scar,
        FORCED: net.fuse(seen, own, _days(0.0), torch.ones(1)).scar,
        RIGHT: right.scar,
        NO_ECG: net.fuse(seen, own, _days(0.0), torch.zeros(1)).scar,
    }
    base, scar = _on_image_grid(net, lge, seen, torch.stack(list(maps.values()), 1))
    labels = {
        name: np.where((base == 2) & (scar[:, k] > 0.5), Label.SCAR, base).astype(np.uint8)
        for k, name in enumerate(maps)
    }
    for name, arm in ((EXPERT_IMAGE, IMAGE), (EXPERT_TAFF, TAFF)):
        labels[name] = _in_wall(case.stack.labels, scar[:, list(maps).index(arm)] > 0.5)
    labels |= _rules(case, labels[IMAGE])
    segments = net.to_input_grid(lge, seen, taff.scar)[3].numpy()
    return ArmResults(
        labels, segments, float(taff.weight), right.belief.numpy(),
        torch.sigmoid(net.ecg(stale[None])[0][0]).numpy(),
        float(right.disagreement), float(swapped.disagreement),
    )  # fmt: skip


def _days(gap: float) -> Tensor:
    return torch.tensor([gap], dtype=torch.float32)


def _head(net: ScarNet, head: torch.nn.Module, seen: Seen, belief: Tensor) -> Tensor:
    """Scar map of a comparison head, which knows no time and no gate."""
    flat = seen.features.permute(0, 2, 3, 1).flatten(0, 2)
    segment = (seen.segments - 1.0).to(torch.int64).flatten()
    change = head(flat, seen.scar.flatten(), segment, belief, seen.evidence)
    return torch.sigmoid(net.ceiling(seen.scar) + change.view_as(seen.scar))


def _on_image_grid(
    net: ScarNet, lge: Tensor, seen: Seen, scar: Tensor
) -> tuple[Labels, NDArray[np.float32]]:
    """Anatomy labels [S, H, W] without scar and scar maps [S, A, H, W] of all arms, in one
    resampling; a test holds this against the deployed graph."""
    maps = torch.cat([seen.anatomy[:, 1:], scar], 1)
    maps = back(maps, lge, seen.half_mm, seen.centres_mm, net.config.crop_mm)
    background = 1.0 - maps[:, :3].sum(1, keepdim=True)
    winner = torch.cat([background, maps[:, :3]], 1).argmax(1)
    base = torch.where(winner == 3, int(Label.RV_CAVITY), winner)
    return base.numpy().astype(np.uint8), maps[:, 3:].numpy()


def _in_wall(truth: Labels, scar: NDArray[np.bool_]) -> Labels:
    """Scar decided inside the expert's myocardium; everything else as the expert says."""
    wall = (truth == Label.VIABLE_MYOCARDIUM) | (truth == Label.SCAR)
    base = np.where(wall, Label.VIABLE_MYOCARDIUM, truth)
    return np.where(wall & scar, Label.SCAR, base).astype(np.uint8)


def _rules(case: TestCase, predicted: Labels) -> dict[str, Labels]:
    """Plain signal rules inside the predicted and inside the expert myocardium."""
    labels = {}
    for place, anatomy in (("predicted wall", predicted), ("expert wall", case.stack.labels)):
        wall = (anatomy == Label.VIABLE_MYOCARDIUM) | (anatomy == Label.SCAR)
        pixels = case.stack.pixels
        masks = [threshold_rules.fwhm(pixels, wall)]
        masks += [threshold_rules.n_sd(pixels, wall, n) for n in (2, 3, 5, 6)]
        masks.append(threshold_rules.otsu(pixels, wall))
        for rule, mask in zip(RULES, masks, strict=True):
            labels[f"{rule}, {place}"] = _in_wall(anatomy, mask)
    return labels
