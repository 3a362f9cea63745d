"""A host program that embeds the package, as a vendor would write it.

Run by test_embedding.py in a process of its own; type-checked with the package. It prints nothing
but a JSON line at its end: what of the process is not as it was, and what was done unasked.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_infer import (
    LEADS,
    CancelSignal,
    EcgRecord,
    Label,
    LgeStack,
    PreferredKind,
    Progress,
    Quantities,
    ScarResult,
    Segmenter,
    Stage,
    read_ecg,
    read_study,
    stack_from_arrays,
)
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

UNASKED = {
    "socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request",
    "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec",
    "webbrowser.open", "pickle.find_class",
}  # fmt: skip
"""Audit events of a library that talks to others, starts programs or loads foreign code."""


def state() -> dict[str, Any]:
    """State that belongs to the host: everything here must be the same before and after."""
    root = logging.getLogger()
    return {
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "root logger": [root.level, len(root.handlers), logging.raiseExceptions],
        "levels": {
            name: logger.level
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger) and logger.level
        },
        "log filters": {
            name: list(logger.filters)
            for name, logger in logging.root.manager.loggerDict.items()
            if isinstance(logger, logging.Logger) and logger.filters
        },
        "warning filters": [str(found) for found in warnings.filters],
        "hooks": [str(hook) for hook in (sys.excepthook, threading.excepthook, sys.displayhook)],
        "streams": [id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "file mode": [os.umask(0o077), os.umask(0o022)][1],
        "numpy errors": np.geterr(),
        "numpy random": np.random.get_state()[1].tolist(),  # type: ignore[index]
        "random": hash(random.getstate()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
    }


def described(stack: LgeStack) -> LgeStack:
    """A stack as a scanner's program has it: arrays of whatever types it happens to use."""
    pixels: NDArray[np.uint16] = np.clip(stack.pixels, 0, 4095).astype(np.uint16)
    spacing: NDArray[np.float32] = np.array(stack.pixel_spacing_mm, np.float32)
    orientation: NDArray[np.float64] = np.concatenate([stack.row_direction, stack.column_direction])
    return stack_from_arrays(
        pixels, spacing, [list(place) for place in stack.origins_mm], orientation
    )


def run_on_arrays(segmenter: Segmenter, stack: LgeStack, ecg: EcgRecord) -> Quantities:
    """An ECG in single precision and leads in a list; a callback and a signal of the host's own."""

    def told(stage: Stage, done: float) -> None:
        assert stage and 0 <= done <= 1

    progress: Progress = told
    cancel: CancelSignal = threading.Event()
    samples: NDArray[np.float32] = ecg.signals_mv.astype(np.float32)
    leads = [name for name in ecg.lead_names if name in LEADS]
    record = EcgRecord(samples, 500, leads)
    result = segmenter.run(described(stack), record, gap_days=3, progress=progress, cancel=cancel)
    assert (result.labels == Label.SCAR).any() and result.ecg.weight > 0
    return result.quantities


def host(seen: list[float]) -> tuple[ScarResult, NDArray[np.uint8]]:
    """Load, warm up, run on files and on arrays, with a time limit and progress."""
    stop = threading.Event()
    prefer: PreferredKind = "PSIR"
    with Segmenter.from_model(provider=sys.argv[1], threads=1) as segmenter:
        segmenter.warm_up(4, 96, 80)
        result = segmenter.run(
            DEMO_STUDY, DEMO_ECG, cancel=stop, timeout_s=300, prefer=prefer,
            progress=lambda stage, done: seen.append(done),
        )  # fmt: skip
        stack: LgeStack = read_study(DEMO_STUDY)
        record: EcgRecord = read_ecg(DEMO_ECG)
        again = segmenter.run(stack, record, cancel=stop)
        run_on_arrays(segmenter, stack, record)
    return result, again.labels


def main() -> None:
    """Print what changed, and what was done that no library should do unasked."""
    os.umask(0o022)
    unasked: list[str] = []
    sys.addaudithook(lambda event, _: unasked.append(event) if event in UNASKED else None)
    before = state()
    seen: list[float] = []
    result, again = host(seen)
    after = state()
    changed = {name: after[name] for name in before if before[name] != after[name]}
    sound = np.array_equal(result.labels, again) and seen[-1] == 1.0
    print(json.dumps({"changed": changed, "sound": bool(sound), "unasked": unasked}))  # noqa: T201


if __name__ == "__main__":
    main()
