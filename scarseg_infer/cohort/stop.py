"""SIGTERM ends a run as Ctrl-C does: workers are ended and the tables are written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_CODE = 128 + signal.SIGTERM


class Terminated(BaseException):
    """Somebody sent SIGTERM: a batch system, or the machine that shuts down."""


def take_sigterm() -> None:
    """Raise Terminated at SIGTERM. Again after each start and end of Ray, which takes it too."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)


@contextmanager
def sigterm_taken() -> Iterator[None]:
    """SIGTERM raises Terminated inside, and is what it was outside."""
    before = signal.getsignal(signal.SIGTERM)
    take_sigterm()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
