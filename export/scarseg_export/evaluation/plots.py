"""The evaluation as pictures. Colours after Okabe and Ito, told apart by the colour-blind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.failures import Example
from scarseg_export.evaluation.summary import BIN_NAMES
from scarseg_export.twin.cohort import TAU_DAYS
from scarseg_runtime.contract import MYOCARDIUM, SEGMENT_COUNT, Label

Summary = dict[str, Any]
"""Of :func:`summary.summarise`."""

BLACK, GREY, BLUE, SKY, RED, ORANGE, PINK, GREEN, YELLOW = (
    "#000000", "#999999", "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#cc79a7", "#009e73",
    "#f0e442",
)  # fmt: skip
LINES = {
    arms.IMAGE: (BLACK, "o"), arms.ATLAS: (GREY, "s"), arms.UNTIMED: (RED, "^"),
    arms.TAFF: (BLUE, "D"), arms.SHUFFLED: (PINK, "v"), arms.FORCED: (ORANGE, "P"),
}  # fmt: skip
"""Colour and marker of every arm."""
STYLE: Any = {
    "font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True,
}  # fmt: skip


def plot_by_gap(summary: Summary, key: str, label: str, path: Path, *, zero: bool = False) -> None:
    """One score of every arm by Δt bin, with 95 % intervals over patients.

    Args:
        zero: draw a line at 0, for differences; the image-only arm is then left out.
    """
    bins = {name: summary["bins"][name] for name in BIN_NAMES if name in summary["bins"]}
    lines = [arm for arm in LINES if not (zero and arm == arms.IMAGE)]
    with _figure(path, 9.0, 5.2) as axes:
        for number, arm in enumerate(lines):
            found = [(k, part["arms"][arm][key]) for k, part in enumerate(bins.values())]
            found = [(k, value) for k, value in found if value]
            middle = np.array([value["mean"] for _, value in found])
            ends = np.array([[v["low"], v["high"]] for _, v in found]).reshape(-1, 2).T
            places = [k + 0.11 * (number - (len(lines) - 1) / 2) for k, _ in found]
            colour, marker = LINES[arm]
            axes.errorbar(places, middle, np.abs(ends - middle), fmt=marker, color=colour,
                          label=arm, capsize=2.5, lw=1.4, ms=6)  # fmt: skip
        if zero:
            axes.axhline(0.0, color=BLACK, lw=0.8)
        for border in range(1, len(bins)):
            axes.axvline(border - 0.5, color="#dddddd", lw=0.8)
        counts = [
            f"{name}\n{part['with_scar']} with scar,\n{part['without_scar']} without"
            for name, part in bins.items()
        ]
        axes.set_xticks(range(len(bins)), counts, fontsize=10)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xlabel("time between ECG and MRI, Δt")
        axes.set_ylabel(label)
        axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_weights(taus: Sequence[float], seeds: Sequence[int], initial: float, path: Path) -> None:
    """Learned weight of an ECG by its age against the twin's truth and the start."""
    days = np.linspace(0, 600, 300)
    with _figure(path, 7.0, 4.4) as axes:
        axes.plot(days, np.exp(-days / initial), ":", color=GREY, lw=2,
                  label=f"before training, τ = {initial:.0f} d")  # fmt: skip
        for number, (tau, seed) in enumerate(zip(taus, seeds, strict=True)):
            axes.plot(days, np.exp(-days / tau), color=(BLUE, SKY, GREEN, PINK)[number % 4], lw=1.6,
                      label=f"learned, seed {seed}: τ = {tau:.0f} d")  # fmt: skip
        axes.plot(days, np.exp(-days / TAU_DAYS), "--", color=BLACK, lw=1.8,
                  label=f"truth of the twin, τ = {TAU_DAYS:.0f} d")  # fmt: skip
        axes.set_xlabel("time between ECG and MRI, Δt (days)")
        axes.set_ylabel("weight of the ECG, w(Δt)")
        axes.set_ylim(0, 1.02)
        axes.set_xlim(0, 600)
        axes.legend(frameon=False)


