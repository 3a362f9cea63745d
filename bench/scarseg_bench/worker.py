"""One row of the benchmark in a process of its own: its memory is its own, and so is its first run.

The parent asks for one run at a time, and stops the process while it measures another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_bench.memory import current_rss_mb, device_used_mb, peak_rss_mb
from scarseg_bench.nnunet_peer import NNUNET, predictor_run

Work = Callable[[], dict[str, Any]]
Arrays = dict[str, NDArray[Any]]

WITHOUT_GRAPH = ", no CUDA graph"
"""Ends the name of a TensorRT row that launches kernel by kernel."""


def serve(pipe: Connection, kind: str, way: str, precision: str, threads: int) -> None:
    """Answer ``run`` with seconds and their parts, ``outputs`` with arrays, ``memory`` with
    megabytes of this process at its peak and of the GPU (None without one)."""
    if hasattr(os, "setpgid"):
        # A group of its own, so that it can be stopped with all that it starts. Of the same
        # session: where the benchmark dies, the system wakes and ends what it left stopped.
        os.setpgid(0, 0)
    try:
        arrays: Arrays = pipe.recv()
        before = device_used_mb()
        start = time.perf_counter()
        work = _work(kind, way, precision, arrays, threads)
        loaded = time.perf_counter()
        outputs = work()
        pipe.send({"load_s": loaded - start, "first_s": time.perf_counter() - loaded})
    except Exception as error:  # noqa: BLE001 - a row that cannot run says why
        pipe.send({"error": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"})
        return
    while (question := pipe.recv()) != "stop":
        if question == "run":
            start = time.perf_counter()
            outputs = work()
            seconds = time.perf_counter() - start
            pipe.send((seconds, getattr(work, "phases_s", dict)()))
        elif question == "outputs":
            pipe.send(outputs)
        else:
            after = device_used_mb()
            taken = None if before is None or after is None else after - before
            pipe.send((peak_rss_mb(), taken))


def _work(kind: str, way: str, precision: str, arrays: Arrays, threads: int) -> Work:
    """Make the function that a row calls in one run, giving labels and scar probability."""
    if kind == "warm study":
        return _study(way, precision, threads)
    return NetworkRun(_session(way, precision, threads), arrays)


class NetworkRun:
    """The network alone, on arrays that are ready."""

    def __init__(self, session: Any, arrays: Arrays) -> None:
        self._session, self._arrays = session, arrays

    def __call__(self) -> dict[str, Any]:
        """All outputs."""
        return dict(self._session.execute(self._arrays))

    def phases_s(self) -> dict[str, float]:
        """Parts of the last run, where the session tells them."""
        return dict(getattr(self._session, "phases_s", {}))


def _session(way: str, precision: str, threads: int) -> Any:
    from scarseg_infer.models import model_path
    from scarseg_runtime.model import Model
    from scarseg_runtime.model_file.read import with_half_variant
    from scarseg_runtime.providers.registry import candidates, choose

    with model_path(None) as path:
        if way.startswith("pytorch cuda "):
            from scarseg_bench.gpu_peers import GpuSession
            from scarseg_bench.gpu_timing import CudaTiming

            return GpuSession(path, way.removeprefix("pytorch cuda "), CudaTiming())
        if way.startswith("pytorch "):
            from scarseg_bench.peers import TorchSession

            return TorchSession(path, way.removeprefix("pytorch "), threads)
        if way.endswith(WITHOUT_GRAPH):
            from scarseg_runtime.providers.tensorrt.engine import TensorrtSession

            flavour = way.removesuffix(WITHOUT_GRAPH)
            chosen = choose(candidates(with_half_variant(path)), flavour, precision)
            return TensorrtSession.open(chosen.model, flavour, cuda_graph=False)
        return Model.load(path, way, precision, threads=threads).session


def _study(way: str, precision: str, threads: int) -> Work:
    from scarseg_infer import Segmenter, read_ecg, read_study
    from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

    stack, record = read_study(DEMO_STUDY), read_ecg(DEMO_ECG)
    if way == NNUNET:
        spacing = (float(np.diff(stack.slice_positions_mm).mean()), *stack.pixel_spacing_mm)
        return predictor_run(stack.pixels, spacing, threads)
    if way.startswith("pytorch "):
        from scarseg_bench.peers import torch_segmenter

        segmenter = torch_segmenter(way.removeprefix("pytorch "), threads)
    else:
        segmenter = Segmenter.from_model(provider=way, precision=precision, threads=threads)

    def run() -> dict[str, Any]:
        result = segmenter.run(stack, record)
        return {"labels": result.labels, "scar_probability": result.scar_probability}

    return run


def rss_over_studies(pipe: Connection, studies: int, threads: int) -> None:
    """Send [study, resident MB] while studies are segmented one after the other."""
    work = _study("auto", "auto", threads)
    seen = []
    for index in range(studies):
        work()
        if index % max(1, studies // 50) == 0 or index == studies - 1:
            seen.append([index + 1, current_rss_mb()])
    pipe.send(np.array(seen).tolist())
