"""Keeping other people's libraries from talking: their messages quote headers and addresses."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

_TALKATIVE_LOGGERS: Final = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.utils",
    "nibabel.global",
    "dicomweb_client.web",
    "python_multipart.multipart",
    "retrying",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)
"""A filter on a logger is not asked for what its children say."""


class _ReadingThreads(threading.local):
    """Threads that are reading: what they say is silenced, what others say is not ours to hide.

    Stands as a filter of loggers, and in a filter of warnings where a message's pattern would be.
    """

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        """Messages that were silenced, for each of the blocks that this thread is in."""

    def match(self, message: str) -> bool:
        """As a compiled pattern would."""
        for messages in self.heard:
            messages.append(message)
        return bool(self.heard)

    def filter(self, record: logging.LogRecord) -> bool:
        """See :meth:`logging.Filter.filter`: whether the record is let through."""
        return not self.heard


_LOCK: Final = threading.Lock()
_READING: Final = _ReadingThreads()
_FILTER: Final = ("ignore", _READING, Warning, None, 0)
_readers = 0


@contextmanager
def quiet_readers() -> Iterator[list[str]]:
    """Silence warnings and loggers of the DICOM, NIfTI and HTTP libraries in this thread while
    inside.

    pydicom quotes the offending value in its warnings, and a value of a header may identify
    the patient; nibabel prints header problems to stderr by itself. What we find wrong we say
    in our own words, for which the silenced warnings are given. Several threads may be inside at
    once; when the last leaves, everything is as it was. Levels of loggers are not touched.

    Python has one list of warning filters for all threads. So where another thread of the host
    leaves a ``catch_warnings`` block that it entered while this one was inside, our filter stays in
    the list until the next reader leaves; it matches nothing then. Filters that the host sets while
    a thread is inside come before ours up to the next file.
    """
    _enter()
    messages: list[str] = []
    _READING.heard.append(messages)
    try:
        yield messages
    finally:
        _READING.heard.pop()
        _leave()


@contextmanager
def loud_host() -> Iterator[None]:
    """Back in the host's own code, such as a callback: what it says in this thread is heard."""
    heard, _READING.heard = _READING.heard, []
    try:
        yield
    finally:
        _READING.heard = heard
        if heard:
            with _LOCK:
                _put_first()


def _enter() -> None:
    global _readers
    with _LOCK:
        if _readers == 0:
            for logger in map(logging.getLogger, _TALKATIVE_LOGGERS):
                logger.addFilter(_READING)
        _readers += 1
        _put_first()


def _leave() -> None:
    global _readers
    with _LOCK:
        _readers -= 1
        if _readers:
            return
        for logger in map(logging.getLogger, _TALKATIVE_LOGGERS):
            logger.removeFilter(_READING)
        filters = _warning_filters()
        if _FILTER in filters:
            filters.remove(_FILTER)


def _put_first() -> None:
    """Put our filter before all others. Again for every reader and file: a thread of the host that
    leaves its own catch_warnings puts back an older list, without our filter."""
    filters = _warning_filters()
    if not filters or filters[0] is not _FILTER:
        if _FILTER in filters:
            filters.remove(_FILTER)
        filters.insert(0, _FILTER)


def _warning_filters() -> list[Any]:
    """The list that ``warnings`` looks through; it has no call that takes such a filter."""
    return cast(list[Any], warnings.filters)


def silence_libraries(*names: str) -> None:
    """Silence the loggers ``names`` and all warnings for good: what they say quotes headers and
    addresses. For an application of its own, where nothing has to be restored; a library uses
    :func:`quiet_readers`."""
    warnings.simplefilter("ignore")
    for name in names:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
