"""Peak memory of a cold process by the size of the stack, for each provider on the CPU.

    python bench/memory_by_size.py [--providers cpu openvino] [--threads 2]

Each row is a process of its own that makes a stack out of the demo study, repeated to that size,
segments it with the demo's ECG and ends. Reading files and writing results come on top of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

SIZES = ((12, 256, 216), (12, 512, 512), (30, 512, 512))

ROW = """
import sys
import numpy as np
from scarseg_bench.memory import peak_rss_mb
from scarseg_infer import Segmenter, read_ecg, read_study, stack_from_arrays
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

provider, threads, *size = sys.argv[1], *map(int, sys.argv[2:])
source = read_study(DEMO_STUDY)
parts = [np.arange(wanted) * there // wanted for wanted, there in zip(size, source.pixels.shape)]
pixels = source.pixels[np.ix_(*parts)]
spacing = [mm * there / wanted for mm, there, wanted in
           zip(source.pixel_spacing_mm, source.pixels.shape[1:], size[1:])]
step = source.normal * np.diff(source.slice_positions_mm)[0] * len(source.pixels) / size[0]
places = source.origins_mm[0] + np.arange(size[0])[:, None] * step
stack = stack_from_arrays(pixels, spacing, places,
                          [*source.row_direction, *source.column_direction])
with Segmenter.from_model(provider=provider, threads=threads, cache=False) as segmenter:
    result = segmenter.run(stack, read_ecg(DEMO_ECG), gap_days=3)
assert result.quantities.myocardium_ml > 0
print(f"{peak_rss_mb():.0f}")
"""


def main() -> None:
    """Print one line a size, as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--providers", nargs="+", default=["cpu", "openvino"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"| slices × rows × columns | {' | '.join(options.providers)} |")
    print(f"|---|{'---|' * len(options.providers)}")
    for size in SIZES:
        cells = []
        for provider in options.providers:
            command = [sys.executable, "-c", ROW, provider, str(options.threads), *map(str, size)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said = (done.stderr.strip().splitlines() or ["failed"])[-1]
            cells.append(f"{done.stdout.strip()} MB" if done.returncode == 0 else said)
        print(f"| {' × '.join(map(str, size))} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
