"""Gain of two workers of scarseg-cohort over one, on this machine.

    python bench/cohort_scaling.py [--studies 40] [--rounds 2]

Each round runs the same cohort of demo studies with one worker and with two, one thread each. What
is timed begins with the first study that is done and ends with the last, from the times of the
results: starting Ray and loading the model is left out, since a real cohort is long.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY


def studies_a_minute(folder: Path, studies: int, workers: int) -> float:
    """Run one cohort."""
    table, out = folder / "table.csv", folder / f"out-{workers}"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "ecg"])
        writer.writerows([DEMO_STUDY, DEMO_ECG] for _ in range(studies))
    subprocess.run(
        [sys.executable, "-m", "scarseg_infer.cohort.main", table, "-o", out, "-q",
         "--workers", str(workers), "--only", "json", "--provider", "cpu"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    times = sorted(file.stat().st_mtime for file in out.glob("*/result.json"))
    if len(times) != studies:
        raise SystemExit(f"{studies - len(times)} studies failed")
    skipped = workers  # the first of each worker
    return 60 * (studies - skipped) / (times[-1] - times[skipped - 1])


def main() -> None:
    """Print studies a minute for one and two workers, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            one, two = (studies_a_minute(Path(folder), options.studies, n) for n in (1, 2))
        ratios.append(two / one)
        print(f"round {number + 1}: {one:.0f} studies a minute with 1 worker, {two:.0f} with 2, "
              f"{two / one:.2f} times")  # fmt: skip
    print(f"median {statistics.median(ratios):.2f} times")


if __name__ == "__main__":
    main()
