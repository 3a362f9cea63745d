"""Settings of a library that it takes from the environment only, once, and early."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_LOCK: Final = threading.RLock()


@contextmanager
def variable_set(name: str, value: str) -> Iterator[None]:
    """An environment variable set, and afterwards as the host had it; one thread at a time."""
    with _LOCK:
        before = os.environ.get(name)
        os.environ[name] = value
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
