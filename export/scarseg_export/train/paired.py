"""Paired patients as the fusion stage sees them: everything frozen computed once and kept.

Image network, localiser and ECG encoder do not change any more, so each patient passes through
them once and only the pixels of the predicted wall are kept, with the beliefs of three ECGs: the
patient's own, one of another scar state (stale), and those of other patients (swapped).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from scarseg_export.net.network import ScarNet, wall_of
from scarseg_export.net.sampling import view
from scarseg_export.net.seen import Seen
from scarseg_export.train.buffers import (
    FUSION,
    SEMI_REAL,
    SEMI_REAL_VALIDATION,
    VALIDATION,
    StackBuffer,
    StackSpec,
    patient_seed,
    stack_buffer,
)
from scarseg_export.train.ecg_distort import distort
from scarseg_export.train.real_ecgs import RealEcgs
from scarseg_export.train.recipe import Recipe
from scarseg_export.train.semi_real import EcgClasses, case_maker, pair
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_runtime.contract import Label
from scarseg_runtime.whole import whole_file

OWN, STALE = 0, 1
VARIANTS = 4
"""Differently distorted copies of each beat."""
PIXEL_SHARE = 0.35
"""Of the wall's pixels, kept for training; neighbours tell much the same."""


@dataclass(frozen=True)
class Patient:
    """One patient's predicted wall, flattened, and what was heard of the heart."""

    features: Tensor
    """[P, C] scar features of the image network."""
    scar: Tensor
    """[P] image-only scar logit."""
    segment: Tensor
    """[P] AHA segment 0–16."""
    is_scar: Tensor
    """[P] truth, 0 or 1."""
    missed: float
    """True scar pixels outside the predicted wall, for the same share of pixels."""
    evidence: Tensor
    """[17] of the image per segment."""
    size: Tensor
    """[2] of the heart as seen."""
    belief: Tensor
    """[2, VARIANTS, 17] belief logits of the own and of the stale ECG."""
    heard: Tensor
    """[2, VARIANTS, 2] heart size by the same ECGs."""


def load_patients(
    net: ScarNet,
    recipe: Recipe,
    folder: Path,
    purpose: int,
    count: int,
    share: float = PIXEL_SHARE,
    ecgs: RealEcgs | None = None,
    rendered: Path | None = None,
) -> list[Patient]:
    """Pass ``count`` patients through the frozen parts of ``net``.

    Rendered stacks and what the frozen parts made of them are kept in ``folder``, which must
    belong to this ``net``.

    Args:
        share: of the wall's pixels that is kept.
        ecgs: real records, for semi-real patients; None for those of the twin.
        rendered: where the rendered stacks are kept instead, if several networks share them.
    """
    known = folder / "patients.pt"
    if known.exists():
        return [Patient(**values) for values in torch.load(known, weights_only=True)]
    spec = StackSpec(purpose, count, 160, (1.4, 1.8), 35.0)
    case_of = sample_case if ecgs is None else case_maker(ecgs)
    buffer = stack_buffer(rendered or folder / "twin", recipe.seed, spec, case_of=case_of)
    bar = tqdm(range(count), desc="pass patients through the image network", mininterval=10)
    patients = []
    for index in bar:
        seed = patient_seed(recipe.seed, purpose, index)
        beats = twin_beats(seed) if ecgs is None else real_beats(ecgs, seed)
        patients.append(_patient(net, buffer, index, seed, share, beats))
    with whole_file(known) as part:
        torch.save([vars(patient) for patient in patients], part)
    return patients


def mixed_patients(
    net: ScarNet,
    recipe: Recipe,
    folder: Path,
    count: int,
    real: RealEcgs | None,
    share: float = PIXEL_SHARE,
    *,
    held_out: bool = False,
) -> list[Patient]:
    """``count`` patients of the twin and, where there are real ECGs, semi-real ones by the recipe's
    share; those ``held_out`` have ECGs of the calibration fold and hearts of their own."""
    semi = 0 if real is None else round(count * recipe.semi_real_share)
    twin, semi_real = (VALIDATION, SEMI_REAL_VALIDATION) if held_out else (FUSION, SEMI_REAL)
    patients = load_patients(net, recipe, folder, twin, count - semi, share)
    if real is not None and semi:
        ecgs = real.calibration if held_out else real.training
        where = folder / "semi-real"
        patients += load_patients(net, recipe, where, semi_real, semi, share, ecgs)
    return patients


def twin_beats(seed: int) -> Tensor:
    """[2, 12, 512] beats of the twin's patient: its own and the stale one."""
    case = sample_case(seed)
    return torch.from_numpy(beats_of([case, case], np.array([False, True])))


def real_beats(ecgs: RealEcgs, seed: int) -> Tensor:
    """[2, 12, 512] the same of a semi-real patient."""
    found = pair(EcgClasses.of(ecgs), seed)
    return torch.from_numpy(ecgs.beats[[found.own, found.stale]])


def _patient(
    net: ScarNet, buffer: StackBuffer, index: int, seed: int, share: float, beats: Tensor
) -> Patient:
    torch.manual_seed(seed)
    pixels = torch.from_numpy(buffer.pixels[index].astype(np.float32))
    spacing = torch.full((2,), float(buffer.spacing_mm[index]))
    levels = torch.linspace(0, 1, len(pixels))
    is_scar = torch.from_numpy((buffer.labels[index] == Label.SCAR).astype(np.float32))
    return passed(net, (pixels, spacing, levels), is_scar, beats, share)


@torch.no_grad()
def passed(
    net: ScarNet,
    image: tuple[Tensor, Tensor, Tensor],
    is_scar: Tensor,
    beats: Tensor,
    share: float = PIXEL_SHARE,
    known: Tensor | None = None,
) -> Patient:
    """One patient through the frozen parts of ``net``.

    Args:
        image: pixels [S, H, W], spacing [2], levels [S].
        is_scar: [S, H, W] truth.
        beats: [2, 12, 512] own and stale.
        known: [S, H, W] 1 where somebody has said whether there is scar; everywhere by default.
    """
    return flattened(net, net.see(*image), is_scar, beats, share, known)


@torch.no_grad()
def flattened(
    net: ScarNet,
    seen: Seen,
    is_scar: Tensor,
    beats: Tensor,
    share: float = PIXEL_SHARE,
    known: Tensor | None = None,
) -> Patient:
    """The same of a patient whose image ``net`` has seen already."""
    truth = cropped(net, seen, is_scar)
    wall = wall_of(seen.anatomy).view_as(truth)
    kept = wall & (torch.rand(wall.shape) < share)
    if known is not None:
        kept &= cropped(net, seen, known)
    heard = [net.ecg(distort(beats)) for _ in range(VARIANTS)]
    return Patient(
        seen.features.permute(0, 2, 3, 1)[kept],
        seen.scar.view_as(truth)[kept],
        (seen.segments.view_as(truth)[kept] - 1).long(),
        truth[kept].float(),
        float((truth & ~wall).sum()) * share,
        seen.evidence,
        seen.size,
        torch.stack([belief for belief, _ in heard], 1),
        torch.stack([size for _, size in heard], 1),
    )


def cropped(net: ScarNet, seen: Seen, values: Tensor) -> Tensor:
    """[S, h, w] where maps [S, H, W] of 0 and 1 are 1, on the crops that the network saw."""
    size, spacing_mm = net.config.crop_size, net.config.crop_spacing_mm
    place = seen.place
    return view(values, seen.grid.half_mm, place.centres_mm, size, spacing_mm, place.turn) > 0.5
