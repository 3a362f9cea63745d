"""Gain by fine-tuning on one's own patients, where the truth is known: a shifted twin.

    python bench/own_patients.py OUT [--from MODEL] [--sizes 20 60 103] [--folds 5]

Writes a cohort of another hospital to OUT/patients (other contrast, other territories, ECGs that
grow old in 30 days instead of 120), as DICOM, WFDB and masks. On its first 20, 60 and 103 patients,
with folds: the model to begin with as it is, fine-tuned, and the same network from nothing. Every
patient is scored by the fold that did not see it. Prints a table; OUT/results.json has it all, with
the time constants that the pairs told. What is finished is not repeated: it may be stopped.

    --recipe FILE  of scarseg-export train --data, for a quick look at toy size
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scarseg_export.patients.reader import patient_reader

SIZES = (20, 60, 103)
HEAD = ("patients", "model", "scar Dice", "pooled", "precision", "sensitivity", "wall Dice",
        "false alarms", "τ, days (95 %)", "hours")  # fmt: skip
ARMS = "image alone", "fused"
KEYS = ("scar_dice", "scar_dice_pooled", "precision", "sensitivity", "wall_dice", "false_alarm")


def command(*words: str | Path) -> float:
    """Run a command of scarseg-export; the seconds that it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "scarseg_export.cli", *map(str, words)], check=True)
    return time.perf_counter() - start


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


def trained(table: Path, run: Path, options: list[str]) -> float | None:
    """Train a run; hours that it took, None where it was there already in part."""
    known = run / "hours.json"
    whole = not run.exists()
    if not (run / "model.pt").exists():
        seconds = command("train", "--data", table, "--out", run, *options)
        known.write_text(json.dumps(seconds / 3600 if whole else None), encoding="utf-8")
    return json.loads(known.read_text(encoding="utf-8")) if known.exists() else None


def scored(table: Path, run: Path, model: Path) -> dict[str, Any]:
    """Score the folds of a run and the model to begin with on the same patients."""
    report = run / "report"
    if not report.exists():
        command("score", table, "--folds", run, "--model", model, "-o", report)
    return dict(json.loads((report / "score.json").read_text(encoding="utf-8")))


def tau_words(run: Path) -> str:
    """Time constant that the pairs of the run on all patients told."""
    tau = json.loads((run / "stages.json").read_text(encoding="utf-8"))["tau"]
    ends = [f"{tau[k]:.0f}" if tau[k] else "open" for k in ("low_days", "high_days")]
    if tau["tau_days"] is None:
        return f"not told by {tau['pairs']} pairs"
    return f"{tau['tau_days']:.0f} ({ends[0]} to {ends[1]}), {'' if tau['adopted'] else 'not '}used"


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
    return words


def measure(out: Path, sizes: list[int], folds: int, model: Path, recipe: list[str]) -> None:
    """Train and score everything; print the table as it grows."""
    whole = write_patients(out, max(sizes))
    results: dict[str, Any] = {}
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    for count in sizes:
        table = first(whole, count)
        ways = {"fine-tuned": ["--from", str(model)], "from nothing": []}
        for way, options in ways.items():
            run = out / f"{way.replace(' ', '-')}-{count}"
            hours = trained(table, run, ["--folds", str(folds), *options, *recipe])
            document = scored(table, run, model)
            results[f"{count} {way}"] = document["arms"] | {"tau": tau_words(run), "hours": hours}
            shown = [(f"{way}, {arm}", f"folds: {arm}") for arm in ARMS]
            if way == "fine-tuned":
                name = document["models"][1]["name"]
                before = [
                    (f"as it is, {arm}", f"{name}: {arm}") for arm in ("image alone", "fused")
                ]
                shown = [*before, *shown]
            for words, arm in shown:
                own = arm.startswith("folds")
                time_ = f"{hours:.2f}" if own and hours else "–"
                cells = [str(count), words, *line(document["arms"], arm),
                         tau_words(run) if own else "–", time_]  # fmt: skip
                print("| " + " | ".join(cells) + " |", flush=True)
        text = json.dumps(results, indent=1, ensure_ascii=False)
        (out / "results.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--from", dest="start", type=Path, help="default: the shipped model")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--recipe", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = [] if options.recipe is None else ["--recipe", str(options.recipe)]
    with patient_reader().reference_model() as shipped:
        measure(options.out, options.sizes, options.folds, options.start or shipped, recipe)


if __name__ == "__main__":
    main()
