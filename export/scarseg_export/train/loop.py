"""The one training loop: seeded per step, with a progress bar, resumable after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from scarseg_runtime.whole import whole_file

SAVE_EVERY = 200
CLIP_NORM = 5.0


@dataclass(frozen=True)
class Rate:
    """Peak learning rate of one module and its weight decay."""

    module: nn.Module
    peak: float
    weight_decay: float = 1e-3


StepLoss = Callable[[int], tuple[Tensor, dict[str, str]]]


def run_steps(
    name: str, rates: list[Rate], steps: int, seed: int, loss_of: StepLoss, checkpoint: Path
) -> None:
    """Train the modules of ``rates`` in place with AdamW and a one-cycle schedule.

    ``loss_of(step)`` must draw everything random from a generator seeded by the step, so that a
    run that was interrupted and resumed from ``checkpoint`` sees what it would have seen.
    """
    groups = [
        {"params": list(rate.module.parameters()), "weight_decay": rate.weight_decay}
        for rate in rates
    ]
    optimiser = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [rate.peak for rate in rates], total_steps=steps, pct_start=0.15
    )
    modules = nn.ModuleList([rate.module for rate in rates])
    first = _resume(checkpoint, modules, optimiser, schedule)
    modules.train()
    with tqdm(range(first, steps), desc=name, mininterval=10) as bar:
        for step in bar:
            torch.manual_seed(seed * 1_000_003 + step)
            loss, parts = loss_of(step)
            optimiser.zero_grad()
            loss.backward()
            for group in optimiser.param_groups:
                nn.utils.clip_grad_norm_(group["params"], CLIP_NORM)
            optimiser.step()
            schedule.step()
            if step % 25 == 0:
                bar.set_postfix(parts)
            if (step + 1) % SAVE_EVERY == 0:
                _save(checkpoint, step + 1, modules, optimiser, schedule)
    modules.eval()


def _resume(checkpoint: Path, *parts: nn.Module | torch.optim.Optimizer | object) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    for part, saved in zip(parts, state["parts"], strict=True):
        part.load_state_dict(saved)  # type: ignore[attr-defined]
    return int(state["step"])


def _save(checkpoint: Path, step: int, *parts: object) -> None:
    states = [one.state_dict() for one in parts]  # type: ignore[attr-defined]
    with whole_file(checkpoint) as part:
        torch.save({"step": step, "parts": states}, part)
