"""SIGTERM ends a command as Ctrl-C does, in order: what it had begun to write is removed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGTERM


class Sigterm:
    """Somebody sent SIGTERM: a batch system, or the machine that shuts down.

    At it KeyboardInterrupt is raised: while Ray waits in C++ it hands on no other exception, and
    makes a SystemError of most.

    For commands: a library takes no signals from its host.
    """

    came = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """SIGTERM is ours inside, and what it was outside."""
        put_back = handler_kept()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._interrupt)
        try:
            yield
        finally:
            put_back()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> NoReturn:
        self.came = True
        raise KeyboardInterrupt


def handler_kept() -> Callable[[], object]:
    """Puts back, when it is called, what happens at SIGTERM now: Ray takes the signal at each start
    and end."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    handler = signal.getsignal(signal.SIGTERM)
    return lambda: signal.signal(signal.SIGTERM, handler)