def plot_belief(summary: Summary, path: Path) -> None:
    """AUROC of the ECG's belief by AHA segment, for ECGs of the day and stale ones."""
    places = np.arange(1, SEGMENT_COUNT + 1)
    series = (("belief_auroc_fresh", "ECG of the same scar state", BLUE, -0.2),
              ("belief_auroc_stale", "ECG of another scar state", ORANGE, 0.2))  # fmt: skip
    with _figure(path, 9.0, 4.4) as axes:
        for key, label, colour, shift in series:
            known = summary[key]["segments"]
            found = [(k, value) for k, value in zip(places, known, strict=True) if value]
            middle = np.array([v["mean"] for _, v in found])
            ends = np.array([[v["low"], v["high"]] for _, v in found]).reshape(-1, 2).T
            axes.bar([k + shift for k, _ in found], middle - 0.5, 0.4, bottom=0.5,
                     yerr=np.abs(ends - middle), color=colour, label=label, capsize=2,
                     error_kw={"lw": 1.0})  # fmt: skip
        axes.axhline(0.5, color=BLACK, lw=0.8)
        axes.set_ylim(0.2, 1.0)
        axes.set_xticks(places, [
            f"{k}\n({n})" for k, n in zip(places, summary["belief_auroc_fresh"]["scarred"],
                                          strict=True)], fontsize=10)  # fmt: skip
        axes.set_xlabel("AHA segment (patients with scar in it)")
        axes.set_ylabel("AUROC of the ECG belief")
        axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_rules(summary: Summary, path: Path) -> None:
    """Scar Dice of the network and of plain rules, inside the predicted and the expert wall."""
    table = summary["bins"]["all"]["arms"]
    pairs = {"image only": (arms.IMAGE, arms.EXPERT_IMAGE), "TAFF": (arms.TAFF, arms.EXPERT_TAFF)}
    pairs |= {rule: (f"{rule}, {arms.PREDICTED}", f"{rule}, {arms.EXPERT}") for rule in arms.RULES}
    with _figure(path, 8.5, 4.4) as axes:
        for side, (label, colour) in enumerate(((arms.PREDICTED, BLUE), (arms.EXPERT, ORANGE))):
            found = [(k, table[pair[side]]["dice"]) for k, pair in enumerate(pairs.values())]
            found = [(k, value) for k, value in found if value]
            middle = np.array([v["mean"] for _, v in found])
            ends = np.array([[v["low"], v["high"]] for _, v in found]).reshape(-1, 2).T
            axes.bar([k + 0.4 * side - 0.2 for k, _ in found], middle, 0.4, color=colour,
                     yerr=np.abs(ends - middle), label=label, capsize=2,
                     error_kw={"lw": 1.0})  # fmt: skip
        axes.set_xticks(range(len(pairs)), list(pairs))
        axes.set_ylabel("scar Dice")
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_failures(examples: list[Example], path: Path) -> None:
    """The worst slices: bare, with contours of the image path, and with those of TAFF."""
    rows = max(-(-len(examples) // 2), 1)  # two examples of three panels side by side
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, 6, figsize=(14.0, 2.75 * rows + 0.5), squeeze=False)
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.85 / (2.75 * rows),
                               wspace=0.04, hspace=0.3)  # fmt: skip
        for axes in grid.flat:
            axes.axis("off")
        for number, example in enumerate(examples):
            first = 3 * (number % 2)
            _draw_example(grid[number // 2, first : first + 3], example)
        figure.suptitle("true wall green, true scar yellow; predicted wall blue dashed, "
                        "predicted scar orange", fontsize=12)  # fmt: skip
        figure.savefig(path, dpi=80)
        plt.close(figure)


def _draw_example(panels: Any, example: Example) -> None:
    low, high = np.quantile(example.pixels, (0.02, 0.995))
    names = (("bare image", None), ("image only", example.image), ("TAFF", example.fused))
    for axes, (name, found) in zip(panels, names, strict=True):
        axes.imshow(example.pixels, cmap="gray", vmin=low, vmax=high)
        axes.text(0.03, 0.97, name, transform=axes.transAxes, va="top", color="white", fontsize=9,
                  bbox={"facecolor": BLACK, "alpha": 0.6, "lw": 0, "pad": 1.5})  # fmt: skip
        if found is None:
            continue
        _outline(axes, np.isin(example.truth, MYOCARDIUM), GREEN, 0.9, "solid")
        _outline(axes, np.isin(found, MYOCARDIUM), SKY, 0.9, "dashed")
        _outline(axes, example.truth == Label.SCAR, YELLOW, 1.8, "solid")
        _outline(axes, found == Label.SCAR, RED, 1.4, "solid")
    panels[1].set_title(example.title, fontsize=10)


def _outline(axes: Any, mask: NDArray[np.bool_], colour: str, width: float, style: str) -> None:
    if mask.any():
        axes.contour(mask, [0.5], colors=colour, linewidths=width, linestyles=style)


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """Axes of a figure that is saved to ``path`` and closed at the end."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(width, height), constrained_layout=True)
        axes.grid(axis="y", color="#eeeeee", lw=0.8)
        yield axes
        figure.savefig(path, dpi=110)
        plt.close(figure)


def plot_reliability(reliability: Summary, path: Path) -> None:
    """Belief against what the codes of real records say, by bin: see
    :func:`scarseg_export.train.ecg_calibration.reliability_of`."""
    rows = reliability["bins"]
    with _figure(path, 5.2, 5.2) as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":")
        axes.plot(
            [row["belief"] for row in rows], [row["truth"] for row in rows], color=BLUE, marker="o"
        )
        for row in rows:
            axes.annotate(
                str(row["count"]), (row["belief"], row["truth"]),
                xytext=(4, -11), textcoords="offset points", fontsize=8,
            )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="belief of a segment", ylabel="scar by its codes")
        axes.set_title(f"calibration error {reliability['ece']:.3f}")
