"""Control of a host over a run that is under way: cancel it, and bound its time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from scarseg_runtime.errors import CancelledError, RunTimeoutError, UsageError

POLL_S: Final = 0.01
"""Time between two looks at something that cannot be waited for: far below what a user notices, and
a hundred wake-ups a second cost nothing beside a network."""


class CancelSignal(Protocol):
    """``threading.Event`` or anything else that tells whether to stop."""

    def is_set(self) -> bool:
        """True once the run is to stop."""


class RunControl:
    """The limits of one run; its clock starts when it is made.

    Args:
        cancel: the run stops soon after this is set.
        timeout_s: the run stops soon after this many seconds.

    Raises:
        UsageError: ``timeout_s`` is not a number above 0.
    """

    def __init__(self, cancel: CancelSignal | None = None, timeout_s: float | None = None) -> None:
        if timeout_s is not None and not (math.isfinite(timeout_s) and timeout_s > 0):
            raise UsageError("the time limit is not a number of seconds above 0", "Leave it out")
        self._cancel = cancel
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def can_stop(self) -> bool:
        """True where this run may be stopped at all."""
        return self._cancel is not None or self._deadline is not None

    @property
    def stopped(self) -> bool:
        """True once the run is to stop."""
        return self._cancelled() or self._late()

    def check(self) -> None:
        """Go on, or raise CancelledError or RunTimeoutError."""
        if self._cancelled():
            raise CancelledError("the run was cancelled")
        if self._late():
            raise RunTimeoutError("the run took longer than its time limit")

    def wait(self, ready: Callable[[float], bool]) -> None:
        """Wait for something that takes a time limit in seconds and says whether it came.

        Raises:
            CancelledError, RunTimeoutError: the run is to stop before that.
        """
        while not ready(POLL_S if self.can_stop else threading.TIMEOUT_MAX):
            self.check()

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` once, in another thread, if the run is to stop while inside.

        What is inside may then fail in its own way: leaving raises CancelledError or
        RunTimeoutError in its place, or what the host's signal itself raised.
        """
        if not self.can_stop:
            yield
            return
        over = threading.Event()
        raised: list[BaseException] = []
        watch = threading.Thread(
            target=self._watch, args=(over, stop, raised), name="scarseg-watch"
        )
        watch.start()
        try:
            try:
                yield
            finally:
                over.set()
                watch.join()
        except Exception:
            self._raise(raised)
            raise
        self._raise(raised)

    def _raise(self, raised: list[BaseException]) -> None:
        """Raise what the host's signal raised, or CancelledError or RunTimeoutError, if
        anything."""
        for error in raised:
            raise error
        self.check()

    def _watch(
        self, over: threading.Event, stop: Callable[[], None], raised: list[BaseException]
    ) -> None:
        try:
            while not over.wait(POLL_S):
                if self.stopped:
                    stop()
                    return
        except BaseException as error:  # noqa: BLE001 - the host's own: raised again in its run
            raised.append(error)
            stop()

    def _cancelled(self) -> bool:
        return self._cancel is not None and self._cancel.is_set()

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


NO_LIMITS: Final = RunControl()
"""Of a run that nobody can stop."""
