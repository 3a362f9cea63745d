"""Rows measured in turn, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scarseg_bench.cases import Case
from scarseg_bench.peers import COMPILED, EAGER, WAYS
from scarseg_bench.worker import rss_over_studies, serve
from scarseg_infer.models import model_path
from scarseg_runtime.gates import MIN_LABEL_AGREEMENT
from scarseg_runtime.model_file import with_half_variant
from scarseg_runtime.providers import candidates

NETWORK, STUDY, COLD = "network", "warm study", "cold process"
REFERENCE = f"pytorch {EAGER}"
ANSWER_S = 600.0


@dataclass
class Row:
    """One way of running, in one scope."""

    scope: str
    way: str
    precision: str
    error: str | None = None
    """Why there is no number."""
    times_s: list[float] = field(default_factory=list)
    load_s: float | None = None
    first_s: float | None = None
    peak_rss_mb: float | None = None
    label_agreement: float | None = None
    max_abs_probability_difference: float | None = None

    @property
    def name(self) -> str:
        """As in tables."""
        return self.way if self.way.startswith("pytorch") else f"{self.way} {self.precision}"

    @property
    def right(self) -> bool:
        """Whether its labels are those of PyTorch FP32, by the gate."""
        return self.label_agreement is None or self.label_agreement >= MIN_LABEL_AGREEMENT


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
    return [*rows, Row(COLD, REFERENCE, ""), Row(COLD, "scarseg-infer", "auto")]


def measure(rows: list[Row], runs: int, threads: int, case: Case) -> None:
    """Fill ``rows`` in: one run of each in turn, ``runs`` times."""
    with ExitStack() as open_workers:
        workers = {}
        for row in rows:
            if row.error is None and row.scope != COLD:
                worker = _Worker(row, case, threads)
                open_workers.callback(worker.stop)
                if worker.start():
                    workers[id(row)] = worker
        for index in range(runs):
            for row in rows:
                if id(row) in workers:
                    row.times_s.append(workers[id(row)].ask("run"))
                elif row.scope == COLD and row.error is None and index < max(3, runs // 5):
                    row.times_s.append(_cold_s(row))
        _compare(rows, workers)


class _Worker:
    """A row's process."""

    def __init__(self, row: Row, case: Case, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._row = row
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, row.scope, row.way, row.precision, case, threads)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that a worker that dies is seen

    def start(self) -> bool:
        """Wait until it is ready; the row then knows load and first run, or why it cannot."""
        answer = self._answer()
        if "error" in answer:
            self._row.error = answer["error"]
            return False
        self._row.load_s, self._row.first_s = answer["load_s"], answer["first_s"]
        return True

    def ask(self, question: str) -> Any:
        self._pipe.send(question)
        return self._answer()

    def stop(self) -> None:
        if self._process.is_alive():
            self._pipe.send("stop")
        self._process.join(10)

    def _answer(self) -> Any:
        if not self._pipe.poll(ANSWER_S):
            return {"error": f"no answer in {ANSWER_S:.0f} s"}
        try:
            return self._pipe.recv()
        except EOFError:
            return {"error": "the process ended"}


def _compare(rows: list[Row], workers: dict[int, _Worker]) -> None:
    """Parity of every row with PyTorch FP32 of its scope, and its memory."""
    for scope in (NETWORK, STUDY):
        mine = [row for row in rows if row.scope == scope and id(row) in workers]
        reference = next((row for row in mine if row.way == REFERENCE), None)
        theirs = workers[id(reference)].ask("outputs") if reference else None
        for row in mine:
            ours = workers[id(row)].ask("outputs")
            row.peak_rss_mb = workers[id(row)].ask("rss")
            if theirs is not None:
                row.label_agreement = float((ours["labels"] == theirs["labels"]).mean())
                apart = np.abs(ours["scar_probability"] - theirs["scar_probability"])
                row.max_abs_probability_difference = float(apart.max())


def _cold_s(row: Row) -> float:
    """Start to files on disk, of the bundled demonstration."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out")
        command = [sys.executable, "-m", "scarseg_infer.cli", "--demo", "-q", "-o", out]
        if row.way == REFERENCE:
            command = [sys.executable, "-m", "scarseg_bench.peers", out]
        start = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start


def memory_over_studies(studies: int, threads: int) -> list[list[float]]:
    """[study, resident MB] of one process that segments the demonstration again and again."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=rss_over_studies, args=(theirs, studies, threads))
    process.start()
    seen: list[list[float]] = ours.recv()
    process.join()
    return seen
