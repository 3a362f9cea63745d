"""Stage 4: agreement, fusion and the time constant, from scar labels alone.

Every step draws patients and new gaps: with probability 1 − exp(−Δt/τ_twin) the ECG shows
another scar state, and nothing says which it was. The maps learn from the mixture
p = w·p_fused + (1 − w)·p_image with the weight as it is; τ learns from the scarred segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scarseg_export.net.fusion import Agreement, Fusion, moved, segment_evidence, unheard
from scarseg_export.net.network import ScarNet
from scarseg_export.net.time_weight import AgeLikelihood, TemporalWeight, mix
from scarseg_export.train.buffers import FUSION
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.paired import OWN, STALE, VARIANTS, Patient, mixed_patients
from scarseg_export.train.real_ecgs import RealEcgs
from scarseg_export.train.recipe import Recipe
from scarseg_export.twin.cohort import is_stale, sample_gaps

DICE_SHARE = 1.0
"""Weight of the Dice term: likelihood alone is calibrated, but misses small scars at 0.5."""
BATCH = 12
PAIRS = 256
"""Patients a step of agreement and τ, which need no pixels and are cheap."""
SCARRED = 0.1
"""Share of a segment's wall from which on it counts as scarred."""
FALSE_FLAGS = 0.05
"""Share of right pairs of image and ECG that may be flagged as disagreeing."""


class Ablations(nn.Module):
    """Heads that are evaluated beside the deployed one and never deployed."""

    def __init__(self, net: ScarNet) -> None:
        super().__init__()
        self.atlas = Fusion(net.config)
        """Image and AHA segment, no ECG."""
        self.untimed = Fusion(net.config)
        """Image, segment and ECG, whatever its age."""


@dataclass(frozen=True)
class Heard:
    """Outputs from one ECG: scar belief logits [17] and heart size [2]."""

    belief: Tensor
    size: Tensor


def train_fusion(net: ScarNet, recipe: Recipe, folder: Path, real: RealEcgs | None) -> Ablations:
    """Train ``net.fusion``, ``agreement`` and ``taff`` in place, and the heads that serve
    comparison only.

    Args:
        real: real ECGs for semi-real patients beside those of the twin.
    """
    patients = mixed_patients(net, recipe, folder, recipe.fusion_cases, real)
    ablations = Ablations(net)
    fit_fusion(net, ablations, recipe, patients, folder / "resume.pt")
    return ablations


def fit_fusion(
    net: ScarNet, ablations: Ablations, recipe: Recipe, patients: list[Patient], checkpoint: Path
) -> None:
    """Train on patients that have passed through the frozen parts."""
    pairs = Pairs.of(patients)
    age = AgeLikelihood(pairs.scarred)

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        rng = np.random.default_rng([recipe.seed, FUSION, step])
        losses = _losses(net, ablations, rng, patients)
        agreement = agreement_loss(net.agreement, rng, pairs)
        parts = {
            "loss": f"{losses[0].item():.3f}", "agreement": f"{agreement.item():.3f}",
            "tau": f"{net.taff.tau_days:.0f}",
        }  # fmt: skip
        return losses.sum() + agreement + age_loss(net.taff, age, rng, pairs), parts

    rates = [
        Rate(net.fusion, recipe.fusion_rate),
        Rate(net.agreement, recipe.fusion_rate, 1e-1),
        Rate(ablations, recipe.fusion_rate),
        Rate(net.taff, recipe.tau_rate, 0.0),
        Rate(age, recipe.fusion_rate, 0.0),
    ]
    run_steps("fusion", rates, recipe.fusion_steps, recipe.seed, loss_of, checkpoint)


def _losses(
    net: ScarNet, ablations: Ablations, rng: np.random.Generator, patients: list[Patient]
) -> Tensor:
    """[3] fusion and the two ablations, each the mean of a batch."""
    gaps = sample_gaps(rng, BATCH)
    stale = is_stale(rng, gaps)
    picked = rng.integers(len(patients), size=BATCH)
    weights = net.taff(torch.tensor(gaps, dtype=torch.float32), torch.ones(BATCH)).detach()
    parts = []
    for number, patient in enumerate(patients[int(index)] for index in picked):
        own = _ecg(rng, patient, STALE if stale[number] else OWN)
        parts.append(pair_losses(net, ablations, patient, own, weights[number]))
    return torch.stack(parts).mean(0)


