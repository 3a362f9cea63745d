"""Ray leaves the process that started it as it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def sigterm_as_it_was() -> Iterator[None]:
    """Ray handles SIGTERM from its start on. Processes that other tests fork would inherit that,
    and one that is told to end just before it waits for a lock, as those of a pool do, waits for
    ever."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
