"""Training from nothing to a checkpoint, stage by stage; finished stages are not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from scarseg_export.net.network import ScarNet
from scarseg_export.train.checkpoint import Checkpoint, save_checkpoint
from scarseg_export.train.device import training_device
from scarseg_export.train.ecg import ecg_scores, train_ecg
from scarseg_export.train.fusion import disagreement_threshold, train_fusion
from scarseg_export.train.image import train_image
from scarseg_export.train.localiser import train_localiser
from scarseg_export.train.paired import mixed_patients
from scarseg_export.train.ptbxl import read_entries
from scarseg_export.train.real_ecgs import real_ecgs
from scarseg_export.train.recipe import Recipe
from scarseg_runtime.errors import UsageError
from scarseg_runtime.whole import whole_file


def train(
    run: Path,
    recipe: Recipe,
    cine: Path | None = None,
    ecg: Path | None = None,
    *,
    device: str = "auto",
) -> Path:
    """Train every stage in folder ``run`` and write ``run/model.pt``.

    A folder belongs to one recipe; another recipe in the same folder is refused. An interrupted
    run goes on where it stopped.

    Args:
        cine: folder of contoured cine frames, where the recipe mixes in real backgrounds.
        ecg: folder of PTB-XL, where the recipe mixes in real ECGs.
        device: that of the image stages: ``auto``, ``cpu`` or ``cuda``. The others are small.

    Raises:
        UsageError: the device cannot be used, ``run`` holds the work of a different recipe, or
            ``cine`` or ``ecg`` is missing or not what it should be.
    """
    if recipe.cine_share and cine is None:
        raise UsageError(
            "the recipe mixes real backgrounds and no folder of cine frames was given",
            "Pass --cine FOLDER, or set cine_share to 0 in the recipe",
        )
    if recipe.ecg_real_steps:
        if ecg is None:
            raise UsageError(
                "the recipe mixes real ECGs and no folder of them was given",
                "Pass --ecg FOLDER, or set ecg_real_steps to 0 in the recipe",
            )
        read_entries(ecg)  # a wrong folder is said before hours of work
    where = training_device(device)
    run.mkdir(parents=True, exist_ok=True)
    _claim(run, recipe)
    torch.set_num_threads(recipe.threads)
    net = ScarNet(recipe.network)
    _stage(run / "ecg.pt", net.ecg, lambda: train_ecg(run / "ecg", recipe, ecg))
    _stage(
        run / "localiser.pt", net.localiser,
        lambda: train_localiser(run / "localiser", recipe, cine, where),
    )  # fmt: skip
    _stage(
        run / "image.pt", net.image,
        lambda: train_image(run / "image", recipe, cine, where, net.localiser),
    )  # fmt: skip
    real = None if ecg is None else real_ecgs(ecg, run / "ecg")
    ablations = train_fusion(net, recipe, run / "fusion", real)
    held_out = mixed_patients(
        net, recipe, run / "validation", recipe.validation_cases, real, held_out=True
    )
    checkpoint = run / "model.pt"
    threshold = disagreement_threshold(net, held_out)
    scores = {} if real is None else ecg_scores(net.ecg, real)
    save_checkpoint(checkpoint, Checkpoint(net, ablations, recipe.to_dict(), threshold, scores))
    return checkpoint


def _claim(run: Path, recipe: Recipe) -> None:
    record = run / "recipe.json"
    text = json.dumps(recipe.to_dict(), indent=2)
    if record.exists() and record.read_text(encoding="utf-8") != text:
        raise UsageError("the run folder belongs to another recipe", "Train into a new folder")
    record.write_text(text, encoding="utf-8")


def _stage(path: Path, module: nn.Module, work: Callable[[], nn.Module]) -> None:
    """Load a stage's weights into ``module``, training them first where they are missing."""
    if not path.exists():
        state = work().state_dict()
        with whole_file(path) as part:
            torch.save(state, part)
    module.load_state_dict(torch.load(path, weights_only=True))
    module.eval()
