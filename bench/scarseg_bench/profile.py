"""Profile of where the time goes: operators of the network, stages of a warm study.

A profiler slows what it measures, so shares count here, not milliseconds.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from scarseg_bench.cases import Case, case_arrays
from scarseg_infer.models import model_path

RUNS = 5
SHOWN = 6


def profile(threads: int) -> dict[str, Any]:
    """Share of each kind of operator by provider, and of each stage of a warm study."""
    arrays = case_arrays(Case())
    found = {"cpu fp32": _onnxruntime(arrays, threads)}
    with suppress(ImportError):
        found["openvino fp32"] = _openvino(arrays, threads)
    return {
        "operators": {name: _shares(times) for name, times in found.items()},
        "stages": _stages(threads),
    }


def as_lines(document: dict[str, Any]) -> list[str]:
    """Markdown."""
    lines = []
    for name, shares in document["operators"].items():
        largest = ", ".join(f"{kind} {100 * s:.0f} %" for kind, s in list(shares.items())[:SHOWN])
        lines.append(f"\nOperators of the network, {name}: {largest}.")
    stages = ", ".join(f"{stage} {100 * s:.0f} %" for stage, s in document["stages"].items())
    return [*lines, f"\nStages of a warm study: {stages}."]


def _shares(times: Counter[str]) -> dict[str, float]:
    total = sum(times.values())
    return {kind: time / total for kind, time in times.most_common()}


def _onnxruntime(arrays: dict[str, Any], threads: int) -> Counter[str]:
    from scarseg_runtime.providers.onnxruntime.api import import_onnxruntime, session_options

    options = session_options(threads)
    options.enable_profiling = True
    times: Counter[str] = Counter()
    with model_path(None) as path, tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = import_onnxruntime().InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        for _ in range(RUNS):
            session.run(None, arrays)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
    return times


def _openvino(arrays: dict[str, Any], threads: int) -> Counter[str]:
    from scarseg_runtime.providers.openvino.api import import_openvino

    hints = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": True,
    }  # fmt: skip
    times: Counter[str] = Counter()
    with model_path(None) as path:
        request = (
            import_openvino().Core().compile_model(str(path), "CPU", hints).create_infer_request()
        )
        for index in range(RUNS + 1):
            request.infer(arrays, share_inputs=True)
            if index:  # the first run also makes kernels
                for node in request.profiling_info:
                    times[node.node_type] += round(node.real_time.total_seconds() * 1e6)
    return times


def _stages(threads: int) -> dict[str, float]:
    from scarseg_infer import Segmenter, read_ecg, read_study
    from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

    segmenter = Segmenter.from_model(threads=threads)
    stack, record = read_study(DEMO_STUDY), read_ecg(DEMO_ECG)
    times: Counter[str] = Counter()
    for index in range(RUNS + 1):
        result = segmenter.run(stack, record)
        if index:
            times.update({k: round(1e3 * ms) for k, ms in result.timings_ms.items()})
    return _shares(times)
