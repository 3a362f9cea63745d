"""Accuracy of the image network against its FLOPs: what width, depth and crop are worth.

Trains every variant for the same number of steps on the same simulated stacks (short of
convergence: the order is what counts) and scores held-out stacks. Prints one JSON line each, keeps
them in OUT/rows.jsonl and draws OUT/flops.png of all that are there.

    python bench/flop_curve.py --out runs/curve [--steps 1500] [--seed 0] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.network import ImageNet
from scarseg_export.train.batches import Framing, Source, crop_framing, draw_batch, source_of
from scarseg_export.train.buffers import IMAGE, StackSpec, stack_buffer
from scarseg_export.train.image import image_loss
from scarseg_export.train.localiser import stack_turns
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.losses import MIMIC
from scarseg_export.train.recipe import Recipe
from scarseg_export.tune.start import start_from
from scarseg_infer.models import model_path

TRAIN_SEED, TEST_SEED = 41, 42
FULL_WIDTHS = (16, 32, 48, 64, 96)
LABELLED_LEFT = ("one level less", "reference", "3/2 width")
VARIANTS = {
    "half width": NetworkConfig(fine_widths=(8, 16, 24, 32, 48)),
    "3/4 width": NetworkConfig(fine_widths=(12, 24, 36, 48, 72)),
    "reference": NetworkConfig(fine_widths=FULL_WIDTHS),
    "3/2 width": NetworkConfig(fine_widths=(24, 48, 72, 96, 144)),
    "one level less": NetworkConfig(fine_widths=FULL_WIDTHS[:-1]),
    "thin top, wide bottom": NetworkConfig(fine_widths=(12, 32, 64, 96, 128)),
    "coarse crop, 80 at 1.8 mm": NetworkConfig(
        fine_widths=FULL_WIDTHS, crop_size=80, crop_spacing_mm=1.8
    ),
    "fine crop, 128 at 1.125 mm": NetworkConfig(
        fine_widths=FULL_WIDTHS, crop_size=128, crop_spacing_mm=1.125
    ),
}


def source(folder: Path, seed: int, count: int, framing: Framing) -> Source:
    """Simulated stacks, which lie as the shipped localiser finds them."""
    buffer = stack_buffer(folder, seed, StackSpec(IMAGE, count, 128, (1.25, 1.9), 20.0))
    with model_path(None) as path:
        localiser = start_from(path).net.localiser
    turns = stack_turns(localiser, buffer)
    return source_of(buffer, turns, framing, 1.0, torch.device("cpu"))


def measure(
    name: str,
    config: NetworkConfig,
    out: Path,
    *,
    steps: int,
    stacks: int,
    held_out: int,
    batch: int,
    seed: int,
) -> dict[str, Any]:
    """Train one variant and score it; ``seed`` is of its first weights and of its batches."""
    recipe, framing = Recipe(), crop_framing(config)
    train, test = (
        source(out / folder, seed, count, framing)
        for folder, seed, count in (("train", TRAIN_SEED, stacks), ("test", TEST_SEED, held_out))
    )
    torch.manual_seed(seed)
    model = ImageNet(config)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, str]]:
        crops, truth = draw_batch([train], batch, framing)
        anatomy, _, scar = model(crops)
        return image_loss(anatomy, scar[:, 0], truth, recipe.scar_weight)

    start = time.perf_counter()
    checkpoint = out / f"{name.replace(' ', '-').replace('/', '-')}-{seed}.pt"
    run_steps(name, [Rate(model, recipe.image_rate)], steps, seed, loss_of, checkpoint)
    seconds = time.perf_counter() - start
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, config.crop_size, config.crop_size))
    return {
        "variant": name,
        "gflop_per_slice": round(counter.get_total_flops() / 1e9, 3),
        "parameters": sum(p.numel() for p in model.parameters()),
        **score(model, test, framing),
        "steps": steps,
        "seed": seed,
        "training_s": round(seconds),
    }


@torch.no_grad()
def score(model: ImageNet, source: Source, framing: Framing) -> dict[str, float]:
    """Pooled Dice of cavity, wall, RV and scar (mimics left out) over posed held-out slices."""
    sums = np.zeros((4, 2))
    torch.manual_seed(TEST_SEED)
    for _ in range(50):
        crops, truth = draw_batch([source], 16, framing)
        anatomy, _, scar = model(crops)
        part = anatomy.argmax(1)
        wall = part == 2
        pairs = (
            (part == 1, truth == 1),
            (wall, (truth == 2) | (truth == 3) | (truth == MIMIC)),
            (part == 3, truth == 4),
            (wall & (scar[:, 0] > 0) & (truth != MIMIC), truth == 3),
        )
        for row, (ours, theirs) in zip(sums, pairs, strict=True):
            row += 2 * int((ours & theirs).sum()), int(ours.sum() + theirs.sum())
    names = ("cavity_dice", "wall_dice", "rv_dice", "scar_dice")
    return dict(zip(names, (sums[:, 0] / sums[:, 1]).round(4).tolist(), strict=True))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Dice of scar and wall against work, one point a variant and seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10.5, 4.6), sharex=True, layout="constrained")
    parts = {"scar_dice": ("scar", "#d55e00"), "wall_dice": ("myocardium", "#0072b2")}
    for axis, (key, (title, colour)) in zip(axes, parts.items(), strict=True):
        axis.scatter([r["gflop_per_slice"] for r in rows], [r[key] for r in rows], color=colour)
        for name in dict.fromkeys(row["variant"] for row in rows):
            mine = [row for row in rows if row["variant"] == name]
            work, scores = mine[0]["gflop_per_slice"], [row[key] for row in mine]
            axis.plot([work, work], [min(scores), max(scores)], color=colour)  # between seeds
            side = "right" if name in LABELLED_LEFT else "left"
            axis.annotate(
                name.split(",")[0], (work, max(scores)), ha=side, fontsize=8,
                xytext=(-4 if side == "right" else 4, 4), textcoords="offset points",
                fontweight="bold" if name == "reference" else "normal",
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xticks([0.2, 0.5, 1.0, 2.0], ["0.2", "0.5", "1", "2"])
        axis.minorticks_off()
        axis.margins(x=0.15, y=0.15)
        axis.set_xlabel("GFLOP a slice, image network")
        axis.set_ylabel(f"{title} Dice, held-out stacks of the twin")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--stacks", type=int, default=1200)
    parser.add_argument("--held-out", type=int, default=120, help="stacks to score")
    parser.add_argument("--batch", type=int, default=16, help="slices a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.only:
        row = measure(
            name, VARIANTS[name], options.out, steps=options.steps, stacks=options.stacks,
            held_out=options.held_out, batch=options.batch, seed=options.seed,
        )  # fmt: skip
        print(json.dumps(row), flush=True)
        kept = options.out / "rows.jsonl"
        with kept.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        lines = kept.read_text(encoding="utf-8").splitlines()
        draw([json.loads(line) for line in lines], options.out / "flops.png")


if __name__ == "__main__":
    main()
