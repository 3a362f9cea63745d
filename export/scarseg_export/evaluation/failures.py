"""The test patients that go wrong most, for the eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scarseg_export.checkpoint import load_checkpoint
from scarseg_export.evaluation import arms
from scarseg_export.evaluation.run import Row
from scarseg_export.evaluation.testset import SetName, load_case
from scarseg_runtime.contract import MYOCARDIUM, Label

MARGIN_MM = 12.0


def worst_examples(
    checkpoint: Path, name: SetName, rows: list[Row], scars: int = 6, alarms: int = 4
) -> list[dict[str, Any]]:
    """Patients with the lowest scar Dice, and scar-free ones with most scar called, by TAFF."""
    dice = np.array([row["arms"][arms.TAFF]["dice"] for row in rows], dtype=np.float64)
    called = np.array([row["arms"][arms.TAFF]["scar_ml"] for row in rows])
    free = np.isnan(dice)
    missed = np.argsort(np.where(free, np.inf, dice))[:scars]
    invented = np.argsort(np.where(free, -called, np.inf))[:alarms]
    trained = load_checkpoint(checkpoint)
    examples = []
    for index in (*missed, *invented):
        case = load_case(name, int(index))
        labels = arms.run_arms(trained, case).labels
        truth = case.stack.labels == Label.SCAR
        fused = labels[arms.TAFF] == Label.SCAR
        k = int((truth ^ fused).sum(axis=(1, 2)).argmax())
        wall = np.isin(case.stack.labels[k], MYOCARDIUM)
        where = _window(np.isin(case.stack.labels[k], (1, 2, 3)) | fused[k], case.stack.spacing_mm)
        text = f"false alarm {called[index]:.1f} mL" if free[index] else f"Dice {dice[index]:.2f}"
        examples.append({
            "title": f"{text}, Δt {case.gap_days:.0f} d{', stale ECG' if case.stale else ''}",
            "pixels": case.stack.pixels[k][where], "wall": wall[where], "truth": truth[k][where],
            "image": (labels[arms.IMAGE][k] == Label.SCAR)[where], "fused": fused[k][where],
        })  # fmt: skip
    return examples


def _window(mask: np.ndarray, spacing_mm: float) -> tuple[slice, slice]:
    """Square around what is marked."""
    rows, columns = np.nonzero(mask)
    half = max(np.ptp(rows), np.ptp(columns)) / 2 + MARGIN_MM / spacing_mm
    return tuple(
        slice(max(int(middle - half), 0), int(middle + half) + 1)
        for middle in ((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2)
    )  # type: ignore[return-value]
