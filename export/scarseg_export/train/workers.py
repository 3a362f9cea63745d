"""A pool of one process a core."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

THREADS_OF = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def worker_pool() -> Iterator[ProcessPoolExecutor]:
    """Spawned workers that compute on one thread each: as many threads again per worker spin
    on the same cores, and rendering took four times the CPU time."""
    before = {name: os.environ.get(name) for name in THREADS_OF}
    os.environ.update(dict.fromkeys(THREADS_OF, "1"))  # read when a worker imports numpy
    try:
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def peak_memory_gb() -> float | None:
    """Upper bound of the memory that this process and one worker a core have held together, in
    GB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    own, worker = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return (own + (os.cpu_count() or 1) * worker) * unit / 1e9
