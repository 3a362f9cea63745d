"""``scarseg-export evaluate``: everything measured, as JSON, Markdown tables and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scarseg_export.checkpoint import load_checkpoint
from scarseg_export.evaluation import arms
from scarseg_export.evaluation.failures import worst_examples
from scarseg_export.evaluation.run import measure
from scarseg_export.evaluation.summary import BIN_NAMES, over_seeds, summarise
from scarseg_export.evaluation.testset import SETS

COLUMNS = {
    "dice": "scar Dice", "dice_gain": "Dice − image only", "pooled_dice": "pooled Dice",
    "precision": "precision", "sensitivity": "sensitivity", "false_alarm": "false alarms",
    "burden_error": "burden error",
}  # fmt: skip


def evaluate(checkpoints: list[Path], out: Path, cases: int, min_scar_ml: float) -> Path:
    """Measure trained models (one per training seed) and write ``out``.

    Returns the path of the Markdown report. Raises ModelError for a damaged checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    trained = [load_checkpoint(path) for path in checkpoints]
    results: dict[str, Any] = {
        "cases": cases,
        "min_scar_ml": min_scar_ml,
        "seeds": [t.recipe["seed"] for t in trained],
        "tau_days": [t.net.taff.tau_days for t in trained],
    }
    for name in SETS:
        rows = [measure(path, name, cases, min_scar_ml, out / "rows") for path in checkpoints]
        results[name] = [summarise(part) for part in rows]
        if name == "clinical":
            _no_ecg_is_image_only(rows[0])
            _draw_failures(checkpoints[0], rows[0], out)
    _draw(results, trained[0].net.config.initial_tau_days, out)
    text = json.dumps(results, indent=1)
    (out / "evaluation.json").write_text(text, encoding="utf-8")
    report = out / "evaluation.md"
    report.write_text(_markdown(results), encoding="utf-8")
    return report


def _no_ecg_is_image_only(rows: list[dict[str, Any]]) -> None:
    """Scores without an ECG are those of the image path, to the last digit."""
    for row in rows:
        alone, image = (json.dumps(row["arms"][arm]) for arm in (arms.NO_ECG, arms.IMAGE))
        if alone != image:
            raise AssertionError("without an ECG the result differs from the image path")


def _draw(results: dict[str, Any], initial_tau: float, out: Path) -> None:
    from scarseg_export.evaluation import plots

    for name in SETS:
        plots.plot_by_gap(results[name], "dice", "scar Dice", out / f"dice-{name}.png")
    plots.plot_by_gap(results["clinical"], "false_alarm",
                      "false alarms on scar-free hearts", out / "false-alarms.png")  # fmt: skip
    plots.plot_weights(results["tau_days"], initial_tau, out / "weights.png")
    plots.plot_belief(results["clinical"][0], out / "belief.png")


def _draw_failures(checkpoint: Path, rows: list[dict[str, Any]], out: Path) -> None:
    from scarseg_export.evaluation import plots

    plots.plot_failures(worst_examples(checkpoint, "clinical", rows), out / "failures.png")


def _markdown(results: dict[str, Any]) -> str:
    taus = ", ".join(f"{tau:.0f}" for tau in results["tau_days"])
    lines = [
        "# Evaluation on the digital twin", "",
        f"{results['cases']} patients a test set, training seeds {results['seeds']}. Mean over "
        "patients and seeds, in brackets the 95 % bootstrap interval over patients (mean of the "
        "seeds' intervals), ± the SD over seeds. Simulated patients: nothing here tells how the "
        "model does on real ones.", "",
        f"Learned τ: {taus} days; the twin's own is 120, the start was 480.", "",
    ]  # fmt: skip
    for name in SETS:
        for bin_name in ("all", *BIN_NAMES, "> 120 d"):
            lines += _table(results[name], name, bin_name)
    lines += _anatomy(results["clinical"])
    lines += _disagreement(results["clinical"])
    return "\n".join(lines) + "\n"


def _table(summaries: list[dict[str, Any]], name: str, bin_name: str) -> list[str]:
    parts = [s["bins"][bin_name] for s in summaries if bin_name in s["bins"]]
    if not parts:
        return []
    head = [f"## {name}, Δt {bin_name}: {parts[0]['patients']} patients", ""]
    head.append("| arm | " + " | ".join(COLUMNS.values()) + " |")
    head.append("|---" * (len(COLUMNS) + 1) + "|")
    names = parts[0]["arms"] if bin_name == "all" else [
        arms.IMAGE, arms.ATLAS, arms.UNTIMED, arms.TAFF, arms.SHUFFLED, arms.SWAPPED, arms.FORCED
    ]  # fmt: skip
    for arm in names:
        cells = [_cell([part["arms"][arm][key] for part in parts]) for key in COLUMNS]
        head.append(f"| {arm} | " + " | ".join(cells) + " |")
    return [*head, ""]


def _cell(values: list[Any]) -> str:
    found = [v for v in values if v is not None]
    if not found:
        return "–"
    if isinstance(found[0], float):
        mean, spread = over_seeds(found)
        return f"{mean:.3f}" + (f" ± {spread:.3f}" if len(found) > 1 else "")
    mean, spread = over_seeds([v["mean"] for v in found])
    low, high = (over_seeds([v[side] for v in found])[0] for side in ("low", "high"))
    text = f"{mean:.3f} ({low:.3f}–{high:.3f})"
    return text + (f" ± {spread:.3f}" if len(found) > 1 else "")


def _anatomy(summaries: list[dict[str, Any]]) -> list[str]:
    parts = [s["bins"]["all"]["arms"][arms.TAFF] for s in summaries]
    names = {"cavity_dice": "cavity Dice", "wall_dice": "myocardium Dice",
             "segment_accuracy": "AHA-17 voxel accuracy"}  # fmt: skip
    lines = ["## Anatomy", ""]
    lines += [f"- {label}: {_cell([p[key] for p in parts])}" for key, label in names.items()]
    return [*lines, ""]


def _disagreement(summaries: list[dict[str, Any]]) -> list[str]:
    names = {
        "auroc": "AUROC, swapped against right pairs",
        "caught": "swaps caught at 5 % false flags",
        "harmful_swaps": "swaps that cost more than 0.1 Dice",
        "caught_of_harmful": "of these caught",
    }
    lines = ["## Disagreement of ECG and image", ""]
    for key, label in names.items():
        lines.append(f"- {label}: {_cell([s['disagreement'][key] for s in summaries])}")
    for key, label in (("fresh", "same scar state"), ("stale", "another scar state")):
        means = [
            float(sum(v for v in s[f"belief_auroc_{key}"] if v is not None))
            / max(sum(v is not None for v in s[f"belief_auroc_{key}"]), 1)
            for s in summaries
        ]
        lines.append(f"- AUROC of the ECG belief, mean over segments, {label}: {_cell(means)}")
    return [*lines, ""]