def pair_losses(
    net: ScarNet, ablations: Ablations, patient: Patient, ecg: Heard, weight: Tensor
) -> Tensor:
    """[3] of one patient with one ECG: fusion at its ``weight``, atlas without an ECG, and an ECG
    whose age nobody knows."""
    one = torch.ones(())
    odd = torch.sigmoid(disagreement_of(net, patient, ecg)).detach()
    image = net.ceiling(patient.scar)
    fused = moved(image, change_of(net.fusion, patient, ecg.belief), odd, net.config)
    atlas = change_of(ablations.atlas, patient, unheard(ecg.belief))
    untimed = change_of(ablations.untimed, patient, ecg.belief)
    return torch.stack(
        [
            mixture_loss(image, fused, weight, patient),
            mixture_loss(image, image + atlas, one, patient),
            mixture_loss(image, image + untimed, one, patient),
        ]
    )


@dataclass(frozen=True)
class Pairs:
    """Arrays that agreement and τ compare, of N patients."""

    belief: Tensor
    """[N, 2, VARIANTS, 17] and [N, 2, VARIANTS, 2] of the own and the stale ECG."""
    heard: Tensor
    evidence: Tensor
    """[N, 17] and [N, 2] of the image."""
    size: Tensor
    scarred: Tensor
    """[N, 17] 1 where a segment truly has scar."""

    @classmethod
    def of(cls, patients: list[Patient]) -> Pairs:
        """Stack the patients."""
        return cls(
            torch.stack([patient.belief for patient in patients]),
            torch.stack([patient.heard for patient in patients]),
            torch.stack([patient.evidence for patient in patients]),
            torch.stack([patient.size for patient in patients]),
            torch.stack([scarred_segments(patient) for patient in patients]),
        )


def agreement_loss(agreement: Agreement, rng: np.random.Generator, pairs: Pairs) -> Tensor:
    """Cross-entropy of right and of wrong pairs, as many of each."""
    count = len(pairs.size)
    image, other, variant = (rng.integers(n, size=PAIRS) for n in (count, count, VARIANTS))
    odd = [
        agreement(
            pairs.belief[who, OWN, variant], pairs.evidence[image],
            pairs.heard[who, OWN, variant], pairs.size[image],
        )
        for who in (image, other)
    ]  # fmt: skip
    return (F.softplus(odd[0]) + F.softplus(-odd[1])).mean() / 2


def age_loss(
    taff: TemporalWeight, age: AgeLikelihood, rng: np.random.Generator, pairs: Pairs
) -> Tensor:
    """The one loss that moves τ: new gaps, and nothing says which ECG is stale."""
    picked, variant = (rng.integers(n, size=PAIRS) for n in (len(pairs.size), VARIANTS))
    gaps = sample_gaps(rng, PAIRS)
    which = np.where(is_stale(rng, gaps), STALE, OWN)
    weights = taff(torch.tensor(gaps, dtype=torch.float32), torch.ones(PAIRS))
    return age(weights, pairs.belief[picked, which, variant], pairs.scarred[picked])


def scarred_segments(patient: Patient) -> Tensor:
    """[17] 1 where more than ``SCARRED`` of the predicted wall of a segment is scar."""
    every = torch.ones_like(patient.is_scar)
    burden = segment_evidence(patient.segment + 1, every, patient.is_scar)
    return (burden > SCARRED).to(every.dtype)


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
    mixed = mix(weight, torch.sigmoid(fused), torch.sigmoid(image))
    likelihood = F.binary_cross_entropy(mixed.clamp(1e-4, 1 - 1e-4), patient.is_scar)
    overlap = 2 * (mixed * patient.is_scar).sum() + 20.0
    dice = overlap / (mixed.sum() + patient.is_scar.sum() + 20.0)
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
