"""How long the demo study takes: the network against PyTorch, the warm study, a cold process.

Ratios within one run are what counts; absolute times depend on the machine. The PyTorch peer is
the same network in eager FP32 with random weights (time does not depend on their values).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from scarseg_export.network import ScarNet
from scarseg_infer import Segmenter, read_ecg, read_study
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.orientation import display_transform
from scarseg_runtime.preprocess import mean_beat, slice_levels


def median_ms(work: Callable[[], object], runs: int) -> float:
    """Median wall time of ``work`` after one warm-up."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000.0)
    return statistics.median(times)


def torch_network(threads: int) -> Callable[[], object]:
    """PyTorch eager FP32 on the demo study."""
    torch.set_num_threads(threads)
    net = ScarNet().eval()
    stack, record = read_study(DEMO_STUDY), read_ecg(DEMO_ECG)
    display = display_transform(stack)
    beat = mean_beat(record.signals_mv, record.rate_hz, record.lead_names).beat_mv
    arrays = (
        display.to_display(stack.pixels),
        np.array(display.display_spacing(stack.pixel_spacing_mm)),
        slice_levels(np.arange(len(stack.pixels))),
        beat, np.array([3.0]), np.array([1.0]),
    )  # fmt: skip
    inputs = [torch.from_numpy(np.asarray(array, np.float32)) for array in arrays]

    @torch.no_grad()
    def run() -> object:
        return net(*inputs)

    return run


def cold_process() -> object:
    """One process from start to files on disk."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "scarseg_infer.cli", "--demo", "-q"]
        return subprocess.run([*command, "-o", str(Path(folder) / "out")], check=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=10)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()

    segmenter = Segmenter.from_model(threads=options.threads)
    stack, record = read_study(DEMO_STUDY), read_ecg(DEMO_ECG)
    result = segmenter.run(stack, record)
    rows = {
        "network, PyTorch eager FP32": median_ms(torch_network(options.threads), options.runs),
        "warm study, onnxruntime CPU FP32": median_ms(
            lambda: segmenter.run(stack, record), options.runs
        ),
        "cold process, files on disk": median_ms(cold_process, max(3, options.runs // 3)),
    }
    peer = rows["network, PyTorch eager FP32"]
    shape = " x ".join(str(n) for n in stack.pixels.shape)
    print(f"demo study {shape}, {options.threads} threads, median of {options.runs} runs")
    for name, value in rows.items():
        print(f"{name:<36}{value:8.0f} ms   {value / peer:5.2f} x PyTorch network")
    network = result.timings_ms["network"]
    print(f"(the network took {network:.0f} ms of the first study)")


if __name__ == "__main__":
    main()
