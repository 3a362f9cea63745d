"""How many cores there are to compute on."""

from __future__ import annotations

import os
from typing import Final

from scarseg_runtime.errors import UsageError

MOST_THREADS: Final = 1024
"""More than any machine for this has; with far more a provider ends the process."""


def usable_cores() -> int:
    """Cores this process may use: fewer than there are, in many a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> None:
    """Raises UsageError where a number of cores, if one is given, is none."""
    if threads is None:
        return
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MOST_THREADS:
        raise UsageError(
            f"the number of threads is not a whole number from 1 to {MOST_THREADS}",
            "Leave it out to use all cores",
        )
