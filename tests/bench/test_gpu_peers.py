"""The GPU rows of PyTorch, on the CPU: all but the calls of CUDA itself."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from scarseg_bench.cases import Case, case_arrays
from scarseg_bench.gpu_peers import GPU_WAYS, HALF, REFERENCE_WAY, TF32, GpuSession
from scarseg_bench.worker import NetworkRun
from scarseg_infer.models import model_path
from scarseg_runtime.model import Model


class HostTiming:
    """The CPU as a device, which has done its work when a call returns."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def pinned(self, like: Tensor) -> Tensor:
        """Plain memory."""
        return torch.empty(like.shape, dtype=like.dtype)

    def mark(self) -> float:
        """The time."""
        return time.perf_counter()

    def between_s(self, first: float, second: float) -> float:
        """The difference."""
        return second - first

    def wait(self) -> None:
        """Nothing is left."""


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return case_arrays(Case(1, 64, 64))


@pytest.fixture
def flags() -> object:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_outputs_are_those_of_the_model_file(arrays, flags) -> None:
    with model_path(None) as path:
        run = NetworkRun(GpuSession(path, REFERENCE_WAY, HostTiming()), arrays)
        wanted = Model.load(path, "cpu", "fp32").session.execute(arrays)
    assert not torch.backends.cudnn.allow_tf32
    first, second = run(), run()
    assert set(first) == set(wanted)
    assert (first["labels"] == wanted["labels"]).mean() >= 0.999
    assert first["scar_probability"] is not second["scar_probability"]
    parts = run.phases_s()
    assert set(parts) == {"enqueue", "h2d", "device", "d2h"}
    assert parts["device"] > 0
    assert parts["h2d"] + parts["device"] + parts["d2h"] <= parts["enqueue"]


def test_outputs_stay_when_the_next_study_runs(arrays, flags) -> None:
    with model_path(None) as path:
        session = GpuSession(path, TF32, HostTiming())
    assert torch.backends.cudnn.allow_tf32
    first = session.execute(arrays)
    kept = first["scar_probability"].copy()
    other = session.execute(arrays | {"lge": arrays["lge"][:, ::-1].copy()})
    assert np.array_equal(first["scar_probability"], kept)
    assert not np.array_equal(other["scar_probability"], kept)


def test_half_precision_keeps_the_types_of_the_contract(arrays, flags) -> None:
    with model_path(None) as path:
        session = GpuSession(path, HALF, HostTiming())
    found = session.execute(arrays)
    assert found["labels"].dtype == np.uint8
    assert found["scar_probability"].dtype == np.float32


def test_every_way_of_the_issue_is_there() -> None:
    words = ("eager fp32", "eager tf32", "autocast fp16, channels last", "CUDA graph",
             "reduce-overhead fp32", "reduce-overhead fp16")  # fmt: skip
    assert all(any(word in way for way in GPU_WAYS) for word in words)
