"""The plots of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scarseg_export.score.arms import FUSED, IMAGE, UNTIMED, Arm
from scarseg_export.score.score import Table
from scarseg_export.score.worst import data_uri

COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
"""After Okabe and Ito, told apart by the colour-blind."""


def plots(table: Table, shown: Sequence[Arm], summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Caption and data URI of each plot that there is something to show in.

    Args:
        shown: arms that the page tells apart.
    """
    arms = [arm for arm in shown if arm.name in (IMAGE, FUSED, UNTIMED)][: len(COLOURS)]
    made = [
        ("Scar Dice by time between ECG and MRI, with 95 % intervals", _by_gap(arms, summary)),
        ("Scar burden called minus drawn, % of the wall (Bland–Altman); lines: means",
         _bland_altman(table, [arm for arm in arms if arm.name != UNTIMED][:4])),
        ("Scar probability against scar in the drawn wall", _reliability(arms, summary)),
    ]  # fmt: skip
    return [(caption, data_uri(figure)) for caption, figure in made if figure is not None]


def _figure(width: float = 6.2) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _by_gap(arms: Sequence[Arm], summary: dict[str, Any]) -> Any:
    bins = summary["bins"]
    if len(bins) < 2:
        return None
    figure, axes = _figure(7.4)
    for number, (arm, colour) in enumerate(zip(arms, COLOURS, strict=False)):
        found = [group["arms"][arm.title]["scar_dice"] for group in bins.values()]
        kept = [(at, one) for at, one in enumerate(found) if one is not None]
        if not kept:
            continue
        x = np.array([at for at, _ in kept]) + 0.08 * (number - len(arms) / 2)
        mean = np.array([one["mean"] for _, one in kept])
        low, high = (
            np.array([one["mean"] if one[k] is None else one[k] for _, one in kept])
            for k in ("low", "high")
        )
        axes.errorbar(x, mean, [mean - low, high - mean], fmt="o", color=colour, capsize=2,
                      label=arm.title)  # fmt: skip
    labels = [
        f"{name.removeprefix('Δt ')}\nn = {group['patients']}" for name, group in bins.items()
    ]
    axes.set_xticks(range(len(bins)), labels, fontsize=7)
    axes.set_ylabel("scar Dice")
    axes.legend(fontsize=7, frameon=False)
    return figure


def _bland_altman(table: Table, arms: Sequence[Arm]) -> Any:
    figure, axes = _figure()
    shown = False
    for arm, colour in zip(arms, COLOURS, strict=False):
        called = table.column(arm, "burden_percent")
        true = table.column(arm, "true_burden_percent")
        known = np.isfinite(called) & np.isfinite(true)
        if known.any():
            apart = (called - true)[known]
            axes.plot((called + true)[known] / 2, apart, "o", ms=4, alpha=0.6, color=colour,
                      label=arm.title)  # fmt: skip
            axes.axhline(float(apart.mean()), color=colour, lw=1)
            shown = True
    axes.axhline(0, color="0.7", lw=0.8)
    axes.set_xlabel("mean of called and drawn, %")
    axes.set_ylabel("called − drawn, %")
    axes.legend(fontsize=7, frameon=False)
    return figure if shown else None


def _reliability(arms: Sequence[Arm], summary: dict[str, Any]) -> Any:
    figure, axes = _figure(4.6)
    shown = False
    for arm, colour in zip(arms, COLOURS, strict=False):
        found = summary["arms"][arm.title]["calibration"]
        if found is not None:
            bins = found["bins"]
            x, y = ([one[key] for one in bins] for key in ("predicted", "observed"))
            words = f"{arm.title}, off by {found['expected_error']:.3f}"
            axes.plot(x, y, "o-", ms=3, color=colour, label=words)
            shown = True
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    axes.set_xlabel("probability")
    axes.set_ylabel("share that is scar")
    axes.legend(fontsize=7, frameon=False)
    return figure if shown else None
