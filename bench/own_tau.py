"""The time constant that pairs of MRI and ECG tell, where the truth is known: a shifted twin.

    python bench/own_tau.py OUT [--pairs 103] [--cohorts 3] [--from MODEL]

Writes cohorts of another hospital, whose ECGs grow old in 30 days, to OUT/0, OUT/1 ..., reads them
as ``scarseg-export train --data`` does, and estimates τ with the network of a model file as it is.
Prints a line for each cohort with the 95 % interval. What is written or read is not repeated.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from scarseg_export.cli import main as scarseg_export
from scarseg_export.patients.open import open_table
from scarseg_export.patients.reader import patient_reader
from scarseg_export.tune.cache import read_patients
from scarseg_export.tune.pairs import pass_pairs
from scarseg_export.tune.start import start_from
from scarseg_export.tune.tau import TauEstimate, estimate_tau
from scarseg_export.twin.shift import SHIFTED_TAU_DAYS

SEED = 1


def measure(folder: Path, pairs: int, first: int, model: Path) -> TauEstimate:
    """Estimate of one cohort, whose first patient has seed ``first``; written where it is new."""
    table = folder / "table.csv"
    if not table.exists():
        words = ["twin", "--shift", "--cases", str(pairs), "--seed", str(first)]
        if scarseg_export([*words, "--out", str(folder)]):
            raise SystemExit("the cohort could not be written")
    rows, problems, classes = open_table(table)
    patients, _ = read_patients(rows, problems, classes, patient_reader(), folder / "read")
    return estimate_tau(pass_pairs(start_from(model).net, patients, SEED))


def words_of(found: TauEstimate) -> str:
    """An estimate as cells of a table."""
    low, high = (f"{d:.0f}" if d else "open" for d in (found.low_days, found.high_days))
    best = "–" if found.tau_days is None else f"{found.tau_days:.0f} ({low} to {high})"
    used = "used" if found.adopted else f"not used: {found.why}"
    return f"{found.pairs} | {found.fresh} | {found.old} | {best} | {used}"


def main() -> None:
    """Parse and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=103)
    parser.add_argument("--cohorts", type=int, default=3)
    parser.add_argument("--from", dest="start", type=Path, help="default: the shipped model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| cohort | pairs | up to 14 d | above 60 d | τ of {SHIFTED_TAU_DAYS:g} days (95 %) | |")
    print("|---" * 6 + "|", flush=True)
    with patient_reader().reference_model() as shipped:
        for number in range(options.cohorts):
            begun = time.perf_counter()
            first = number * options.pairs
            found = measure(
                options.out / str(number), options.pairs, first, options.start or shipped
            )
            print(f"| {number} | {words_of(found)} |", flush=True)
            print(f"cohort {number}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
