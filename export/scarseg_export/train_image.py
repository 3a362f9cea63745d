"""Stages 2 and 3: the localiser on coarse full-field views, the image network on crops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from scarseg_export.augment import bend_contrast, turned_views
from scarseg_export.buffers import IMAGE, LOCALISER, StackBuffer, StackSpec, stack_buffer
from scarseg_export.network import ImageNet, Localiser, with_neighbours
from scarseg_export.recipe import Recipe
from scarseg_export.sampling import half_extent_mm, view
from scarseg_runtime.contract import Label


def train_localiser(folder: Path, recipe: Recipe) -> Localiser:
    """LV against everything else, on views cut to any field of view a scanner may give."""
    spec = StackSpec(LOCALISER, recipe.localiser_stacks, 160, (2.2, 2.5), 45.0)
    buffer = stack_buffer(folder, recipe.seed, spec)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng([recipe.seed, LOCALISER])
    model = Localiser(recipe.network)
    optimiser, schedule = _optimiser(model, recipe.localiser_rate, recipe.localiser_steps)
    with tqdm(range(recipe.localiser_steps), desc="localiser", mininterval=5) as bar:
        for step in bar:
            views, truth = _full_field(rng, model, buffer, int(rng.integers(len(buffer))))
            logits = model.logits(views)
            loss = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=torch.tensor(3.0))
            loss = loss + dice_loss(torch.sigmoid(logits)[:, None], truth[:, None])
            _step(loss, optimiser, schedule)
            if step % 50 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return model.eval()


def _full_field(
    rng: np.random.Generator, model: Localiser, buffer: StackBuffer, index: int
) -> tuple[Tensor, Tensor]:
    """One stack cut to a random field of view that holds the heart, seen by the localiser."""
    spacing = float(buffer.spacing_mm[index])
    size = buffer.pixels.shape[-1]
    heart = buffer.centres_mm[index].mean(0) / spacing + size / 2
    low = [int(rng.uniform(0, max(1, h - 40 / spacing))) for h in heart]
    high = [int(rng.uniform(min(size - 1, h + 40 / spacing), size)) for h in heart]
    window = (slice(None), slice(low[1], high[1]), slice(low[0], high[0]))
    pixels = torch.from_numpy(buffer.pixels[index][window].astype(np.float32))
    labels = torch.from_numpy(np.isin(buffer.labels[index][window], (1, 2, 3)).astype(np.float32))
    half = half_extent_mm(pixels, torch.tensor([spacing, spacing]))
    views = bend_contrast(rng, model.coarse_view(pixels, half))
    config = model.config
    centres = torch.zeros(len(pixels), 2)
    truth = view(labels, half, centres, config.coarse_size, config.coarse_spacing_mm)
    if rng.random() < 0.5:
        views, truth = views.flip(-1), truth.flip(-1)
    quarter = int(rng.integers(4))
    views, truth = (torch.rot90(t, quarter, (1, 2)) for t in (views, truth))
    return views, (truth > 0.5).float()


def train_image(folder: Path, recipe: Recipe, checkpoint: Path) -> ImageNet:
    """Anatomy and image-only scar on posed heart crops; resumes from ``checkpoint``."""
    spec = StackSpec(IMAGE, recipe.image_stacks, 128, (1.25, 1.9), 20.0)
    buffer = stack_buffer(folder, recipe.seed, spec)
    torch.manual_seed(recipe.seed)
    model = ImageNet(recipe.network)
    optimiser, schedule = _optimiser(model, recipe.image_rate, recipe.image_steps)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
    with tqdm(range(first, recipe.image_steps), desc="image", mininterval=5) as bar:
        for step in bar:
            rng = np.random.default_rng([recipe.seed, IMAGE, step])
            crops, truth = _crops(rng, recipe, buffer)
            loss, parts = image_loss(model, crops, truth)
            _step(loss, optimiser, schedule)
            if step % 25 == 0:
                bar.set_postfix(parts)
            if step % 200 == 199:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
                torch.save(
                    state | {"schedule": schedule.state_dict(), "step": step + 1}, checkpoint
                )
    return model.eval()


def _crops(rng: np.random.Generator, recipe: Recipe, buffer: StackBuffer) -> tuple[Tensor, Tensor]:
    """A batch of 2.5-D crops [N, 3, h, w] and labels [N, h, w] from a few whole stacks."""
    crops, truths = [], []
    for index in rng.integers(len(buffer), size=recipe.image_batch_stacks):
        views, truth = turned_views(
            rng,
            torch.from_numpy(buffer.pixels[index].astype(np.float32)),
            torch.from_numpy(buffer.labels[index].copy()),
            float(buffer.spacing_mm[index]),
            torch.from_numpy(buffer.centres_mm[index].copy()),
            recipe.network.crop_size,
            recipe.network.crop_spacing_mm,
        )
        crops.append(with_neighbours(views))
        truths.append(truth)
    return torch.cat(crops), torch.cat(truths)


def image_loss(model: ImageNet, crops: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, str]]:
    """Cross-entropy + Dice of the anatomy, and the same for scar within the wall."""
    anatomy, _, scar = model(crops)
    wall_truth = truth.clone()
    wall_truth[truth == Label.SCAR] = 2
    wall_truth[truth == Label.RV_CAVITY] = 3
    probability = torch.softmax(anatomy, 1)
    one_hot = F.one_hot(wall_truth, 4).permute(0, 3, 1, 2).float()
    weights = torch.tensor([1.0, 2.0, 3.0, 2.0])
    anatomy_ce = F.cross_entropy(anatomy, wall_truth, weights)
    anatomy_dice = dice_loss(probability[:, 1:], one_hot[:, 1:])

    is_scar = (truth == Label.SCAR).float()
    wall = (wall_truth == 2).float()
    # Blood or fat that the anatomy takes for wall must not turn into scar.
    leak = (1 - wall) * (probability[:, 2].detach() > 0.1).float()
    weight = wall + 0.5 * leak
    scar_bce = F.binary_cross_entropy_with_logits(scar, is_scar, weight, reduction="sum")
    scar_bce = scar_bce / weight.sum().clamp_min(1.0)
    scar_dice = dice_loss((torch.sigmoid(scar) * (weight > 0))[:, None], is_scar[:, None])
    loss = anatomy_ce + anatomy_dice + 2.0 * scar_bce + 0.5 * scar_dice
    parts = {
        "anatomy": f"{1 - anatomy_dice.item():.3f}",
        "scar": f"{1 - scar_dice.item():.3f}",
        "bce": f"{scar_bce.item():.3f}",
    }
    return loss, parts


def dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """1 − soft Dice, pooled over the batch, mean over channels [N, C, h, w]."""
    overlap = (probability * truth).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1.0 - ((2 * overlap + 20.0) / (total + 20.0)).mean()


def _optimiser(
    model: nn.Module, rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-3)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.15
    )


def _step(
    loss: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 5.0)
    optimiser.step()
    schedule.step()
