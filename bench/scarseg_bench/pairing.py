"""A row and the reference, measured in turn, each as it would run alone.

Threads of a pool spin for a while after a run, and a library that waits may keep a core: rows that
lived side by side slowed each other, and not all by the same factor. So what is not being measured
is stopped for real, and the reference is measured again beside every row: a ratio is of times that
lie seconds apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Protocol

MAX_DRIFT: Final = 0.15
"""Change of the reference from start to end of a scope beyond which nothing is compared with it."""
MAX_FOREIGN: Final = 0.05
"""Share of the cores that other processes may take; one busy process takes half of two cores."""


class BrokenError(Exception):
    """A row that cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a row."""

    total_s: float
    """From arrays on the host to arrays on the host."""
    phases_s: dict[str, float] = field(default_factory=dict)
    """Parts of it, where the way of running tells them."""


@dataclass(frozen=True, slots=True)
class Round:
    """A burst of the reference and a burst of the row."""

    base: list[Run]
    own: list[Run]
    foreign: float | None
    """Share of the cores that other processes took meanwhile; None where nobody tells."""

    @property
    def ratio(self) -> float:
        """Times faster than the reference."""
        return median_s(self.base) / median_s(self.own)


class Runner(Protocol):
    """A process that can be run, stopped for real and let go on."""

    def run(self) -> Run:
        """One run. Raises BrokenError."""

    def park(self) -> None:
        """Take no core until :meth:`resume`."""

    def resume(self) -> None:
        """Be ready to run."""

    def cpu_s(self) -> float | None:
        """Processor time taken so far, None where the system does not tell."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Amount that is measured."""

    rounds: int = 3
    shortest_s: float = 0.6
    """A burst goes on until so much was measured …"""
    most: int = 12
    """… or so many runs."""
    fewest: int = 2
    warm: int = 1
    """Runs at the start of a burst that are not counted: caches are cold after a stop."""


def paired(
    base: Runner,
    own: Runner,
    plan: Plan,
    load: Load,
    over: Callable[[], object] = lambda: None,
) -> list[Round]:
    """Rounds of a row beside the reference; both are parked before and after. At least one, and
    none is begun once time is ``over``. Raises BrokenError where the row, or the reference, cannot
    go on."""
    found = []
    for _ in range(plan.rounds):
        load.start((base, own))
        theirs = burst(base, plan)
        mine = burst(own, plan)
        found.append(Round(theirs, mine, load.foreign()))
        if over():
            break
    return found


def burst(runner: Runner, plan: Plan) -> list[Run]:
    """Runs in a row that count."""
    runner.resume()
    try:
        for _ in range(plan.warm):
            runner.run()
        runs: list[Run] = []
        while len(runs) < plan.fewest or (
            len(runs) < plan.most and sum(run.total_s for run in runs) < plan.shortest_s
        ):
            runs.append(runner.run())
        return runs
    finally:
        runner.park()


class Load:
    """Share of the cores that others take while something is measured.

    Args:
        busy_s: processor time that all processes took on our cores so far, None where unknown.
        cores: ours.
        clock: seconds.
        own_s: processor time of this process.
    """

    def __init__(
        self,
        busy_s: Callable[[], float | None],
        cores: int,
        clock: Callable[[], float] = time.perf_counter,
        own_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._busy_s, self._cores = busy_s, cores
        self._clock, self._own_s = clock, own_s
        self._runners: tuple[Runner, ...] = ()
        self._before: tuple[float, float] | None = None

    def start(self, runners: tuple[Runner, ...]) -> None:
        """Begin to measure, while these run."""
        self._runners = runners
        self._before = self._now()

    def foreign(self) -> float | None:
        """The share since the start."""
        now = self._now()
        if now is None or self._before is None:
            return None
        passed = now[0] - self._before[0]
        return max(0.0, now[1] - self._before[1]) / (passed * self._cores) if passed > 0 else 0.0

    def _now(self) -> tuple[float, float] | None:
        """The time, and the processor time of all but us."""
        busy = self._busy_s()
        taken = [runner.cpu_s() for runner in self._runners]
        if busy is None or any(one is None for one in taken):
            return None
        return self._clock(), busy - self._own_s() - sum(one or 0.0 for one in taken)


def why_no_ratio(rounds: list[Round]) -> str | None:
    """Reason why a row is not compared with the reference; None where it is.

    The share of others is that of the worst round: one disturbed in four moves a spread.
    """
    shares = [found.foreign for found in rounds if found.foreign is not None]
    if shares and max(shares) > MAX_FOREIGN:
        return f"other processes took up to {100 * max(shares):.0f} % of the cores"
    return None


def drift_reason(first: list[Run], last: list[Run]) -> str | None:
    """Reason why nothing of a scope is compared: the reference itself changed."""
    change = median_s(last) / median_s(first) - 1.0
    if abs(change) <= MAX_DRIFT:
        return None
    return f"the reference measured again at the end was {100 * change:+.0f} % off"


def median_s(runs: list[Run]) -> float:
    """Median time of a burst."""
    return median(run.total_s for run in runs)
