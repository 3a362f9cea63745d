"""A training loop that stops where a validation part gets no better, and can be interrupted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from scarseg_export.train.loop import CLIP_NORM, StepLoss
from scarseg_runtime.whole import whole_file

WARM_UP = 0.1
"""Share of the steps in which the rate rises."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Length, rate and patience of a training."""

    name: str
    steps: int
    rate: float
    seed: int
    every: int
    patience: int


def run_until_best(
    model: nn.Module,
    plan: Plan,
    loss_of: StepLoss,
    validation_loss: Callable[[], float],
    checkpoint: Path,
) -> list[float]:
    """Train ``model`` in place, leave it at its best state, and give the validation losses.

    The first of them is that of the model as it came: where nothing is better, nothing changes.
    ``loss_of(step)`` draws what is random from torch's generator, which is seeded by the step.
    """
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=plan.steps, pct_start=WARM_UP
    )
    parts: tuple[Any, ...] = (model, optimiser, schedule)
    if checkpoint.exists():
        known = torch.load(checkpoint, weights_only=True)
        for part, saved in zip(parts, known["parts"], strict=True):
            part.load_state_dict(saved)
        step, history, best = int(known["step"]), list(known["history"]), known["best"]
    else:
        step, history, best = 0, [validation_loss()], copy.deepcopy(model.state_dict())
    with tqdm(total=plan.steps, initial=step, desc=plan.name, mininterval=10) as bar:
        while step < plan.steps and not _stalled(history, plan.patience):
            model.train()
            for _ in range(min(plan.every, plan.steps - step)):
                torch.manual_seed(plan.seed * 1_000_003 + step)
                loss, said = loss_of(step)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
                optimiser.step()
                schedule.step()
                step += 1
                bar.update()
            history.append(validation_loss())
            if history[-1] <= min(history):
                best = copy.deepcopy(model.state_dict())
            bar.set_postfix(said | {"validation": f"{history[-1]:.3f}"})
            _save(checkpoint, step, history, best, parts)
    model.load_state_dict(best)
    model.eval()
    return history


def _stalled(history: list[float], patience: int) -> bool:
    best = min(range(len(history)), key=history.__getitem__)
    return len(history) - 1 - best >= patience


def _save(
    path: Path, step: int, history: list[float], best: dict[str, Any], parts: tuple[Any, ...]
) -> None:
    states = [one.state_dict() for one in parts]
    with whole_file(path) as part:
        torch.save({"step": step, "history": history, "best": best, "parts": states}, part)
