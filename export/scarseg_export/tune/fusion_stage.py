"""Fusion, agreement and τ on own pairs, each only where there are enough to learn it from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scarseg_export.net.fusion import moved
from scarseg_export.net.network import ScarNet
from scarseg_export.net.time_weight import AgeLikelihood
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.buffers import FUSION
from scarseg_export.train.fusion import (
    Ablations,
    Heard,
    Pairs,
    age_loss,
    agreement_loss,
    disagreement_of,
    ecg_of,
    mixture_loss,
    pair_losses,
)
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.paired import OWN, STALE, VARIANTS, Patient, load_patients
from scarseg_export.tune.pairs import OwnPair, pass_pairs
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.tau import estimate_tau
from scarseg_export.twin.cohort import is_stale, sample_gaps

BATCH = 12
FEWEST_FUSION, EACH = 30, 8
"""Pairs that the fusion needs, and how many of them with scar, and without."""
FEWEST_AGREEMENT = 60
"""Agreement is learned by exchanging the ECGs of pairs: few make few exchanges."""


def tune_fusion(
    net: ScarNet,
    ablations: Ablations,
    unplaced: nn.Module,
    patients: Sequence[OwnPatient],
    settings: TuneSettings,
    folder: Path,
    twin: Path,
    *,
    scratch: bool,
) -> dict[str, Any]:
    """Train in place what there is enough to learn from; say what was done, and why not.

    Args:
        unplaced: head for comparison that hears the ECG without a place.
        patients: to train on.
        twin: where simulated stacks are kept, which all folds share.
        scratch: these parts are untrained, so that all of them are trained, on the twin at least.

    Returns the statements of the stages.
    """
    pairs = pass_pairs(net, patients, settings.seed)
    ill = sum(pair.has_scar for pair in pairs)
    enough = len(pairs) >= FEWEST_FUSION and min(ill, len(pairs) - ill) >= EACH
    said: dict[str, Any] = {"pairs": len(pairs), "with_scar": ill}
    tau = estimate_tau(pairs)
    if tau.adopted:
        assert tau.tau_days is not None
        with torch.no_grad():
            net.taff.log_tau.fill_(math.log(tau.tau_days))
    said["tau"] = tau.to_dict() | {"used_days": net.taff.tau_days}
    if not enough and not scratch:
        why = (
            f"{len(pairs)} pairs, {ill} with scar; {FEWEST_FUSION}, and {EACH} of each, are needed"
        )
        said |= {stage: {"trained": False, "why": why} for stage in ("fusion", "agreement")}
        return said
    simulated = _simulated(net, settings, folder, twin) if settings.twin_share or scratch else []
    own = pairs if enough else []
    agree = len(own) >= FEWEST_AGREEMENT or scratch
    # From nothing there is no time constant to keep: then that of the twin is learned.
    twin_tau = scratch and not tau.adopted
    _fit(net, ablations, unplaced, own, simulated, settings, folder, agree=agree, twin_tau=twin_tau)
    said["tau"] |= {"used_days": net.taff.tau_days, "from_twin": twin_tau}
    said["fusion"] = {"trained": True, "own_pairs": len(own), "simulated_pairs": len(simulated)}
    said["agreement"] = {"trained": agree} | (
        {} if agree else {"why": f"{len(own)} pairs; {FEWEST_AGREEMENT} are needed"}
    )
    return said


def _simulated(net: ScarNet, settings: TuneSettings, folder: Path, twin: Path) -> list[Patient]:
    folder.mkdir(parents=True, exist_ok=True)
    return load_patients(net, settings.recipe, folder, FUSION, settings.twin_pairs, rendered=twin)


def _fit(
    net: ScarNet,
    ablations: Ablations,
    unplaced: nn.Module,
    own: list[OwnPair],
    simulated: list[Patient],
    settings: TuneSettings,
    folder: Path,
    *,
    agree: bool,
    twin_tau: bool,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stacked = [
        Pairs.of(patients)
        for patients in ([pair.patient for pair in own], simulated)
        if patients
    ]  # fmt: skip
    share = settings.twin_share if own and simulated else float(not own)

    twin = stacked[-1] if simulated and twin_tau else None
    age = None if twin is None else AgeLikelihood(twin.scarred)

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        rng = np.random.default_rng([settings.seed, FUSION, step])
        losses = _batch(net, ablations, unplaced, rng, own, simulated, share)
        total = losses.sum()
        if agree:
            total = total + sum(agreement_loss(net.agreement, rng, pairs) for pairs in stacked)
        if twin is not None and age is not None:
            total = total + age_loss(net.taff, age, rng, twin)
        return total, {"loss": f"{losses[0].item():.3f}"}

    modules: list[nn.Module] = [net.fusion, ablations, unplaced]
    rates = [Rate(module, settings.fusion_rate) for module in modules]
    if agree:
        rates.append(Rate(net.agreement, settings.fusion_rate, 1e-1))
    if age is not None:
        rates += [
            Rate(net.taff, settings.recipe.tau_rate, 0.0), Rate(age, settings.fusion_rate, 0.0)
        ]  # fmt: skip
    steps = settings.fusion_steps
    run_steps("fusion", rates, steps, settings.seed, loss_of, folder / "resume.pt")


def _batch(
    net: ScarNet,
    ablations: Ablations,
    unplaced: nn.Module,
    rng: np.random.Generator,
    own: list[OwnPair],
    simulated: list[Patient],
    share: float,
) -> Tensor:
    """[4] fusion and the three heads for comparison, each the mean of a batch."""
    parts = []
    weights = np.array([pair.weight for pair in own])
    chances = weights / weights.sum() if own else None
    for _ in range(BATCH):
        if own and (not simulated or rng.random() >= share):
            pair = own[int(rng.choice(len(own), p=chances))]
            patient, gap, which = pair.patient, pair.gap_days, OWN
        else:
            patient = simulated[int(rng.integers(len(simulated)))]
            gaps = sample_gaps(rng, 1)
            gap, which = float(gaps[0]), STALE if is_stale(rng, gaps)[0] else OWN
        ecg = ecg_of(patient, which, int(rng.integers(VARIANTS)))
        weight = net.taff(torch.tensor([gap], dtype=torch.float32), torch.ones(1)).detach()[0]
        losses = pair_losses(net, ablations, patient, ecg, weight)
        without = unplaced_loss(net, unplaced, patient, ecg, weight)
        parts.append(torch.cat([losses, without[None]]))
    return torch.stack(parts).mean(0)


def unplaced_loss(
    net: ScarNet, head: nn.Module, patient: Patient, ecg: Heard, weight: Tensor
) -> Tensor:
    """Of fusion that hears how much the ECG believes in scar, but not where: no atlas."""
    image = net.ceiling(patient.scar)
    odd = torch.sigmoid(disagreement_of(net, patient, ecg)).detach()
    change = head(
        patient.features, patient.scar, torch.zeros_like(patient.segment),
        nowhere(ecg.belief), nowhere(patient.evidence),
    )  # fmt: skip
    return mixture_loss(image, moved(image, change, odd, net.config), weight, patient)


def nowhere(values: Tensor) -> Tensor:
    """[17] the mean over all segments, everywhere."""
    return values.mean().expand_as(values)
