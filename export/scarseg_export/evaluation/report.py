"""``scarseg-export evaluate``: everything measured, as JSON, Markdown tables and pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from scarseg_export.evaluation import arms
from scarseg_export.evaluation.digest import file_digest
from scarseg_export.evaluation.ecg import tables_of
from scarseg_export.evaluation.failures import worst_examples
from scarseg_export.evaluation.real_hearts import read_hearts, score_hearts
from scarseg_export.evaluation.real_report import real_lines, table
from scarseg_export.evaluation.run import Row, measure
from scarseg_export.evaluation.summary import (
    BIN_NAMES,
    CHANGED,
    HARM_PERCENT,
    SAME,
    SHOWN,
    SHOWN_SOON,
    SILENT,
    summarise,
)
from scarseg_export.evaluation.testset import SEMI_REAL, SETS, SetName, store_ecgs
from scarseg_export.train.checkpoint import load_checkpoint
from scarseg_export.train.real_ecgs import real_ecgs
from scarseg_export.twin.cohort import TAU_DAYS
from scarseg_runtime.contract import SEGMENT_COUNT

SCORES = {
    "dice": "scar Dice", "pooled_dice": "pooled Dice", "precision": "precision",
    "sensitivity": "sensitivity", "false_alarm": "false alarms",
    "burden_error": "burden error, % LV mass", "burden_bias": "burden bias",
    "volume_error_ml": "volume error, mL",
}  # fmt: skip
GAINS = {
    "dice_gain": "Dice", "pooled_dice_gain": "pooled Dice", "precision_gain": "precision",
    "sensitivity_gain": "sensitivity", "false_alarm_gain": "false alarms",
    "burden_error_gain": "burden error, % LV mass", "volume_error_ml_gain": "volume error, mL",
}  # fmt: skip
BY_BIN = {
    "dice": "Scar Dice", "dice_gain": "Scar Dice, difference from image only",
    "false_alarm": "False alarms on hearts without scar",
    "false_alarm_gain": "False alarms, difference from image only",
    "burden_error": "Absolute burden error, % of LV mass",
    "burden_error_gain": "Absolute burden error, difference from image only",
}  # fmt: skip
MAIN_ARMS = (
    arms.IMAGE, arms.ATLAS, arms.UNTIMED, arms.TAFF, arms.RIGHT, arms.FORCED, arms.SHUFFLED,
    arms.SWAPPED, arms.UNGATED,
)  # fmt: skip
GROUPS = (*BIN_NAMES, "> 120 d", SAME, CHANGED, SHOWN, SHOWN_SOON, SILENT, "all")


def evaluate(
    checkpoints: list[Path],
    out: Path,
    cases: int,
    min_scar_ml: float,
    ecg: Path | None = None,
    lge: Path | None = None,
) -> Path:
    """Measure trained models (one per training seed) and write ``out``.

    Rendered patients and what was measured of each checkpoint stay in ``out``, so that an
    interrupted evaluation goes on and another checkpoint can be added.

    Args:
        ecg: folder of PTB-XL, for the semi-real patients and the tables of real ECGs.
        lge: folder of labelled real LGE (see :mod:`scarseg_export.evaluation.real_hearts`).

    Returns:
        The Markdown report.

    Raises:
        ModelError: a checkpoint is missing or damaged.
    """
    trained = [load_checkpoint(path) for path in checkpoints]
    thresholds = [t.disagreement_threshold for t in trained]
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "cases": cases,
        "min_scar_ml": min_scar_ml,
        "seeds": [t.recipe["seed"] for t in trained],
        "checkpoints": [file_digest(path) for path in checkpoints],
        "tau_days": [t.net.taff.tau_days for t in trained],
        "initial_tau_days": trained[0].net.config.initial_tau_days,
        "disagreement_thresholds": thresholds,
    }
    real = None if ecg is None else real_ecgs(ecg, out / "ecgs")
    nets = [t.net for t in trained]
    if real is not None:
        store_ecgs(out / "patients", real.test)
        results["real_ecgs"] = [tables_of(net.ecg, real) for net in nets]
    if lge is not None:
        hearts = read_hearts(lge)
        test = None if real is None else real.test
        results["real_hearts"] = [score_hearts(net, hearts, min_scar_ml, test) for net in nets]
    rows: dict[SetName, list[list[Row]]] = {}
    for name in sets_of(results):
        rows[name] = [measure(path, name, cases, min_scar_ml, out) for path in checkpoints]
        results[name] = summarise(rows[name], thresholds)
        if results[name]["no_ecg_is_image_only"] != results[name]["no_ecg_checked"]:
            raise RuntimeError("without an ECG the result differs from the image path")
    text = json.dumps(_rounded(results), allow_nan=False)
    (out / "evaluation.json").write_text(text, encoding="utf-8")
    report = out / "evaluation.md"
    report.write_text(markdown(results), encoding="utf-8")
    draw(results, out)
    for name in sets_of(results):
        if name != "spread":
            draw_failures(checkpoints[0], name, rows[name][0], out, min_scar_ml)
    return report


def sets_of(results: dict[str, Any]) -> tuple[SetName, ...]:
    """Test sets of an evaluation, the most real first."""
    return (SEMI_REAL, *SETS) if "real_ecgs" in results else SETS


def draw(results: dict[str, Any], out: Path) -> None:
    """All pictures but the failures; needs what :func:`evaluate` wrote as JSON only."""
    from scarseg_export.evaluation import plots

    for name in sets_of(results):
        plots.plot_by_gap(results[name], "dice", "scar Dice", out / f"dice-{name}.png")
        plots.plot_by_gap(results[name], "dice_gain", "scar Dice − that of the image only",
                          out / f"dice-gain-{name}.png", zero=True)  # fmt: skip
        plots.plot_by_gap(results[name], "false_alarm", "false alarms on scar-free hearts (share)",
                          out / f"false-alarms-{name}.png")  # fmt: skip
    initial, seeds = results["initial_tau_days"], results["seeds"]
    plots.plot_weights(results["tau_days"], seeds, initial, out / "weights.png")
    if "real_ecgs" in results:
        tested = results["real_ecgs"][0]["reliability_test"]
        plots.plot_reliability(tested, out / "reliability.png")
    plots.plot_belief(results["clinical"], out / "belief.png")
    plots.plot_rules(results["clinical"], out / "rules.png")


def draw_failures(
    checkpoint: Path, name: SetName, rows: list[Row], out: Path, min_scar_ml: float
) -> None:
    from scarseg_export.evaluation import plots

    examples = worst_examples(checkpoint, name, rows, out / "patients", min_scar_ml)
    plots.plot_failures(examples, out / f"failures-{name}.png")


def markdown(results: dict[str, Any]) -> str:
    """The report as text."""
    taus = ", ".join(f"{tau:.0f}" for tau in results["tau_days"])
    lines = [
        "# Evaluation", "",
        *real_lines(results),
        "## Simulated hearts", "",
        "Nothing below tells how the model does on real hearts; only the test set semi-real has "
        "real ECGs.", "",
        f"{results['cases']} unseen patients a test set; training seeds {results['seeds']}. Each "
        "cell: mean over patients and seeds, in brackets its 95 % bootstrap interval over "
        "patients, ± SD over seeds. Differences are taken patient by patient. Dice, precision and "
        "sensitivity are of hearts with scar; a false alarm is > 0.5 mL of scar called in a heart "
        f"without; islands below {results['min_scar_ml']:g} mL are cleaned away as the product "
        "does. A share of exactly 0 or 1 has an interval without width; with n patients the true "
        "share may still be 3/n away.", "",
        f"Learned τ: {taus} days; the twin's own is {TAU_DAYS:.0f}, training started at "
        f"{results['initial_tau_days']:.0f}.", "",
    ]  # fmt: skip
    for name in sets_of(results):
        lines += _set(results[name], name)
    return "\n".join(lines) + "\n"


def _set(summary: dict[str, Any], name: str) -> list[str]:
    everyone = summary["bins"]["all"]["arms"]
    walls = [arms.IMAGE, arms.EXPERT_IMAGE, arms.TAFF, arms.EXPERT_TAFF]
    rules = [f"{rule}, {wall}" for wall in (arms.PREDICTED, arms.EXPERT) for rule in arms.RULES]
    lines = [f"## Test set: {name}", ""]
    lines += _section("All patients", SCORES, {arm: everyone[arm] for arm in MAIN_ARMS})
    gains = {arm: everyone[arm] for arm in MAIN_ARMS if arm != arms.IMAGE}
    lines += _section("All patients, difference from image only", GAINS, gains)
    lines += _groups(summary["bins"])
    for key, title in BY_BIN.items():
        lines += _by_bin(summary["bins"], key, title)
    compared = {arm: everyone[arm] for arm in (*walls, *rules)}
    lines += _section("Whose wall, and plain rules", SCORES, compared)
    lines += _anatomy(everyone[arms.TAFF])
    lines += _belief(summary)
    return lines + _disagreement(summary)


def _section(title: str, columns: dict[str, str], rows: dict[str, Any]) -> list[str]:
    cells = [[arm, *(_cell(row[key], key) for key in columns)] for arm, row in rows.items()]
    return [f"### {title}", "", *table(["arm", *columns.values()], cells), ""]


def _groups(bins: dict[str, Any]) -> list[str]:
    keys = {"patients": "patients", "with_scar": "with scar", "without_scar": "without scar",
            "stale_ecgs": "ECG of another scar state"}  # fmt: skip
    rows = [[name, *(str(bins[name][key]) for key in keys)] for name in GROUPS if name in bins]
    return ["### Patients by Δt", "", *table(["group", *keys.values()], rows), ""]


def _by_bin(bins: dict[str, Any], key: str, title: str) -> list[str]:
    groups = [name for name in GROUPS if name in bins]
    shown = [arm for arm in MAIN_ARMS if not (key.endswith("_gain") and arm == arms.IMAGE)]
    rows = [[arm, *(_cell(bins[name]["arms"][arm][key], key) for name in groups)] for arm in shown]
    return [f"### {title}, by Δt", "", *table(["arm", *groups], rows), ""]


def _anatomy(arm: dict[str, Any]) -> list[str]:
    names = {"cavity_dice": "cavity Dice", "wall_dice": "myocardium Dice",
             "segment_accuracy": "AHA-17 voxel accuracy"}  # fmt: skip
    rows = [[label, _cell(arm[key], key)] for key, label in names.items()]
    return ["### Anatomy", "", *table(["", "all patients"], rows), ""]


def _belief(summary: dict[str, Any]) -> list[str]:
    fresh, stale = summary["belief_auroc_fresh"], summary["belief_auroc_stale"]
    rows = [
        [str(k + 1), str(fresh["scarred"][k]), _cell(fresh["segments"][k]),
         _cell(stale["segments"][k])]
        for k in range(SEGMENT_COUNT)
    ]  # fmt: skip
    rows.append(["mean", "", _cell(fresh["mean"]), _cell(stale["mean"])])
    head = ["AHA segment", "patients with scar in it", SAME, CHANGED]
    return ["### AUROC of the ECG belief for scar at MRI time", "", *table(head, rows), ""]


def _disagreement(summary: dict[str, Any]) -> list[str]:
    harm = f"> {HARM_PERCENT:g} % of LV mass"
    ours, swaps = "own ECG", "somebody else's ECG"
    names = {
        "auroc": f"AUROC: {swaps} against {ours} of the day",
        "auroc_of_harmful": f"AUROC: only where {swaps} would change {harm}",
        "caught_at_5_percent": f"{swaps} caught, at 5 % false flags on this set",
        "caught_of_harmful_at_5_percent": f"caught where it would change {harm}, at 5 %",
        "false_flags_as_deployed": f"{ours} of the day flagged, deployed threshold",
        "stale_flagged_as_deployed": f"{ours} of another scar state flagged, deployed threshold",
        "caught_as_deployed": f"{swaps} caught, deployed threshold",
        "caught_of_harmful_as_deployed": f"caught where it would change {harm}, deployed threshold",
        "harmful_without_gate": f"{swaps} changes {harm} without the gate",
        "harmful_with_gate": f"{swaps} changes {harm} with the gate",
        "harmful_with_gate_and_unflagged": f"{swaps} changes {harm} with the gate, not flagged",
    }
    rows = [[label, _cell(summary["disagreement"][key])] for key, label in names.items()]
    same, checked = summary["no_ecg_is_image_only"], summary["no_ecg_checked"]
    rows.append(["no ECG equals image only, bit for bit", f"{same} of {checked}"])
    return ["### Disagreement of ECG and image, at Δt = 0", "", *table(["", "share"], rows), ""]


def _rounded(value: Any) -> Any:
    """``value`` with all numbers in it to 5 decimals: the rest would be false precision. What is
    undefined becomes null."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def _cell(value: dict[str, Any] | None, key: str = "") -> str:
    """Mean (interval) ± SD over seeds; differences with their sign and finer than levels."""
    if value is None:
        return "–"
    gain = key.endswith("_gain")
    coarse = key.startswith(("burden", "volume"))  # % and mL
    form = f"{'+' if gain or 'bias' in key else ''}.{2 + gain - coarse}f"
    mean, low, high = (format(value[part], form) for part in ("mean", "low", "high"))
    text = f"{mean} ({low} to {high})"
    spread = value["sd_over_seeds"]
    return text if spread is None else f"{text} ± {spread:.{2 + gain - coarse}f}"
