"""One patient through every arm: the same image each time, only what else is known differs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scarseg_export.evaluation.testset import UnseenPatient
from scarseg_export.net.fusion import Fusion, unheard
from scarseg_export.net.network import ScarNet, change_map
from scarseg_export.net.seen import Seen
from scarseg_export.train.checkpoint import Checkpoint
from scarseg_runtime.contract import MYOCARDIUM, Label
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.quantify import threshold_rules

Labels = NDArray[np.uint8]

IMAGE, ATLAS, UNTIMED, TAFF = "image only", "image + atlas", "ECG without Δt", "TAFF"
FORCED = "TAFF, Δt forced to 0"
"""The patient's own ECG, however old, taken for one of today."""
SHUFFLED = "somebody else's ECG, same Δt"
SWAPPED, UNGATED = "somebody else's ECG, Δt = 0", "somebody else's, Δt = 0, no gate"
"""The dangerous one, with and without the network's own check that ECG and image agree."""
RIGHT, NO_ECG = "own ECG of the day, Δt = 0", "no ECG"
EXPERT_IMAGE, EXPERT_TAFF = "image only, expert wall", "TAFF, expert wall"
RULES = ("FWHM", "2 SD", "3 SD", "5 SD", "6 SD", "Otsu")
PREDICTED, EXPERT = "predicted wall", "expert wall"


@dataclass(frozen=True)
class ArmResults:
    """Everything the arms say of one patient, on the grid of the image."""

    labels: dict[str, Labels]
    """By arm, before small islands are cleaned away."""
    segments: Labels
    weight: float
    """TAFF weight at the patient's own gap."""
    belief_fresh: NDArray[np.float32]
    """[17] scar belief by the ECG of the day, and by one of another scar state."""
    belief_stale: NDArray[np.float32]
    disagreement_right: float
    """Of the image with the ECG of the day, one of another scar state, one of somebody else."""
    disagreement_stale: float
    disagreement_swapped: float
    no_ecg_is_image_only: bool
    """True where the scar map without an ECG is that of the image path, bit for bit."""


@torch.no_grad()
def run_arms(trained: Checkpoint, case: UnseenPatient) -> ArmResults:
    """Pass one patient through the image network once and through all heads."""
    net = trained.net
    lge = torch.from_numpy(case.stack.pixels)
    levels = torch.from_numpy(slice_levels(np.arange(len(lge)))).float()
    seen = net.see(lge, torch.full((2,), case.stack.spacing_mm), levels)
    own, fresh, stale, other = (
        torch.from_numpy(b) for b in (case.beat, case.fresh_beat, case.stale_beat, case.other_beat)
    )
    now, then, valid = torch.zeros(1), torch.tensor([case.gap_days]).float(), torch.ones(1)
    taff = net.fuse(seen, own, then, valid)
    right = net.fuse(seen, fresh, now, valid)
    outdated = net.fuse(seen, stale, now, valid)
    swapped = net.fuse(seen, other, now, valid)
    belief, foreign = (net.ecg(beat[None])[0][0] for beat in (own, other))
    ablations = trained.ablations
    maps = {
        IMAGE: torch.sigmoid(net.ceiling(seen.scar)),
        ATLAS: _head(net, ablations.atlas, seen, unheard(belief)),
        UNTIMED: _head(net, ablations.untimed, seen, belief),
        TAFF: taff.scar,
        FORCED: net.fuse(seen, own, now, valid).scar,
        SHUFFLED: net.fuse(seen, other, then, valid).scar,
        SWAPPED: swapped.scar,
        UNGATED: _head(net, net.fusion, seen, foreign),
        RIGHT: right.scar,
        NO_ECG: net.fuse(seen, own, then, torch.zeros(1)).scar,
    }
    return ArmResults(
        _labels(net, seen, maps, case),
        net.to_input_grid(seen, taff.scar)[3].numpy(),
        float(taff.weight), right.belief.numpy(), outdated.belief.numpy(),
        float(right.disagreement), float(outdated.disagreement), float(swapped.disagreement),
        torch.equal(maps[NO_ECG], maps[IMAGE]),
    )  # fmt: skip


def _head(net: ScarNet, head: Fusion, seen: Seen, belief: Tensor) -> Tensor:
    """Scar map [S, 1, 1, P] of a fusion head that knows neither time nor gate, as in training."""
    return torch.sigmoid(net.ceiling(seen.scar) + change_map(head, seen, belief))


def _labels(
    net: ScarNet, seen: Seen, maps: dict[str, Tensor], case: UnseenPatient
) -> dict[str, Labels]:
    """Labels [S, H, W] of every arm: those with a scar map, and what they say in other walls."""
    decisions = net.ceiling.decision(torch.cat(list(maps.values()), 1))
    anatomy_labels, _, resampled = net.resampled(seen, [decisions])
    truth = case.stack.labels
    base = anatomy_labels.numpy().astype(np.uint8).reshape(truth.shape)
    scar = resampled.numpy()
    called = {arm: scar[:, k].reshape(truth.shape) > 0.0 for k, arm in enumerate(maps)}
    labels = {arm: in_wall(base, mask) for arm, mask in called.items()}
    labels[EXPERT_IMAGE] = in_wall(truth, called[IMAGE])
    labels[EXPERT_TAFF] = in_wall(truth, called[TAFF])
    for place, anatomy in ((PREDICTED, base), (EXPERT, truth)):
        for rule, mask in rule_masks(case.stack.pixels, np.isin(anatomy, MYOCARDIUM)).items():
            labels[f"{rule}, {place}"] = in_wall(anatomy, mask)
    return labels


def in_wall(anatomy: Labels, scar: NDArray[np.bool_]) -> Labels:
    """``anatomy`` with scar, wherever its wall is, decided anew by the mask ``scar``."""
    wall = np.isin(anatomy, MYOCARDIUM)
    base = np.where(wall, Label.VIABLE_MYOCARDIUM, anatomy)
    return np.where(wall & scar, Label.SCAR, base).astype(np.uint8)


def rule_masks(
    pixels: NDArray[np.float32], wall: NDArray[np.bool_]
) -> dict[str, NDArray[np.bool_]]:
    """Scar by plain signal rules inside ``wall``, by name in :data:`RULES`."""
    masks = [threshold_rules.fwhm(pixels, wall)]
    masks += [threshold_rules.n_sd(pixels, wall, n) for n in (2, 3, 5, 6)]
    masks.append(threshold_rules.otsu(pixels, wall))
    return dict(zip(RULES, masks, strict=True))
