"""Reading one pair of study and ECG while another is computed, from any source of pairs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from scarseg_infer.arguments import check_inputs
from scarseg_infer.ecg.evidence import find_record, search_for
from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.study.read import study_stack
from scarseg_infer.study.series_verdict import PreferredKind
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import CancelledError, RunTimeoutError, ScarsegError, UsageError
from scarseg_runtime.run_control import CancelSignal, RunControl

Pair = tuple[str | Path | LgeStack, str | Path | EcgRecord | None]

_END: Final = object()
_LEAST_S: Final = 1e-3
"""Left to a pair whose reading took all its time but came to an end."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class ReadPair:
    """A pair that was read."""

    stack: LgeStack
    record: EcgRecord | None
    seconds: float
    """Time that reading took."""


class ReadAhead:
    """Takes and reads one pair at a time; itself the signal that ends the reading."""

    def __init__(
        self,
        pairs: Iterable[Pair],
        prefer: PreferredKind,
        cancel: CancelSignal | None,
        timeout_s: float | None,
    ) -> None:
        self._pairs = iter(pairs)
        self._prefer, self._cancel = prefer, cancel
        self.timeout_s = timeout_s
        """Of each pair, reading and computing together."""
        self._stopped = False

    def start(self) -> Future[ReadPair | ScarsegError | None]:
        """Take and read the next pair: what was read, the error of the pair, or None at the end.

        The future raises what the source of pairs raises. The thread keeps no process alive: a
        source may wait for ever.
        """
        reading: Future[ReadPair | ScarsegError | None] = Future()

        def work() -> None:
            try:
                reading.set_result(self._next())
            except BaseException as error:  # noqa: BLE001 - it comes out of the future
                reading.set_exception(error)

        threading.Thread(target=work, name="scarseg-read", daemon=True).start()
        return reading

    def stop(self) -> None:
        """Nobody wants more: what is being read ends at its next file."""
        self._stopped = True

    def is_set(self) -> bool:
        """See :class:`CancelSignal`."""
        return self._stopped or (self._cancel is not None and self._cancel.is_set())

    def _next(self) -> ReadPair | ScarsegError | None:
        pair: object = next(self._pairs, _END)
        if pair is _END:
            return None
        start = time.monotonic()
        control = RunControl(self, self.timeout_s)
        try:
            stack, record = self._read(pair, control)
        except ScarsegError as error:
            return error
        return ReadPair(stack, record, time.monotonic() - start)

    def _read(self, pair: object, control: RunControl) -> tuple[LgeStack, EcgRecord | None]:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise UsageError("this is no pair of study and ECG", "Pass (study, ECG or None)")
        study, ecg = pair
        check_inputs(study, ecg)

        def watch(_: float) -> None:
            control.check()

        search = search_for(study, ecg)
        stack = study_stack(study, None, self._prefer, watch, search.look if search else None)
        control.check()
        record, found = find_record(ecg, search)
        return replace(stack, warnings=(*stack.warnings, *found)), record


def run_pairs(
    ahead: ReadAhead, usable: Callable[[], object], run: Callable[[ReadPair, float | None], T]
) -> Iterator[T | ScarsegError]:
    """Results of ``run`` for each pair in the seconds left to it, or the pair's error.

    Args:
        usable: raises what makes it senseless to read any more.
    """
    waiting = RunControl(ahead)
    try:
        usable()
        reading = ahead.start()
        while (read := _awaited(reading, waiting)) is not None:
            waiting.check()
            usable()
            reading = ahead.start()
            yield _result_or_error(read, run, ahead.timeout_s)
    finally:
        ahead.stop()


def _result_or_error(
    read: ReadPair | ScarsegError,
    run: Callable[[ReadPair, float | None], T],
    timeout_s: float | None,
) -> T | ScarsegError:
    """Raises CancelledError: that is the end of all, not the error of a pair."""
    try:
        if isinstance(read, ScarsegError):
            raise read
        return run(read, timeout_s and max(timeout_s - read.seconds, _LEAST_S))
    except ScarsegError as error:
        if isinstance(error, CancelledError) and not isinstance(error, RunTimeoutError):
            raise
        return error


def _awaited(coming: Future[T], control: RunControl) -> T:
    """Wait for what comes, or raise what came instead; CancelledError where ``control`` stops it
    before."""
    control.wait(lambda limit_s: bool(wait([coming], limit_s).done))
    return coming.result()
