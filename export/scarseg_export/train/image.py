"""Stage 3: the image network on heart crops."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from scarseg_export.net.localiser import Localiser
from scarseg_export.net.network import ImageNet
from scarseg_export.train.batches import (
    Source,
    crop_framing,
    draw_batch,
    source_of,
)
from scarseg_export.train.buffers import (
    CINE_IMAGE,
    IMAGE,
    StackSpec,
    stack_buffer,
)
from scarseg_export.train.device import bf16_pays
from scarseg_export.train.localiser import stack_turns
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.losses import (
    anatomy_loss,
    scar_loss,
)
from scarseg_export.train.recipe import Recipe
from scarseg_runtime.whole import whole_file


def train_image(
    folder: Path,
    recipe: Recipe,
    cine: Path | None,
    device: torch.device,
    localiser: Localiser,
) -> ImageNet:
    """Anatomy and image-only scar on heart crops that lie as the trained ``localiser`` says."""
    sources = image_sources(folder, recipe, cine, device, localiser)
    framing = crop_framing(recipe.network)
    torch.manual_seed(recipe.seed)
    # The layout in which CPUs convolve few channels fastest, by about a tenth.
    model = ImageNet(recipe.network).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    low_precision = bf16_pays(device)

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        crops, truth = draw_batch(sources, recipe.image_batch, framing)
        crops = crops.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
            anatomy, _, scar = model(crops)
        return image_loss(anatomy.float(), scar[:, 0].float(), truth, recipe.scar_weight)

    done, ends = 0, []
    for number, steps in enumerate(recipe.image_steps, start=1):
        known = folder / f"round{number}.pt"
        if not known.exists():
            rates = [Rate(model, recipe.image_rate / number)]
            checkpoint = folder / f"resume{number}.pt"
            run_steps(f"image {number}", rates, steps, recipe.seed + done, loss_of, checkpoint)
            with whole_file(known) as part:
                torch.save(model.state_dict(), part)
        model.load_state_dict(torch.load(known, map_location=device, weights_only=True))
        ends.append({name: value.clone() for name, value in model.state_dict().items()})
        done += steps
    model.load_state_dict(averaged(ends))
    bias = model.scar_head.bias
    assert bias is not None
    with torch.no_grad():
        bias += recipe.scar_shift
    return model.cpu()


def averaged(ends: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of networks that descend from each other, statistics of BatchNorm included: on real
    hearts better than each of them. Counters are those of the last."""
    return {
        name: torch.stack([end[name] for end in ends]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in ends[-1].items()
    }


def image_sources(
    folder: Path,
    recipe: Recipe,
    cine: Path | None,
    device: torch.device,
    localiser: Localiser,
) -> list[Source]:
    """Simulated stacks and, where the recipe wants them, re-rendered frames of folder ``cine``."""
    spec = StackSpec(IMAGE, recipe.image_stacks, 128, (1.25, 1.9), 20.0)
    buffers = [(stack_buffer(folder / "twin", recipe.seed, spec), 1.0 - recipe.cine_share)]
    if recipe.cine_share:
        spec = StackSpec(CINE_IMAGE, recipe.cine_stacks, 128, (1.25, 1.6), 15.0, 5)
        frames = stack_buffer(folder / "cine", recipe.seed, spec, cine)
        buffers.append((frames, recipe.cine_share))
    framing = crop_framing(recipe.network)
    return [
        source_of(buffer, stack_turns(localiser, buffer), framing, share, device)
        for buffer, share in buffers
    ]


def image_loss(
    anatomy: Tensor, scar: Tensor, truth: Tensor, scar_weight: float
) -> tuple[Tensor, dict[str, str]]:
    """Cross-entropy + Dice of the anatomy logits [N, 4, h, w], and the same for scar logits
    [N, h, w] within the wall; ``scar_weight`` is that of a scarred pixel."""
    anatomy_entropy, anatomy_dice = anatomy_loss(anatomy, truth)
    wall = torch.softmax(anatomy, 1)[:, 2]
    scar_entropy, scar_dice = scar_loss(scar, wall, truth, scar_weight)
    loss = anatomy_entropy + anatomy_dice + 2.0 * scar_entropy + scar_dice
    parts = {
        "anatomy": f"{1 - anatomy_dice.item():.3f}",
        "scar": f"{1 - scar_dice.item():.3f}",
        "entropy": f"{scar_entropy.item():.3f}",
    }
    return loss, parts
