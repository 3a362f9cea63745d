"""Number of cores to compute on."""

from __future__ import annotations

import operator
import os
from numbers import Integral
from typing import Final, SupportsIndex

from scarseg_runtime.errors import UsageError

MOST_THREADS: Final = 1024
"""More than any machine for this has; with far more a provider ends the process."""


def usable_cores() -> int:
    """Cores this process may use: fewer than there are, in many a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checked_threads(threads: SupportsIndex | None) -> int | None:
    """A number of cores, if one is given, of whatever type (numpy's too), as an int.

    Raises:
        UsageError: it is none.
    """
    if threads is None:
        return None
    # numpy's whole numbers are registered as such; its truth values before 2.0 have an index, too.
    whole = isinstance(threads, Integral) and not isinstance(threads, bool)
    count = operator.index(threads) if whole else 0
    if not 1 <= count <= MOST_THREADS:
        raise UsageError(
            f"the number of threads is not a whole number from 1 to {MOST_THREADS}",
            "Leave it out to use all cores",
        )
    return count
