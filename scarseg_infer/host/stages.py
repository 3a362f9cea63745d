"""The stages of a run: how long each took, how far the run is, and where it may be stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal

from scarseg_runtime.run_control import RunControl

Stage = Literal["read_study", "read_ecg", "load_model", "prepare_ecg", "network", "quantify"]

Progress = Callable[[Stage, float], None]
"""Told the stage and how much of the run is done, from 0 to 1, never less than before."""

DONE_BEFORE: Final[dict[Stage, float]] = {
    "read_study": 0.0,
    "read_ecg": 0.35,
    "load_model": 0.4,
    "prepare_ecg": 0.45,
    "network": 0.5,
    "quantify": 0.9,
}
"""Share of a run that is done when a stage begins, by what they take in the demo study."""


_END: Final = dict(zip(DONE_BEFORE, [*list(DONE_BEFORE.values())[1:], 1.0], strict=True))


class Stages:
    """Times the stages of one run, in the order in which they are entered."""

    def __init__(self, control: RunControl, progress: Progress | None) -> None:
        self.control = control
        self.times_ms: dict[str, float] = {}
        self._progress = progress
        self._now: Stage = "read_study"

    def stage(self, name: Stage) -> AbstractContextManager[None]:
        """Enter a stage, unless the run is to stop. Raises CancelledError or RunTimeoutError, and
        what the host's callback raises: not in a generator, which makes StopIteration another."""
        self.control.check()
        self._now = name
        self._tell(name, DONE_BEFORE[name])
        return self._timed(name)

    @contextmanager
    def _timed(self, name: Stage) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.times_ms[name] = (time.perf_counter() - start) * 1000.0

    def finish(self) -> None:
        """The last chance to stop; then the run is done. Raises as :meth:`stage`."""
        self.part(1.0)

    def part(self, share: float) -> None:
        """Report the done part of the present stage, from 0 to 1. Raises as :meth:`stage`."""
        self.control.check()
        begin, end = DONE_BEFORE[self._now], _END[self._now]
        self._tell(self._now, begin + share * (end - begin))

    def _tell(self, name: Stage, done: float) -> None:
        if self._progress is not None:
            self._progress(name, done)
