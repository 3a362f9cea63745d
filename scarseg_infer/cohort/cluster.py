"""The connection to Ray: a cluster of this run alone on this machine, or one that is running."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from scarseg_infer.cohort.address import authentication, reached
from scarseg_infer.host.stop import handler_kept
from scarseg_runtime.cores import usable_cores
from scarseg_runtime.errors import ProviderError

_START_TRIES: Final = 3
_NO_REPORTS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray reports to its makers otherwise
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def connected(address: str | None, workers: int | None, threads: int) -> Iterator[int]:
    """A connection to Ray, and how many workers to use.

    Args:
        address: HOST:PORT or ``auto``; None for this machine alone.
        workers: how many are wanted; None for as many as there are cores.
        threads: cores of each.

    Raises:
        UsageError: the address is none.
        ProviderError: Ray cannot be started or reached, or has no machine of so many cores.
    """
    if address is None:
        workers = workers or max(1, usable_cores() // threads)
        # Ray listens on all interfaces. Only who knows the token can use it, and no token that
        # the user has is needed, or written where none is.
        environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        local: dict[str, Any] = {"num_cpus": workers * threads, "include_dashboard": False}
    else:
        address = reached(address)
        environment, local = authentication(address), {}
    with _environment(_NO_REPORTS | environment), _stdout_kept():
        import ray  # which settles by these variables how it authenticates

        put_handler_back = handler_kept()
        # "local": never a cluster that happens to run here, or that RAY_ADDRESS names.
        _connect(ray, address or "local", local, tries=1 if address else _START_TRIES)
        try:
            yield _fitting(ray, workers, threads)
        finally:
            ray.shutdown()
            put_handler_back()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables for Ray, which it hands on to the processes that it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _stdout_kept() -> Iterator[None]:
    """Stdout is ours alone: what Ray prints, from Python and C++, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _connect(ray: ModuleType, address: str, local: dict[str, Any], tries: int) -> None:
    """Start or reach Ray. On a busy machine it may give up on itself, with a plain Exception."""
    put_handler_back = handler_kept()
    for left in reversed(range(tries)):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **local)
            return
        except (Exception, SystemExit) as error:
            ray.shutdown()
            if getattr(error, "code", None) == signal.SIGTERM:  # Ray's own way, while it starts
                put_handler_back()
                signal.raise_signal(signal.SIGTERM)
            if not left or isinstance(error, ValueError):
                what = "started" if local else "reached"
                raise ProviderError(
                    f"Ray cannot be {what} ({cause(error)})", _advice(error, started=bool(local))
                ) from error
        finally:
            put_handler_back()


def _advice(error: BaseException, *, started: bool) -> str:
    """Ray keeps sockets and logs of a run below the folder for temporary files."""
    if not started:
        return "Check --address, or free memory"
    root = _root(error)
    if isinstance(root, OSError) and not isinstance(root, ConnectionError | TimeoutError):
        return "Set TMPDIR to a folder that can be written to, has some space and a short path"
    return "Free memory and try again"


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def cause(error: BaseException) -> str:
    """The root of an error of Ray's in a few words: its last line, which holds no input of ours."""
    error = _root(error)
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[-1].strip()[:300].rstrip('.')}"


def _fitting(ray: ModuleType, workers: int | None, threads: int) -> int:
    """Count the workers to use, of which the machines can take at least one."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    room = sum(number // threads for number in cores)
    if not room:
        raise ProviderError(
            f"no machine of the cluster has {threads} cores (the most is {max(cores, default=0)})",
            "Use fewer --threads-per-worker, or add machines",
        )
    return workers or room
