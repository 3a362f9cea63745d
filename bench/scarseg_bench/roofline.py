"""Share of the machine's arithmetic that a network uses."""

from __future__ import annotations

import time

import torch

from scarseg_bench.cases import Case
from scarseg_export.deploy.model_io import load_model
from scarseg_export.verify.inspect_model import convolution_flops
from scarseg_infer.models import model_path

SIZE = 1536
LONGEST_S = 8.0


def peak_gflops(threads: int, dtype: torch.dtype) -> float:
    """Measured rate of matrix products, 10⁹ operations a second: best of several."""
    torch.set_num_threads(threads)
    first, second = (torch.rand(SIZE, SIZE).to(dtype) for _ in range(2))
    best = float("inf")
    began = time.perf_counter()
    for _ in range(6):
        start = time.perf_counter()
        first @ second
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - began > LONGEST_S:
            break
    return 2 * SIZE**3 / best / 1e9


def network_gflop(case: Case) -> float:
    """Work of the convolutions for one stack."""
    sizes = {"S": case.slices, "H": case.height, "W": case.width}
    with model_path(None) as path:
        return float(convolution_flops(load_model(path), sizes)["convolution_gflop"])
