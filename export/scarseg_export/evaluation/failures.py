"""The test patients that go wrong most, for the eye."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.metrics import voxel_ml_of
from scarseg_export.evaluation.run import Row
from scarseg_export.evaluation.testset import SetName, UnseenPatient, stored_case
from scarseg_export.train.checkpoint import Checkpoint, load_checkpoint
from scarseg_runtime.contract import LEFT_VENTRICLE, Label
from scarseg_runtime.quantify.components import clean_labels

MARGIN_MM = 10.0


@dataclass(frozen=True)
class Example:
    """The slice of one patient with most error, cut to the heart."""

    title: str
    pixels: NDArray[np.float32]
    """[h, w]"""
    truth: NDArray[np.uint8]
    """[h, w] labels by the twin, by the image alone, and by TAFF."""
    image: NDArray[np.uint8]
    fused: NDArray[np.uint8]


def worst_examples(
    checkpoint: Path,
    name: SetName,
    rows: list[Row],
    folder: Path,
    min_scar_ml: float,
    scars: int = 6,
    alarms: int = 4,
) -> list[Example]:
    """Patients with the lowest scar Dice, then scar-free ones with most scar called, by TAFF."""
    scores = [row["arms"][arms.TAFF] for row in rows]
    dice = np.array([s["dice"] for s in scores], dtype=np.float64)
    called = np.array([s["scar_ml"] for s in scores])
    alarm = np.array([s["false_alarm"] for s in scores], dtype=np.float64) == 1.0
    missed = np.argsort(dice)[: min(scars, int(np.isfinite(dice).sum()))]  # NaN comes last
    invented = np.argsort(np.where(alarm, -called, 0.0))[: min(alarms, int(alarm.sum()))]
    trained = load_checkpoint(checkpoint)
    return [
        _example(trained, stored_case(folder, name, int(index)), scores[index], min_scar_ml)
        for index in (*missed, *invented)
    ]


def _example(
    trained: Checkpoint, case: UnseenPatient, score: dict[str, float], min_scar_ml: float
) -> Example:
    results = arms.run_arms(trained, case)
    stack = case.stack
    image, fused = (
        clean_labels(results.labels[arm], min_scar_ml, voxel_ml_of(stack))
        for arm in (arms.IMAGE, arms.TAFF)
    )
    wrong = (stack.labels == Label.SCAR) ^ (fused == Label.SCAR)
    k = int(wrong.sum(axis=(1, 2)).argmax())
    where = _window(np.isin(stack.labels[k], LEFT_VENTRICLE) | wrong[k], stack.spacing_mm)
    text = "no scar" if score["dice"] is None else f"Dice {score['dice']:.2f}"
    ecg = "ECG of another scar state" if case.stale else "ECG of the same state"
    return Example(
        f"{text}: {score['scar_ml']:.1f} mL called, {score['true_scar_ml']:.1f} mL true\n"
        f"Δt {case.gap_days:.0f} d, w {results.weight:.2f}, {ecg}",
        stack.pixels[k][where], stack.labels[k][where], image[k][where], fused[k][where],
    )  # fmt: skip


def _window(mask: NDArray[np.bool_], spacing_mm: float) -> tuple[slice, slice]:
    """Square around what is marked; the whole slice where nothing is."""
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return slice(None), slice(None)
    half = max(np.ptp(rows), np.ptp(columns)) / 2 + MARGIN_MM / spacing_mm
    first, second = (
        slice(max(int(middle - half), 0), int(middle + half) + 1)
        for middle in ((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2)
    )
    return first, second
