"""Speed of the digital twin: paired patients and ECGs a second on one core.

python bench/twin.py [--patients 60]
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # CPU time of idle, spinning threads is no work

import numpy as np

from scarseg_export.twin.cohort import beats_of, sample_case

IMAGE: dict[str, Any] = {"size": 128, "spacing_mm": 1.6, "wander_mm": 20.0, "slices": 10}
ECG_BATCH = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=60)
    patients = parser.parse_args().patients
    sample_case(0).image(**IMAGE)  # first call imports and allocates
    start = time.process_time()
    cases = [sample_case(seed) for seed in range(patients)]
    for case in cases:
        case.image(**IMAGE)
    images = time.process_time() - start
    start = time.process_time()
    for first in range(0, patients, ECG_BATCH):
        batch = cases[first : first + ECG_BATCH]
        beats_of(batch, np.zeros(len(batch), bool))
    ecgs = time.process_time() - start
    print("CPU time of one process, so per core")
    print(f"paired patients, 10 × 128 × 128 image and ECG  {patients / (images + ecgs):6.1f} /s"
          "   target 15")  # fmt: skip
    print(f"ECGs alone                                     {patients / ecgs:6.1f} /s   target 100")


if __name__ == "__main__":
    main()
