"""Keeping other people's file libraries from talking: their messages quote header values."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

_TALKATIVE_LOGGERS: Final = ("pydicom", "nibabel.global")
_SILENT: Final = logging.CRITICAL + 1


class _ReadingThreads(threading.local):
    """Stands where a warnings filter has the pattern of a message: it matches every message in a
    thread that is reading, none in the others, whose warnings are not ours to hide."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        """What was silenced, for each of the blocks that this thread is in."""

    def match(self, message: str) -> bool:
        """As a compiled pattern would."""
        for messages in self.heard:
            messages.append(message)
        return bool(self.heard)


_LOCK: Final = threading.Lock()
_READING: Final = _ReadingThreads()
_FILTER: Final = ("ignore", _READING, Warning, None, 0)
_levels: list[int] = []
"""Of the talkative loggers as they were before; empty while nobody reads."""
_readers = 0


@contextmanager
def quiet_readers() -> Iterator[list[str]]:
    """Silence warnings and loggers of the DICOM and NIfTI libraries while inside.

    pydicom quotes the offending value in its warnings, and a value of a header may identify
    the patient; nibabel prints header problems to stderr by itself. What we find wrong we say
    in our own words, for which the silenced warnings are given. Several threads may be inside at
    once; when the last leaves, everything is as it was. Warnings are silenced for the threads
    inside, the loggers of these two libraries for the whole process.
    """
    _enter()
    messages: list[str] = []
    _READING.heard.append(messages)
    try:
        yield messages
    finally:
        _READING.heard.pop()
        _leave()


def _enter() -> None:
    global _readers
    with _LOCK:
        if _readers == 0:
            for logger in map(logging.getLogger, _TALKATIVE_LOGGERS):
                _levels.append(logger.level)
                logger.setLevel(_SILENT)
        _readers += 1
        # Again for every reader: a thread of the host that leaves its own catch_warnings puts
        # back an older list, without our filter.
        filters = _warning_filters()
        if _FILTER not in filters:
            filters.insert(0, _FILTER)


def _leave() -> None:
    global _readers
    with _LOCK:
        _readers -= 1
        if _readers:
            return
        for name, level in zip(_TALKATIVE_LOGGERS, _levels, strict=True):
            logging.getLogger(name).setLevel(level)
        _levels.clear()
        filters = _warning_filters()
        if _FILTER in filters:
            filters.remove(_FILTER)


def _warning_filters() -> list[Any]:
    """The list that ``warnings`` looks through; it has no call that takes such a filter."""
    return cast(list[Any], warnings.filters)
