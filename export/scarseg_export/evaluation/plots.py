"""The evaluation as pictures. Colours after Okabe and Ito, told apart by the colour-blind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.summary import BIN_NAMES
from scarseg_export.twin.cohort import TAU_DAYS
from scarseg_runtime.contract import SEGMENT_COUNT

COLOURS = {
    arms.IMAGE: "#000000", arms.ATLAS: "#999999", arms.UNTIMED: "#d55e00", arms.TAFF: "#0072b2",
    arms.SHUFFLED: "#cc79a7", arms.FORCED: "#e69f00",
}  # fmt: skip
STYLE: Any = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
Summaries = list[dict[str, Any]]
"""One of :func:`summary.summarise` per training seed."""


def plot_by_gap(summaries: Summaries, key: str, label: str, path: Path) -> None:
    """One score of every arm by Δt bin: mean over seeds, interval over patients of the first."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.5, 4.8), constrained_layout=True)
        for number, (arm, colour) in enumerate(COLOURS.items()):
            places, means, low, high = [], [], [], []
            for place, name in enumerate(BIN_NAMES):
                found = [s["bins"][name]["arms"][arm][key] for s in summaries if name in s["bins"]]
                found = [f for f in found if f]
                if not found:
                    continue
                mean = float(np.mean([f["mean"] for f in found]))
                places.append(place + 0.09 * (number - 2.5))
                means.append(mean)
                low.append(max(mean - float(np.mean([f["low"] for f in found])), 0))
                high.append(max(float(np.mean([f["high"] for f in found])) - mean, 0))
            axes.errorbar(places, means, [low, high], fmt="o-", color=colour, label=arm,
                          capsize=2, lw=1.2, ms=5)  # fmt: skip
        axes.set_xticks(range(len(BIN_NAMES)), BIN_NAMES)
        axes.set_xlabel("time between ECG and MRI, Δt")
        axes.set_ylabel(label)
        axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.18))
        figure.savefig(path, dpi=110)
        plt.close(figure)


def plot_weights(taus: list[float], initial: float, path: Path) -> None:
    """Learned weight of an ECG by its age against the twin's truth and the start."""
    days = np.linspace(0, 600, 300)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.0, 4.2), constrained_layout=True)
        axes.plot(days, np.exp(-days / initial), ":", color="#999999",
                  label=f"at the start, τ = {initial:.0f} d")  # fmt: skip
        for number, tau in enumerate(taus, 1):
            axes.plot(days, np.exp(-days / tau), color="#0072b2", lw=1.4,
                      label=f"learned, seed {number}: τ = {tau:.0f} d")  # fmt: skip
        axes.plot(days, np.exp(-days / TAU_DAYS), "--", color="#000000", lw=1.8,
                  label=f"truth of the twin, τ = {TAU_DAYS:.0f} d")  # fmt: skip
        axes.set_xlabel("time between ECG and MRI, Δt (days)")
        axes.set_ylabel("weight of the ECG, w(Δt)")
        axes.set_ylim(0, 1.02)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def plot_belief(summary: dict[str, Any], path: Path) -> None:
    """AUROC of the ECG's belief by AHA segment, for ECGs of the day and stale ones."""
    places = np.arange(1, SEGMENT_COUNT + 1)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.5, 3.8), constrained_layout=True)
        series = (("belief_auroc_fresh", "same scar state", "#0072b2", -0.2),
                  ("belief_auroc_stale", "another scar state", "#999999", 0.2))  # fmt: skip
        for key, label, colour, shift in series:
            values = [np.nan if v is None else v for v in summary[key]]
            axes.bar(places + shift, values, 0.4, color=colour, label=label)
        axes.axhline(0.5, color="#000000", lw=0.8)
        axes.set_ylim(0.3, 1.0)
        axes.set_xticks(places)
        axes.set_xlabel("AHA segment")
        axes.set_ylabel("AUROC of the ECG belief")
        axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.15))
        figure.savefig(path, dpi=110)
        plt.close(figure)


def plot_failures(examples: list[dict[str, Any]], path: Path) -> None:
    """Slices with the largest errors: truth, image only and TAFF as contours.

    Each example: ``title``, ``pixels`` [h, w], and masks ``truth``, ``image``, ``fused``,
    ``wall`` (true) [h, w].
    """
    with plt.rc_context(STYLE):
        columns = 5
        rows = -(-len(examples) // columns)
        figure, grid = plt.subplots(rows, columns, figsize=(13, 2.95 * rows), squeeze=False,
                                    constrained_layout=True)  # fmt: skip
        for axes in grid.flat:
            axes.axis("off")
        for axes, example in zip(grid.flat, examples, strict=False):
            low, high = np.quantile(example["pixels"], (0.02, 0.995))
            axes.imshow(example["pixels"], cmap="gray", vmin=low, vmax=high)
            for name, colour, width, style in (
                ("wall", "#009e73", 0.8, "-"), ("truth", "#f0e442", 1.8, "-"),
                ("image", "#d55e00", 1.4, "-"), ("fused", "#56b4e9", 1.4, "--"),
            ):  # fmt: skip
                if example[name].any():
                    axes.contour(example[name], [0.5], colors=colour, linewidths=width,
                                 linestyles=style)  # fmt: skip
            axes.set_title(example["title"], fontsize=9)
        figure.suptitle(
            "true wall green, true scar yellow, scar by image only orange, by TAFF blue dashed",
            fontsize=11,
        )
        figure.savefig(path, dpi=90)
        plt.close(figure)
