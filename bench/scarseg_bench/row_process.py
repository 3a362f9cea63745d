"""A row's process, seen from the benchmark: started, asked, stopped for real, let go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from typing import Any

from scarseg_bench.nnunet_peer import NNUNET
from scarseg_bench.pairing import BrokenError, Run
from scarseg_bench.processor_time import group_cpu_s
from scarseg_bench.rows import Row
from scarseg_bench.worker import serve

ANSWER_S = 600.0
CAN_PARK = hasattr(signal, "SIGSTOP")


class RowProcess:
    """One row in a process group of its own.

    Args:
        arrays: inputs of the network.
        patience_s: how long any answer may take.
    """

    def __init__(
        self, row: Row, arrays: dict[str, Any], threads: int, patience_s: float = ANSWER_S
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._row, self._patience_s = row, patience_s
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, row.scope, row.way, row.precision, threads)
        # nnU-Net starts processes of its own, which a daemon may not.
        daemon = row.way != NNUNET
        self._process = context.Process(target=serve, args=arguments, daemon=daemon)
        self._process.start()
        theirs.close()  # so that a worker that dies is seen
        with suppress(OSError):  # it ended already: the first answer says so
            self._pipe.send(arrays)

    def start(self) -> None:
        """Wait until it is ready and park it; the row then knows load and first run. Raises
        BrokenError."""
        answer = self._answer()
        self._row.load_s, self._row.first_s = answer["load_s"], answer["first_s"]
        self.park()

    def run(self) -> Run:
        """One run in the process. Raises BrokenError."""
        return Run(*self.ask("run"))

    def ask(self, question: str) -> Any:
        """Answer of the process. Raises BrokenError."""
        try:
            self._pipe.send(question)
        except OSError as error:
            raise BrokenError("the process ended") from error
        return self._answer()

    def park(self) -> None:
        """Stop all its threads, also those that wait by spinning. Not on Windows."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Go on."""
        self._signal("SIGCONT")

    def cpu_s(self) -> float | None:
        """Processor time of it and of what it started."""
        return group_cpu_s(self._process.pid or 0)

    def stop(self) -> None:
        """End it."""
        self.resume()
        with suppress(OSError):
            self._pipe.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._signal("SIGKILL")  # with the compilers that it may have started
            self._process.kill()

    def _signal(self, name: str) -> None:
        if CAN_PARK and self._process.pid:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, getattr(signal, name))

    def _answer(self) -> Any:
        if not self._pipe.poll(self._patience_s):
            raise BrokenError(f"no answer in {self._patience_s:.0f} s")
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise BrokenError("the process ended") from error
        if isinstance(answer, dict) and "error" in answer:
            raise BrokenError(answer["error"])
        return answer
