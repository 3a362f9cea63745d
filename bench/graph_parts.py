"""Operators and time of each part of the reference's graph, for one model file or several.

    python bench/graph_parts.py [MODEL ...] [--threads 2] [--runs 20]

Prints the operators and the milliseconds in ONNX Runtime of each part, and then the time of a
whole run of each file, in ONNX Runtime and where it is installed OpenVINO, all in turn: on the
clock, and of the processor, from which other processes take less. OpenVINO runs in FP32, and in
BF16 where the CPU has it and the FP16 variant lies beside the file. The study has 12 slices of
256 × 216 pixels. Parts are told by the convolutions between which an operator stands.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_infer.models import model_path
from scarseg_runtime.model_file.read import with_half_variant
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.providers.onnxruntime.api import import_onnxruntime
from scarseg_runtime.providers.openvino.session import OpenvinoSession
from scarseg_runtime.providers.registry import Candidate, candidates

FIRST = "pixel grid, coarse view, normalisation"
STARTS = {
    "localiser.far.unet.down.0.0.": "U-Net of the coarse look",
    "localiser.close.unet.down.0.0.": "U-Net of the close looks",
    "image.unet.down.0.0.": "U-Net of the image",
    "image.scar.0.": "scar head",
    "ecg.lead.0.": "ECG encoder",
}
"""Part that begins with the operator that takes such a weight."""
ENDS = {
    "localiser.far.head.": "centre, turn, close view, normalisation",
    "localiser.close.head.": "centres, turn, crop, normalisation",
    "image.anatomy.": "signal against remote wall",
    "image.scar_head.": "AHA map, evidence, heart size",
    "ecg.size.": "agreement, fusion, TAFF, back to the study",
}
"""Part that begins after it."""
LAYOUT = "layout changes"
"""And whatever ONNX Runtime runs under a name of its own."""


def parts_of(model: onnx.ModelProto) -> dict[str, str]:
    """Part of every operator, by its name and by those of its outputs."""
    part = FIRST
    found: dict[str, str] = {}
    for node in model.graph.node:
        part = _named(STARTS, node) or part
        found |= dict.fromkeys((node.name, *node.output), part)
        part = _named(ENDS, node) or part
    return found


def _named(marks: Mapping[str, str], node: onnx.NodeProto) -> str | None:
    hits = (name for mark, name in marks.items() for i in node.input if i.startswith(mark))
    return next(hits, None)


def study() -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of the graph: a simulated patient."""
    case = sample_case(4)
    pixels = case.image(256, 1.4, 20.0, 12).pixels[:, :, 20:236]
    values = {
        "lge": pixels, "pixel_spacing": np.full(2, 1.4),
        "slice_level": slice_levels(np.arange(len(pixels))),
        "ecg": beats_of([case], np.array([False]))[0],
        "gap_days": np.array([3.0]), "ecg_valid": np.array([1.0]),
    }  # fmt: skip
    return {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}


def onnx_run(path: Path, threads: int, profile: Path | None = None) -> Any:
    """A session on the CPU, with a profile where a file is named for it."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait busily would take the cores of the other file's run.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def milliseconds(path: Path, parts: Mapping[str, str], threads: int, runs: int) -> Counter[str]:
    """Time of each part, mean of ``runs``."""
    inputs = study()
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_run(path, threads, Path(folder) / "profile")
        for _ in range(runs):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found: Counter[str] = Counter()
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        if event.get("cat") == "Node" and name != event["name"]:
            plain = (name, name.removesuffix("_nchwc"), name.split("/")[0])
            part = next((parts[n] for n in plain if n in parts), LAYOUT)
            found[part] += event["dur"] / 1000.0 / runs
    return found


def openvino_runs(path: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """A run in each precision in which OpenVINO computes here."""
    inputs = study()

    def run_of(candidate: Candidate) -> Callable[[], Any]:
        session = OpenvinoSession.open(candidate.model, candidate.precision, threads, cache=False)
        return lambda: session.execute(inputs)

    return {
        f"OpenVINO {candidate.precision}": run_of(candidate)
        for candidate in candidates(with_half_variant(path))
        if candidate.provider.name == "openvino" and candidate.unusable is None
    }


def whole_runs(path: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """A run in ONNX Runtime, and in OpenVINO where that is installed."""
    session, inputs = onnx_run(path, threads), study()
    return {"ONNX Runtime": lambda: session.run(None, inputs), **openvino_runs(path, threads)}


def medians_ms(ways: list[Callable[[], Any]], runs: int) -> list[tuple[float, float]]:
    """Median time of each way, on the clock and of the processor, all in turn."""
    times: list[list[tuple[float, float]]] = [[] for _ in ways]
    for number in range(runs + 3):
        for way, taken in zip(ways, times, strict=True):
            before = time.perf_counter(), time.process_time()
            way()
            if number >= 3:
                taken.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    return [tuple(1000.0 * np.median(taken, axis=0)) for taken in times]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    with model_path(None) as shipped:
        paths = options.models or [shipped]
        for path in paths:
            model = onnx.load(path)
            parts = parts_of(model)
            count = Counter(parts[node.name] for node in model.graph.node)
            taken = milliseconds(path, parts, options.threads, options.runs)
            print(f"\n{path.name}\n| part | operators | ms |\n|---|---|---|")
            for part in dict.fromkeys((*parts.values(), LAYOUT)):
                print(f"| {part} | {count[part]} | {taken[part]:.1f} |")
            print(f"| all | {count.total()} | {taken.total():.0f} |")
        ways = [(f"{path.name}, {name}", run) for path in paths
                for name, run in whole_runs(path, options.threads).items()]  # fmt: skip
        print("\n| whole runs in turn | ms, median | processor, ms |\n|---|---|---|")
        medians = medians_ms([run for _, run in ways], options.runs)
        for (name, _), (clock, processor) in zip(ways, medians, strict=True):
            print(f"| {name} | {clock:.0f} | {processor:.0f} |")


if __name__ == "__main__":
    main()
