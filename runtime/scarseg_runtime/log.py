"""The log of the runtime: a host's logging decides what becomes of it, by itself it is silent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LOG: Final = logging.getLogger("scarseg_runtime")
LOG.addHandler(logging.NullHandler())  # else Python itself prints warnings on stderr


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """For a command line of ours, whose user is the one to tell."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
