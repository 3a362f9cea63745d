"""Stage 2: the localiser, first on coarse full-field views, then close by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scarseg_export.net.localiser import Localiser, Ventricles
from scarseg_export.net.sampling import PixelGrid, Place, view
from scarseg_export.train.batches import (
    Framing,
    Source,
    any_turn,
    draw_batch,
    source_of,
    turned_and_flipped,
)
from scarseg_export.train.buffers import (
    CINE_LOCALISER,
    LOCALISER,
    StackBuffer,
    StackSpec,
    stack_buffer,
)
from scarseg_export.train.contrast import bend_contrast
from scarseg_export.train.device import bf16_pays
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.losses import MIMIC, UNKNOWN_OUTSIDE, dice_loss
from scarseg_export.train.recipe import Recipe
from scarseg_runtime.contract import Label
from scarseg_runtime.whole import whole_file

LV_LABELS = (1, 2, 3, MIMIC)
ODD_ANGLES = 0.5
"""Share of studies that the localiser sees at an angle that is no multiple of 90°."""
TURN_SLICES = 5
"""Of a stack, of which its turn is measured for training: all would take twice the time."""
OFF_MM, OFF_DEG, LOST = 9.0, 20.0, 0.1
"""SDs by which the coarse look may be wrong, and how often it finds no RV."""
SURELY_RV, SURELY_NONE = 0.5, 0.15
"""Mean probabilities above and below which the coarse look is believed."""


def train_localiser(
    folder: Path, recipe: Recipe, cine: Path | None, device: torch.device
) -> Localiser:
    """LV and RV against everything else: on views cut to any field of view a scanner may give, then
    close by, where the trained coarse look says that the heart is."""
    spec = StackSpec(LOCALISER, recipe.localiser_stacks, 160, (2.2, 2.5), 45.0)
    buffers = [stack_buffer(folder / "twin", recipe.seed, spec)]
    if recipe.cine_share:
        spec = StackSpec(CINE_LOCALISER, recipe.localiser_stacks, 160, (1.9, 2.3), 45.0, 5)
        buffers.append(stack_buffer(folder / "cine", recipe.seed, spec, cine))
    torch.manual_seed(recipe.seed)
    model = Localiser(recipe.network).to(device)
    known = folder / "far.pt"
    if not known.exists():
        _train_far(folder, recipe, buffers, model, device)
        with whole_file(known) as part:
            torch.save(model.far.state_dict(), part)
    model.far.load_state_dict(torch.load(known, map_location=device, weights_only=True))
    _train_close(folder, recipe, buffers, model, device)
    return model.cpu()


def _train_far(
    folder: Path,
    recipe: Recipe,
    buffers: list[StackBuffer],
    model: Localiser,
    device: torch.device,
) -> None:
    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        rng = np.random.default_rng([recipe.seed, LOCALISER, step])
        picks = [(b, int(i)) for b in buffers for i in rng.integers(len(b), size=2)]
        drawn = [_full_field(rng, model, buffer, index, device) for buffer, index in picks]
        views, truth, known = (torch.cat(part) for part in zip(*drawn, strict=True))
        return _losses(model.far, views[:, None], truth, known)

    rates = [Rate(model.far, recipe.localiser_rate)]
    checkpoint = folder / "resume.pt"
    run_steps("localiser", rates, recipe.localiser_steps, recipe.seed, loss_of, checkpoint)


def _train_close(
    folder: Path,
    recipe: Recipe,
    buffers: list[StackBuffer],
    model: Localiser,
    device: torch.device,
) -> None:
    """The close look, on both kinds of stacks alike. Where nobody drew the RV, it learns what the
    coarse look finds from all sides."""
    config = recipe.network
    framing = Framing(config.close_size, config.close_spacing_mm, OFF_MM, OFF_DEG, LOST, 0.1, 1.0)
    model.cpu().eval()
    sources: list[Source] = []
    for number, buffer in enumerate(buffers):
        told = rv_told(model, buffer, folder / f"rv{number}.npy")
        turns = far_turns(model, told)
        sources.append(source_of(told, turns, framing, 1.0, device))
    model.to(device)
    close = model.close.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_of(step: int) -> tuple[Tensor, dict[str, str]]:
        views, labels = draw_batch(sources, recipe.close_batch, framing)
        ventricles = torch.isin(labels, labels.new_tensor(LV_LABELS)), labels == Label.RV_CAVITY
        truth = torch.stack(ventricles, 1).float()
        known = torch.ones_like(truth)
        known[:, 1] = (labels != UNKNOWN_OUTSIDE).float()
        return _losses(close, views.contiguous(memory_format=torch.channels_last), truth, known)

    rates = [Rate(close, recipe.close_rate)]
    checkpoint = folder / "resume_close.pt"
    run_steps("localiser, close", rates, recipe.close_steps, recipe.seed, loss_of, checkpoint)


def _losses(
    look: Ventricles, views: Tensor, truth: Tensor, known: Tensor
) -> tuple[Tensor, dict[str, str]]:
    kind = views.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=bf16_pays(views.device)):
        logits = look(views)
    entropy, overlaps = ventricle_loss(logits.float(), truth, known)
    found = " ".join(f"{1 - part.item():.3f}" for part in overlaps)
    return entropy + overlaps.sum(), {"dice": found}


def ventricle_loss(logits: Tensor, truth: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and 1 − soft Dice of each ventricle, of logits [N, 2, h, w] where the truth
    is ``known`` (all three of one shape, 0 or 1)."""
    weight = torch.tensor(3.0, device=logits.device)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, known, pos_weight=weight)
    found = torch.sigmoid(logits) * known
    overlaps = [dice_loss(found[:, k, None], truth[:, k, None] * known[:, k, None]) for k in (0, 1)]
    return entropy, torch.stack(overlaps)


