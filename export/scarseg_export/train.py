"""Training from nothing to a checkpoint, stage by stage; finished stages are not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from scarseg_export.network import ScarNet
from scarseg_export.recipe import Recipe
from scarseg_export.train_ecg import train_ecg
from scarseg_export.train_fusion import train_fusion
from scarseg_export.train_image import train_image, train_localiser
from scarseg_runtime.errors import UsageError


def train(run: Path, recipe: Recipe) -> Path:
    """Train every stage in folder ``run`` and write ``run/model.pt``.

    A folder belongs to one recipe; another recipe in the same folder is refused.

    Raises:
        UsageError: ``run`` holds the work of a different recipe.
    """
    run.mkdir(parents=True, exist_ok=True)
    _claim(run, recipe)
    torch.set_num_threads(recipe.threads)
    net = ScarNet(recipe.network)
    _stage(run / "ecg.pt", net.ecg, lambda: train_ecg(run / "ecg", recipe))
    _stage(run / "localiser.pt", net.localiser, lambda: train_localiser(run / "localiser", recipe))
    resume = run / "image.resume.pt"
    _stage(run / "image.pt", net.image, lambda: train_image(run / "image", recipe, resume))
    train_fusion(net, recipe, run / "fusion")
    checkpoint = run / "model.pt"
    torch.save({"recipe": recipe.to_dict(), "state": net.state_dict()}, checkpoint)
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
        torch.save(work().state_dict(), path)
    module.load_state_dict(torch.load(path, weights_only=True))
    module.eval()
