"""Stage 4: agreement, ceiling, fusion and the time constant, from scar labels alone.

Every step draws patients and new gaps: with probability 1 − exp(−Δt/τ_twin) the ECG shows
another scar state, and now and then it is of another patient altogether. The loss sees only
the mixture p = w·p_fused + (1 − w)·p_image; τ follows from the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scarseg_export.buffers import FUSION
from scarseg_export.fusion import Fusion, moved
from scarseg_export.loop import Rate, run_steps
from scarseg_export.network import ScarNet
from scarseg_export.paired import OWN, STALE, VARIANTS, Patient, load_patients
from scarseg_export.recipe import Recipe
from scarseg_export.taff import mix
from scarseg_export.twin.cohort import is_stale, sample_gaps

DICE_SHARE = 0.3
"""Weight of the Dice term: likelihood alone is calibrated, but misses small scars at 0.5."""
BATCH = 12
FALSE_FLAGS = 0.05
"""Share of right pairs of image and ECG that may be flagged as disagreeing."""


class Ablations(nn.Module):
    """Heads that are evaluated beside the deployed one and never deployed."""

    def __init__(self, net: ScarNet) -> None:
        super().__init__()
        config = net.config
        sizes = config.scar_width, config.fusion_width, config.delta_max
        self.atlas = Fusion(*sizes)
        """Image and AHA segment, no ECG."""
        self.untimed = Fusion(*sizes)
        """Image, segment and ECG, whatever its age."""


@dataclass(frozen=True)
class Heard:
    """One ECG that is offered with a patient's image."""

    belief: Tensor
    size: Tensor


def train_fusion(net: ScarNet, recipe: Recipe, folder: Path) -> Ablations:
    """Train ``net.fusion``, ``agreement``, ``ceiling`` and ``taff`` in place, and the heads that
    serve comparison only."""
    patients = load_patients(net, recipe, folder, FUSION, recipe.fusion_cases)
    ablations = Ablations(net)
    fit_fusion(net, ablations, recipe, patients, folder / "resume.pt")
    return ablations


def fit_fusion(
    net: ScarNet, ablations: Ablations, recipe: Recipe, patients: list[Patient], checkpoint: Path
) -> None:
    """Train on patients that have passed through the frozen parts."""

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        rng = np.random.default_rng([recipe.seed, FUSION, step])
        losses = _losses(net, ablations, rng, patients, recipe.swap_share)
        return losses.sum(), {"loss": f"{losses[0].item():.4f}", "tau": f"{net.taff.tau_days:.0f}"}

    rates = [
        Rate(net.fusion, recipe.fusion_rate),
        Rate(net.agreement, recipe.fusion_rate, 1e-2),
        Rate(ablations, recipe.fusion_rate),
        Rate(net.ceiling, recipe.ceiling_rate, 0.0),
        Rate(net.taff, recipe.tau_rate, 0.0),
    ]
    run_steps("fusion", rates, recipe.fusion_steps, recipe.seed, loss_of, checkpoint)


def _losses(
    net: ScarNet,
    ablations: Ablations,
    rng: np.random.Generator,
    patients: list[Patient],
    swap_share: float,
) -> Tensor:
    """[4] fusion, agreement, and the two ablations, each the mean of a batch."""
    gaps = sample_gaps(rng, BATCH)
    stale = is_stale(rng, gaps)
    swapped = rng.random(BATCH) < swap_share
    weights = net.taff(torch.tensor(gaps, dtype=torch.float32), torch.ones(BATCH))
    total = torch.zeros(4)
    for number, index in enumerate(rng.integers(len(patients), size=BATCH)):
        patient = patients[int(index)]
        own = _ecg(rng, patient, STALE if stale[number] else OWN)
        other = _ecg(rng, patients[int(rng.integers(len(patients)))], OWN)
        offered = other if swapped[number] else own
        odd = torch.sigmoid(disagreement_of(net, patient, offered)).detach()
        image = net.ceiling(patient.scar)
        change = change_of(net.fusion, patient, offered.belief)
        fused = moved(image, change, odd, net.config.agreement_gate)
        mixture = mixture_loss(image, fused, weights[number], patient)
        fresh = _ecg(rng, patient, OWN)
        pairs = torch.stack([disagreement_of(net, patient, ecg) for ecg in (fresh, other)])
        agreement = F.binary_cross_entropy_with_logits(pairs, torch.tensor([0.0, 1.0]))
        atlas = change_of(ablations.atlas, patient, torch.zeros_like(own.belief))
        untimed = change_of(ablations.untimed, patient, own.belief)
        still = image.detach()
        one = torch.ones(())
        total = total + torch.stack(
            [
                mixture,
                agreement,
                mixture_loss(still, still + atlas, one, patient),
                mixture_loss(still, still + untimed, one, patient),
            ]
        )
    return total / BATCH


@torch.no_grad()
def disagreement_threshold(net: ScarNet, patients: list[Patient]) -> float:
    """Disagreement that only ``FALSE_FLAGS`` of right pairs exceed, on patients not trained on."""
    scores = [
        float(torch.sigmoid(disagreement_of(net, patient, ecg_of(patient, OWN, variant))))
        for patient in patients
        for variant in range(VARIANTS)
    ]
    return float(np.quantile(scores, 1.0 - FALSE_FLAGS))


def mixture_loss(image: Tensor, fused: Tensor, weight: Tensor, patient: Patient) -> Tensor:
    """Likelihood and Dice of the mixture of both paths' logits [P]."""
    maps = torch.sigmoid(fused), torch.sigmoid(image)
    mixed = mix(weight, *maps).clamp(1e-4, 1 - 1e-4)
    likelihood = F.binary_cross_entropy(mixed, patient.is_scar)
    # Only the likelihood may move τ: Dice rewards bold maps, so it would trust any ECG.
    bold = mix(weight.detach(), *maps)
    overlap = 2 * (bold * patient.is_scar).sum() + 20.0
    dice = overlap / (bold.sum() + patient.is_scar.sum() + 20.0)
    return likelihood + DICE_SHARE * (1.0 - dice)


def _ecg(rng: np.random.Generator, patient: Patient, which: int) -> Heard:
    return ecg_of(patient, which, int(rng.integers(VARIANTS)))


def ecg_of(patient: Patient, which: int, variant: int) -> Heard:
    """One of a patient's ECGs: ``OWN`` or ``STALE``, and which distorted copy of it."""
    return Heard(patient.belief[which, variant], patient.heard[which, variant])


def change_of(fusion: Fusion, patient: Patient, belief: Tensor) -> Tensor:
    """[P] change of the scar logits that a fusion head asks for."""
    return fusion(patient.features, patient.scar, patient.segment, belief, patient.evidence)


def disagreement_of(net: ScarNet, patient: Patient, ecg: Heard) -> Tensor:
    """Logit that ``ecg`` is of somebody else than the patient's image."""
    return net.agreement(ecg.belief, patient.evidence, ecg.size, patient.size)