def _full_field(
    rng: np.random.Generator,
    model: Localiser,
    buffer: StackBuffer,
    index: int,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """Some slices of one stack, cut to a random field of view that holds the heart and lying at
    any angle, as the localiser sees them [n, h, w]; where LV and RV are, and where that is known
    [n, 2, h, w]."""
    spacing = float(buffer.spacing_mm[index])
    size = buffer.pixels.shape[-1]
    heart = buffer.centres_mm[index].mean(0) / spacing + size / 2
    low = [int(rng.uniform(0, max(1, h - 40 / spacing))) for h in heart]
    high = [int(rng.uniform(min(size - 1, h + 40 / spacing), size)) for h in heart]
    window = (slice(None), slice(low[1], high[1]), slice(low[0], high[0]))
    pixels = torch.from_numpy(buffer.pixels[index][window].astype(np.float32)).to(device)
    labels = buffer.labels[index][window]
    kinds = (np.isin(labels, LV_LABELS), labels == Label.RV_CAVITY, labels == UNKNOWN_OUTSIDE)
    maps = torch.from_numpy(np.stack(kinds).astype(np.float32)).to(device)
    if rng.random() < ODD_ANGLES:
        pixels, maps = _turned(pixels, maps)
    grid = PixelGrid.of(pixels, torch.tensor([spacing, spacing], device=device))
    few = torch.from_numpy(rng.permutation(len(pixels))[:5]).to(device)
    views = bend_contrast(model.coarse_view(pixels, grid)[few])[:, 0]
    config = model.config
    centres = torch.zeros(len(pixels), 2, device=device)
    seen = [
        view(m, grid.half_mm, centres, config.coarse_size, config.coarse_spacing_mm) for m in maps
    ]
    truth = (torch.stack(seen, 1)[few] > 0.5).float()
    if rng.random() < 0.5:
        views, truth = views.flip(-1), truth.flip(-1)
    quarter = int(rng.integers(4))
    views, truth = (torch.rot90(t, quarter, (-2, -1)) for t in (views, truth))
    known = torch.stack([torch.ones_like(views), 1.0 - truth[:, 2]], 1)
    return views, truth[:, :2], known


def _turned(pixels: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Slices [S, h, w] and their maps [n, S, h, w] turned by one random angle about the image's
    centre and cut to its size, the lowest value where nothing was seen."""
    matrix = turned_and_flipped(any_turn(1, pixels.device))[0]
    height, width = pixels.shape[1:]
    # Angles in pixels, not in the normalised coordinates of a field of view that is not square.
    scale = torch.tensor([width, height], device=pixels.device, dtype=torch.float32)
    affine = torch.cat([matrix * scale[None, :] / scale[:, None], matrix.new_zeros(2, 1)], 1)
    grid = F.affine_grid(affine[None], [1, 1, height, width], align_corners=False)
    lowest = pixels.amin()
    everything = torch.cat([(pixels - lowest)[None], maps]).flatten(0, 1)[None]
    turned = F.grid_sample(everything, grid, align_corners=False)[0]
    turned = turned.unflatten(0, (-1, len(pixels)))
    return turned[0] + lowest, turned[1:]


def stack_turns(localiser: Localiser, buffer: StackBuffer) -> Tensor:
    """[N, 2] turn of every heart of a buffer as the localiser finds it: the image network learns
    from crops that lie as they will when deployed, errors included."""
    return _turns(buffer, localiser)


def far_turns(localiser: Localiser, buffer: StackBuffer) -> Tensor:
    """The same by the coarse look alone, from which the close one learns."""
    return _turns(buffer, localiser.look_far)


@torch.no_grad()
def _turns(buffer: StackBuffer, find: Callable[[Tensor, PixelGrid], Place]) -> Tensor:
    every = max(1, buffer.pixels.shape[1] // TURN_SLICES)
    turns = []
    for pixels, spacing in zip(buffer.pixels, buffer.spacing_mm, strict=True):
        turns.append(find(*_study(pixels[::every], float(spacing))).turn)
    return torch.stack(turns)


def _study(pixels: NDArray[np.uint16], spacing_mm: float) -> tuple[Tensor, PixelGrid]:
    image = torch.from_numpy(pixels.astype(np.float32))
    return image - image.amin(), PixelGrid.of(image, torch.full((2,), spacing_mm))


def rv_told(localiser: Localiser, buffer: StackBuffer, path: Path) -> StackBuffer:
    """The buffer with background and RV told apart where nobody did, in file ``path`` for the next
    time: by the mean of the coarse look over all eight turns and flips, and only where it is sure.

    So the close look learns the RV of real hearts, which no contours show, and to find the same
    from every side.
    """
    if not (buffer.labels == UNKNOWN_OUTSIDE).any():
        return buffer
    if not path.exists():
        labels = np.array(buffer.labels)
        for drawn, pixels, spacing in zip(labels, buffer.pixels, buffer.spacing_mm, strict=True):
            rv = _rv_from_all_sides(localiser, *_study(pixels, float(spacing)))
            unknown = drawn == UNKNOWN_OUTSIDE
            drawn[unknown & (rv > SURELY_RV)] = Label.RV_CAVITY
            drawn[unknown & (rv < SURELY_NONE)] = Label.BACKGROUND
        with whole_file(path) as part, part.open("wb") as file:  # numpy would add .npy to a name
            np.save(file, labels)
    return replace(buffer, labels=np.load(path, mmap_mode="r"))


@torch.no_grad()
def _rv_from_all_sides(localiser: Localiser, image: Tensor, grid: PixelGrid) -> NDArray[np.float32]:
    """[S, h, w] mean probability of RV over turns and flips of square slices."""
    config = localiser.config
    total = torch.zeros(len(image), config.coarse_size, config.coarse_size)
    for number in range(8):
        axes = (1, 2)
        flipped = image.flip(-1) if number % 2 else image
        seen = torch.rot90(flipped, number // 2, axes).contiguous()
        views = localiser.coarse_view(seen, grid)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_pays(views.device)):
            logits = localiser.far(views)
        rv = torch.rot90(torch.sigmoid(logits[:, 1].float()), -(number // 2), axes)
        total += rv.flip(-1) if number % 2 else rv
    half_view = config.coarse_size * config.coarse_spacing_mm / 2
    columns, rows = (axis / half_view for axis in grid.positions_mm())
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    places = places.expand(len(image), -1, -1, -1)
    return F.grid_sample(total[:, None] / 8, places, align_corners=False)[:, 0].numpy()
