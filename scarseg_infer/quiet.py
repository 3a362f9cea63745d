"""Keeping other people's file libraries from talking: their messages quote header values."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_TALKATIVE_LOGGERS: Final = ("pydicom", "nibabel.global")
_SILENT: Final = logging.CRITICAL + 1


@contextmanager
def quiet_readers() -> Iterator[None]:
    """Silence warnings and loggers of the DICOM and NIfTI libraries while inside.

    pydicom quotes the offending value in its warnings, and a value of a header may identify
    the patient; nibabel prints header problems to stderr by itself. What we find wrong we say
    in our own words. The previous configuration comes back on leaving; like
    ``warnings.catch_warnings`` this is not meant for several threads at once.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
