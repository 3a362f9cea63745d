"""Gain by fine-tuning on one's own patients, where the truth is known: a shifted twin.

    python bench/own_patients.py OUT [--from MODEL] [--sizes 20 60 103] [--folds 5] [--ways ...]

Writes a cohort of another hospital to OUT/patients (other contrast, other territories, ECGs that
grow old in 30 days instead of 120), as DICOM, WFDB and masks. On its first 20, 60 and 103 patients,
with folds: the model to begin with as it is, fine-tuned, and the same network from nothing. Every
patient is scored by the fold that did not see it. Prints a table, and below it what each fold used
of its training, and why; OUT/results.json has it all, with the time constants that the pairs told,
the settings, seconds and memory. What is finished is not repeated: it may be stopped.

    --ways WAY     "fine-tuned" or "from nothing" alone; the model as it is stands beside each
    --recipe FILE  of scarseg-export train --data, for less than the default settings; what it
                   changes is printed with the table
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scarseg_export.patients.reader import patient_reader
from scarseg_export.score.arms import FUSED, IMAGE, TRAINED_HERE
from scarseg_export.tune.statements import statements

SIZES = (20, 60, 103)
WAYS = "fine-tuned", "from nothing"
HEAD = ("patients", "model", "scar Dice", "pooled", "precision", "sensitivity", "wall Dice",
        "false alarms", "burden off, %", "τ, days (95 %)", "hours", "GB",
        "score, s a patient")  # fmt: skip
ARMS = IMAGE, FUSED
KEYS = ("scar_dice", "scar_dice_pooled", "precision", "sensitivity", "wall_dice", "false_alarm")


def command(*words: str | Path) -> dict[str, float]:
    """Run a command of scarseg-export: the seconds that it took, and the memory of its process
    (not of the workers that render) at its highest."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "scarseg_export.cli", *map(str, words)])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"scarseg-export {words[0]} ended with {process.returncode}")
    return {"seconds": time.perf_counter() - start, "peak_gb": used.ru_maxrss * 1024 / 1e9}


def write_patients(out: Path, count: int) -> Path:
    """The cohort; its table."""
    table = out / "patients" / "table.csv"
    if not table.exists():
        command("twin", "--shift", "--cases", str(count), "--out", table.parent)
    return table


def first(table: Path, count: int) -> Path:
    """A table of the first patients beside the whole one."""
    part = table.with_name(f"first-{count}.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[: count + 1]
    with part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return part


def trained(table: Path, run: Path, options: list[str]) -> dict[str, float]:
    """Train a run; what its calls took together, those that were stopped left out."""
    known = run.with_name(run.name + ".json")
    if not (run / "model.pt").exists():
        whole = not run.exists()
        used = command("train", "--data", table, "--out", run, *options)
        known.write_text(json.dumps(used | {"whole": whole}), encoding="utf-8")
    return dict(json.loads(known.read_text(encoding="utf-8")))


def scored(table: Path, run: Path, model: Path) -> dict[str, Any]:
    """Score the folds of a run and the model to begin with on the same patients."""
    report = run.with_name(run.name + "-report")
    known = report.with_suffix(".json")
    if not report.exists():
        used = command("score", table, "--folds", run, "--model", model, "-o", report)
        known.write_text(json.dumps(used), encoding="utf-8")
    document = json.loads((report / "score.json").read_text(encoding="utf-8"))
    return dict(document) | {"used": json.loads(known.read_text(encoding="utf-8"))}


def tau_words(run: Path) -> str:
    """Time constant that the pairs of the run on all patients told."""
    tau = json.loads((run / "stages.json").read_text(encoding="utf-8"))["tau"]
    ends = [f"{tau[k]:.0f}" if tau[k] else "open" for k in ("low_days", "high_days")]
    if tau["tau_days"] is None:
        return f"not told by {tau['pairs']} pairs"
    used = "" if math.isclose(tau["used_days"], tau["tau_days"], rel_tol=1e-4) else "not "
    return f"{tau['tau_days']:.0f} ({ends[0]} to {ends[1]}), {used}used"


def decisions(count: int, way: str, run: Path) -> list[str]:
    """Sentences on what each fold used of its training, and why."""
    found = []
    for path in sorted(run.glob("fold*/stages.json")):
        said = statements(json.loads(path.read_text(encoding="utf-8")))
        found += [f"{count} {way}, {path.parent.name}: {one}" for one in said]
    return found


def line(arms: dict[str, Any], arm: str) -> list[str]:
    """Estimates of one arm as words."""
    words = []
    for key in KEYS:
        found = arms[arm][key]
        if found is None:
            words.append("–")
        elif found["low"] is None:
            words.append(f"{found['mean']:.3f}")
        else:
            words.append(f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})")
    burden = arms[arm]["burden_percent"]
    return [*words, "–" if burden is None else f"{burden['bias']:+.1f}"]


def lines(
    count: int, way: str, document: dict[str, Any], run: Path, used: dict[str, float]
) -> list[str]:
    """Lines of the table on one training: the model before it, and the folds."""
    own = [arm for arm in (*ARMS, TRAINED_HERE) if f"folds: {arm}" in document["arms"]]
    shown = [(f"{way}, {arm}", f"folds: {arm}") for arm in own]
    if way == WAYS[0]:
        name = document["models"][1]["name"]
        shown = [*((f"as it is, {arm}", f"{name}: {arm}") for arm in ARMS), *shown]
    found = []
    for words, arm in shown:
        costs = ["–"] * 4
        if arm.startswith("folds"):
            hours = f"{used['seconds'] / 3600:.2f}" + ("" if used["whole"] else " (the last part)")
            each = document["used"]["seconds"] / len(document["patients"])
            costs = [tau_words(run), hours, f"{used['peak_gb']:.1f}", f"{each:.1f}"]
        cells = [str(count), words, *line(document["arms"], arm), *costs]
        found.append("| " + " | ".join(cells) + " |")
    return found


def measure(options: argparse.Namespace, model: Path) -> None:
    """Train and score everything; print the table as it grows."""
    out: Path = options.out
    whole = write_patients(out, max(options.sizes))
    recipe = [] if options.recipe is None else ["--recipe", str(options.recipe)]
    changed = json.loads(options.recipe.read_text(encoding="utf-8")) if recipe else {}
    print(f"folds: {options.folds}; settings other than the default: {changed or 'none'}\n")
    results: dict[str, Any] = {"folds": options.folds, "settings": changed}
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    said: list[str] = []
    for count in options.sizes:
        table = first(whole, count)
        for way in options.ways:
            start = ["--from", str(model)] if way == WAYS[0] else []
            run = out / f"{way.replace(' ', '-')}-{count}"
            used = trained(table, run, ["--folds", str(options.folds), *start, *recipe])
            document = scored(table, run, model)
            results[f"{count} {way}"] = document["arms"] | {
                "tau": tau_words(run), "training": used, "scoring": document["used"],
            }  # fmt: skip
            print("\n".join(lines(count, way, document, run, used)), flush=True)
            said += decisions(count, way, run)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        (out / "results.json").write_text(text, encoding="utf-8")
    print("\n" + "\n".join(said))


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--from", dest="start", type=Path, help="default: the shipped model")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--recipe", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with patient_reader().reference_model() as shipped:
        measure(options, options.start or shipped)


if __name__ == "__main__":
    main()
