"""Stage 4: fusion and the time constant, from scar labels alone.

Image network, localiser and ECG encoder are frozen, so each paired patient is passed through
them once and only the pixels of the predicted wall are kept. Every epoch then draws new gaps:
with probability 1 − exp(−Δt/τ_twin) the patient comes with the ECG of another scar state.
The loss sees only the mixture p = w·p_fused + (1 − w)·p_image; τ follows from the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from scarseg_export.aha_map import locate, segment_map
from scarseg_export.buffers import FUSION, StackBuffer, StackSpec, patient_seed, stack_buffer
from scarseg_export.network import ScarNet
from scarseg_export.recipe import Recipe
from scarseg_export.sampling import half_extent_mm, offsets_mm, view
from scarseg_export.taff import mix
from scarseg_export.train_ecg import distort
from scarseg_export.twin.cohort import beats_of, is_stale, sample_case, sample_gaps
from scarseg_runtime.contract import Label

DICE_SHARE = 0.3
"""Weight of the Dice term: likelihood alone is calibrated, but misses small scars at 0.5."""

VARIANTS = 4
"""Differently distorted copies of each beat."""


@dataclass(frozen=True)
class WallPixels:
    """One patient's predicted wall, flattened."""

    features: Tensor
    """[P, C] scar features of the image network."""
    scar_logit: Tensor
    """[P] image-only."""
    segment: Tensor
    """[P] AHA segment − 1."""
    is_scar: Tensor
    """[P] truth."""
    belief: Tensor
    """[2, VARIANTS, 17] belief logits of the own and of the stale ECG."""


def train_fusion(net: ScarNet, recipe: Recipe, folder: Path) -> None:
    """Train ``net.fusion`` and ``net.taff`` in place."""
    torch.manual_seed(recipe.seed)
    spec = StackSpec(FUSION, recipe.fusion_cases, 160, (1.4, 1.8), 35.0)
    buffer = stack_buffer(folder, recipe.seed, spec)
    patients: list[WallPixels] = [
        wall_pixels(net, recipe, buffer, index)
        for index in tqdm(range(len(buffer)), desc="fusion features", mininterval=5)
    ]
    rng = np.random.default_rng([recipe.seed, FUSION])
    groups = [
        {"params": net.fusion.parameters(), "lr": recipe.fusion_rate, "weight_decay": 1e-3},
        {"params": net.taff.parameters(), "lr": recipe.tau_rate, "weight_decay": 0.0},
    ]
    batches = len(patients) // 8
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [recipe.fusion_rate, recipe.tau_rate], total_steps=recipe.fusion_epochs * batches
    )
    with tqdm(range(recipe.fusion_epochs), desc="fusion", mininterval=5) as bar:
        for _ in bar:
            losses: list[float] = []
            for batch in rng.permutation(len(patients))[: batches * 8].reshape(batches, 8):
                loss = _batch_loss(net, rng, [patients[k] for k in batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(loss.item())
            bar.set_postfix(loss=f"{np.mean(losses):.4f}", tau=f"{net.taff.tau_days:.0f} d")


def _batch_loss(net: ScarNet, rng: np.random.Generator, batch: list[WallPixels]) -> Tensor:
    gaps = sample_gaps(rng, len(batch))
    stale = is_stale(rng, gaps)
    weights = net.taff(torch.tensor(gaps, dtype=torch.float32), torch.ones(len(batch)))
    total = torch.zeros(())
    for patient, weight, old in zip(batch, weights, stale, strict=True):
        belief = patient.belief[int(old), int(rng.integers(VARIANTS))]
        fused = net.fusion(
            patient.features,
            patient.scar_logit,
            belief[patient.segment],
            belief.amax(0).expand_as(patient.scar_logit),
        )
        maps = torch.sigmoid(fused), torch.sigmoid(patient.scar_logit)
        mixed = mix(weight, *maps).clamp(1e-4, 1 - 1e-4)
        likelihood = F.binary_cross_entropy(mixed, patient.is_scar)
        # Only the likelihood may move τ: Dice rewards bold maps, so it would trust any ECG.
        bold = mix(weight.detach(), *maps)
        overlap = 2 * (bold * patient.is_scar).sum() + 20.0
        dice = overlap / (bold.sum() + patient.is_scar.sum() + 20.0)
        total = total + likelihood + DICE_SHARE * (1.0 - dice)
    return total / len(batch)


@torch.no_grad()
def wall_pixels(net: ScarNet, recipe: Recipe, buffer: StackBuffer, index: int) -> WallPixels:
    """Pass one paired patient through the frozen parts, exactly as deployed."""
    pixels = torch.from_numpy(buffer.pixels[index].astype(np.float32))
    spacing = float(buffer.spacing_mm[index])
    half = half_extent_mm(pixels, torch.tensor([spacing, spacing]))
    centres = net.localiser(pixels, half)
    anatomy_logits, features, scar = net.image(net.crops(pixels, half, centres))
    anatomy = torch.softmax(anatomy_logits, 1)
    config = net.config
    axis = offsets_mm(config.crop_size, config.crop_spacing_mm)
    frame = locate(anatomy, axis, torch.linspace(0, 1, len(pixels)))
    dx = axis[None, None, :] - frame.centre_mm[:, None, None, 0]
    dy = axis[None, :, None] - frame.centre_mm[:, None, None, 1]
    segment = (segment_map(dx, dy, frame) - 1).long()
    truth = torch.from_numpy((buffer.labels[index] == Label.SCAR).astype(np.float32))
    truth = view(truth, half, centres, config.crop_size, config.crop_spacing_mm)
    wall = anatomy.argmax(1) == 2
    case = sample_case(patient_seed(recipe.seed, FUSION, index))
    beats = torch.from_numpy(beats_of([case, case], np.array([False, True])))
    beliefs = torch.stack([net.ecg(distort(beats)) for _ in range(VARIANTS)], 1)
    return WallPixels(
        features.permute(0, 2, 3, 1)[wall], scar[wall], segment[wall],
        (truth[wall] > 0.5).float(), beliefs,
    )  # fmt: skip
