"""The image network on own patients and simulated ones together, stopped by a validation part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scarseg_export.net.network import ImageNet, ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.batches import Source, crop_framing, draw_batch, source_of
from scarseg_export.train.buffers import IMAGE, StackBuffer, StackSpec, stack_buffer
from scarseg_export.train.device import bf16_pays
from scarseg_export.train.image import image_loss
from scarseg_export.train.localiser import stack_turns
from scarseg_export.tune.early import Plan, run_until_best
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.stacks import own_source
from scarseg_runtime.whole import whole_file

VALIDATION_BATCHES = 6
FEWEST = 8
"""Patients to train on, below which the image network keeps the weights that it came with."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Patients by what they are for."""

    train: Sequence[OwnPatient]
    validation: Sequence[OwnPatient]


def tune_image(
    net: ScarNet,
    parts: Parts,
    settings: TuneSettings,
    folder: Path,
    twin: Path,
    device: torch.device,
    *,
    scratch: bool,
    name: str,
) -> dict[str, Any]:
    """Train ``net.image`` in place; say what was done.

    Args:
        folder: where an interrupted training goes on from.
        twin: where the simulated stacks are kept, which all folds share.
        scratch: ``net.image`` is untrained.
    """
    if len(parts.train) < FEWEST and not scratch:
        return {"trained": False, "why": f"{len(parts.train)} patients, fewer than {FEWEST}"}
    sources = _sources(net, parts, settings, twin, device)
    fixed = _fixed_batches(net, parts.validation, settings, device)
    model = net.image.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    low = bf16_pays(device)
    framing = crop_framing(net.config)

    def losses(crops: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, str]]:
        crops = crops.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            anatomy, _, scar = model(crops)
        return image_loss(anatomy.float(), scar[:, 0].float(), truth, settings.scar_weight)

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        return losses(*draw_batch(sources, settings.image_batch, framing))

    rate = settings.recipe.image_rate if scratch else settings.image_rate
    steps = settings.scratch_steps if scratch else settings.image_steps
    plan = Plan(name, steps, rate, settings.seed, settings.check_every, settings.patience)
    checkpoint = folder / "resume.pt"
    history = run_until_best(model, plan, loss_of, _mean_loss(model, fixed, losses), checkpoint)
    net.image = model.cpu().eval()
    best = min(range(len(history)), key=history.__getitem__)
    return {
        "trained": best > 0,
        "why": "" if best else "no step was better on the validation part",
        "validation_loss": [round(value, 4) for value in history],
        "best_step": best * settings.check_every,
        "patients": len(parts.train),
    }


def _sources(
    net: ScarNet, parts: Parts, settings: TuneSettings, twin: Path, device: torch.device
) -> list[Source]:
    own = own_source(parts.train, net.localiser, net.config, 1.0 - settings.twin_share, device)
    if not settings.twin_share:
        return [own]
    spec = StackSpec(IMAGE, settings.twin_stacks, 128, (1.25, 1.9), 20.0)
    buffer = stack_buffer(twin, settings.seed, spec)
    turns = _turns(net, buffer, twin.with_name("turns.pt"))
    return [own, source_of(buffer, turns, crop_framing(net.config), settings.twin_share, device)]


def _turns(net: ScarNet, buffer: StackBuffer, path: Path) -> Tensor:
    """Turns of the simulated hearts, found once: all folds of a run have one localiser."""
    if not path.exists():
        with whole_file(path) as part:
            torch.save(stack_turns(net.localiser, buffer), part)
    turns: Tensor = torch.load(path, weights_only=True)
    return turns


def _fixed_batches(
    net: ScarNet, patients: Sequence[OwnPatient], settings: TuneSettings, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """The same slices in the same poses at every look, so that looks can be compared."""
    source = own_source(patients, net.localiser, net.config, 1.0, device)
    framing = crop_framing(net.config)
    torch.manual_seed(settings.seed)
    return [draw_batch([source], settings.image_batch, framing) for _ in range(VALIDATION_BATCHES)]


def _mean_loss(
    model: ImageNet,
    batches: list[tuple[Tensor, Tensor]],
    losses: Callable[[Tensor, Tensor], tuple[Tensor, dict[str, str]]],
) -> Callable[[], float]:
    @torch.no_grad()
    def measure() -> float:
        model.eval()
        return sum(float(losses(*batch)[0]) for batch in batches) / len(batches)

    return measure
