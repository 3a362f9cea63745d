"""A cold process: start to files on disk, of the bundled demonstration."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scarseg_bench.pairing import BrokenError, Run
from scarseg_bench.processor_time import ended_children_s
from scarseg_bench.rows import REFERENCE, Row


class ColdStart:
    """One row whose every run is a process of its own; nothing of it lives in between."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._cpu_s = 0.0

    def run(self) -> Run:
        """One process. Raises BrokenError where it fails."""
        with tempfile.TemporaryDirectory() as folder:
            start, before = time.perf_counter(), ended_children_s()
            _run("-m", *self._module(folder))
            self._cpu_s += ended_children_s() - before
            return Run(time.perf_counter() - start)

    def peak_rss_mb(self) -> float:
        """Peak memory of one more process. Raises BrokenError."""
        with tempfile.TemporaryDirectory() as folder:
            said = _run("-m", "scarseg_bench.memory", *self._module(folder))
        return float(said.split()[-1])

    def park(self) -> None:
        """Nothing lives."""

    def resume(self) -> None:
        """Nothing to wake."""

    def cpu_s(self) -> float:
        """Processor time of this row's processes so far."""
        return self._cpu_s

    def _module(self, folder: str) -> list[str]:
        out = str(Path(folder) / "out")
        if self._row.way == REFERENCE:
            return ["scarseg_bench.peers", out]
        words = self._row.name.split()[1:]  # of the command line, as the table shows them
        return ["scarseg_infer.cli", "--demo", "-q", "-o", out, *words]


def _run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    try:
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout
    except subprocess.CalledProcessError as error:
        raise BrokenError(f"the process ended with code {error.returncode}") from error
