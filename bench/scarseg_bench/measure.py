"""Rows measured in turn, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scarseg_bench.cases import Case, case_arrays
from scarseg_bench.nnunet_peer import NNUNET, missing
from scarseg_bench.peers import COMPILED, EAGER, WAYS
from scarseg_bench.worker import WITHOUT_GRAPH, rss_over_studies, serve
from scarseg_infer.models import model_path
from scarseg_runtime.contract import Label
from scarseg_runtime.model_file.gates import passes
from scarseg_runtime.model_file.read import with_half_variant
from scarseg_runtime.providers.registry import candidates

NETWORK, STUDY, COLD = "network", "warm study", "cold process"
REFERENCE = f"pytorch {EAGER}"
OURS = "scarseg-infer --provider"
ANSWER_S = 600.0
ON_GPU = ("tensorrt", "tensorrt-rtx", "cuda")


@dataclass
class Row:
    """One way of running, in one scope."""

    scope: str
    way: str
    precision: str
    error: str | None = None
    """Reason that there is no number."""
    times_s: list[float] = field(default_factory=list)
    load_s: float | None = None
    first_s: float | None = None
    peak_rss_mb: float | None = None
    device_mb: float | None = None
    """Memory taken on the GPU."""
    label_agreement: float | None = None
    max_abs_probability_difference: float | None = None
    burden_difference: float = 0.0
    """Points of LV mass."""
    finite: bool = True

    @property
    def name(self) -> str:
        """As in tables."""
        return (
            self.way
            if self.way.startswith(("pytorch", "nnunet"))
            else f"{self.way} {self.precision}"
        )

    @property
    def right(self) -> bool:
        """True where its results are those of PyTorch FP32, by the gates."""
        return self.label_agreement is None or passes(
            {
                "finite": self.finite, "label_agreement": self.label_agreement,
                "max_scar_dice_difference": 0.0, "max_burden_difference": self.burden_difference,
            }
        )  # fmt: skip


def all_rows() -> list[Row]:
    """Every way in every scope; those that cannot run here carry the reason."""
    rows = [Row(NETWORK, f"pytorch {way}", "") for way in WAYS]
    # Compiling takes minutes; what it gains shows in the network's own table.
    rows += [Row(STUDY, f"pytorch {way}", "") for way in WAYS if way != COMPILED]
    with model_path(None) as path:
        found = candidates(with_half_variant(path))
    rows += [
        Row(scope, c.provider.name, c.precision, error=c.unusable)
        for scope in (NETWORK, STUDY)
        for c in found
    ]
    rows += [
        Row(NETWORK, c.provider.name + WITHOUT_GRAPH, c.precision, error=c.unusable)
        for c in found
        if c.provider.name.startswith("tensorrt")
    ]
    rows.append(Row(STUDY, NNUNET, "", error=missing()))
    return [*rows, Row(COLD, REFERENCE, ""), Row(COLD, OURS, "auto"), Row(COLD, OURS, "cpu")]


def measure(rows: list[Row], runs: int, threads: int, case: Case) -> None:
    """Fill ``rows`` in: one run of each in turn, ``runs`` times."""
    arrays = case_arrays(case)
    with ExitStack() as open_workers:
        workers = {}
        for row in rows:
            if row.error is None and row.scope != COLD:
                worker = _Worker(row, arrays, threads)
                open_workers.callback(worker.stop)
                if worker.start():
                    workers[id(row)] = worker
        for index in range(runs):
            for row in rows:
                if id(row) in workers and row.error is None:
                    answer = workers[id(row)].ask("run")
                    if isinstance(answer, dict):
                        row.error, row.times_s = answer["error"], []
                    else:
                        row.times_s.append(answer)
                elif row.scope == COLD and row.error is None and index < max(3, runs // 5):
                    row.times_s.append(_cold_s(row))
        _compare(rows, workers)


class _Worker:
    """A row's process."""

    def __init__(self, row: Row, arrays: dict[str, Any], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._row = row
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, row.scope, row.way, row.precision, threads)
        # nnU-Net starts processes of its own, which a daemon may not.
        daemon = row.way != NNUNET
        self._process = context.Process(target=serve, args=arguments, daemon=daemon)
        self._process.start()
        theirs.close()  # so that a worker that dies is seen
        with suppress(OSError):  # it ended already: the first answer says so
            self._pipe.send(arrays)

    def start(self) -> bool:
        """Wait until it is ready; the row then knows load and first run, or why it cannot."""
        answer = self._answer()
        if "error" in answer:
            self._row.error = answer["error"]
            return False
        self._row.load_s, self._row.first_s = answer["load_s"], answer["first_s"]
        return True

    def ask(self, question: str) -> Any:
        try:
            self._pipe.send(question)
        except OSError:
            return {"error": "the process ended"}
        return self._answer()

    def stop(self) -> None:
        with suppress(OSError):
            self._pipe.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def _answer(self) -> Any:
        if not self._pipe.poll(ANSWER_S):
            return {"error": f"no answer in {ANSWER_S:.0f} s"}
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            return {"error": "the process ended"}


def _compare(rows: list[Row], workers: dict[int, _Worker]) -> None:
    """Parity of every row with PyTorch FP32 of its scope, and its memory."""
    for scope in (NETWORK, STUDY):
        mine = [r for r in rows if r.scope == scope and id(r) in workers and r.error is None]
        reference = next((row for row in mine if row.way == REFERENCE), None)
        theirs = workers[id(reference)].ask("outputs") if reference else None
        for row in mine:
            ours = workers[id(row)].ask("outputs")
            row.peak_rss_mb, device_mb = workers[id(row)].ask("memory")
            row.device_mb = device_mb if row.way.startswith(ON_GPU) else None
            if theirs is not None and row.way != NNUNET:
                row.finite = all(bool(np.isfinite(value).all()) for value in ours.values())
                row.burden_difference = abs(_burden(ours["labels"]) - _burden(theirs["labels"]))
                row.label_agreement = float((ours["labels"] == theirs["labels"]).mean())
                apart = np.abs(ours["scar_probability"] - theirs["scar_probability"])
                row.max_abs_probability_difference = float(apart.max())


def _burden(labels: NDArray[np.uint8]) -> float:
    """Scar, % of LV mass."""
    scar = int((labels == Label.SCAR).sum())
    wall = scar + int((labels == Label.VIABLE_MYOCARDIUM).sum())
    return 100.0 * scar / wall if wall else 0.0


def _cold_s(row: Row) -> float:
    """Start to files on disk, of the bundled demonstration. The first time its peak memory is
    measured too, in one more run that is not timed."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out")
        module = ["scarseg_infer.cli", "--demo", "-q", "-o", out, "--provider", row.precision]
        if row.way == REFERENCE:
            module = ["scarseg_bench.peers", out]
        if row.peak_rss_mb is None:
            said = _run("-m", "scarseg_bench.memory", *module)
            row.peak_rss_mb = float(said.split()[-1])
        start = time.perf_counter()
        _run("-m", *module)
        return time.perf_counter() - start


def _run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout


def memory_over_studies(studies: int, threads: int) -> list[list[float]]:
    """[study, resident MB] of one process that segments the demonstration again and again."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=rss_over_studies, args=(theirs, studies, threads))
    process.start()
    seen: list[list[float]] = ours.recv()
    process.join()
    return seen
