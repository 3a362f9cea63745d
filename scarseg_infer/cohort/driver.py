"""Hands studies to workers, one at a time each, and survives the death of any of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayError

from scarseg_infer.cohort.journal import Journal, Outcome
from scarseg_infer.cohort.table import Row
from scarseg_infer.cohort.worker import StudyWorker, WorkerOptions
from scarseg_runtime.errors import ProviderError, UsageError
from scarseg_runtime.version import __version__

MAX_DEATHS: Final = 3
"""A study at which so many workers died is given up: it may be what kills them."""
START_LIMIT_S: Final = 600.0
"""Without a single worker after this time the cluster has no room for one."""
GRACE_S: Final = 30.0
"""After a study's own time limit, before its worker is taken for stuck and killed."""


@dataclass(slots=True)
class _Task:
    actor: Any
    row: Row | None
    """None while the worker starts."""
    began: float


class Driver:
    """One run over a cohort, in a process that is connected to Ray.

    Args:
        told: called after each study with its outcome.
    """

    def __init__(
        self,
        options: WorkerOptions,
        workers: int,
        journal: Journal,
        told: Callable[[Outcome], None],
    ) -> None:
        self._options, self._workers = ray.put(options), workers
        self._cores, self._timeout_s = options.threads, options.timeout_s
        self._journal, self._told = journal, told
        self._actor: Any = ray.remote(StudyWorker)
        self._waiting: deque[Row] = deque()
        self._tasks: dict[Any, _Task] = {}
        self._deaths: Counter[str] = Counter()
        self._failed_starts = 0
        self._last_worker = time.monotonic()

    def run(self, rows: Iterable[Row]) -> None:
        """Settle every row: each ends up in the journal.

        Raises:
            UsageError: another version of the package is installed on a machine of the cluster.
            ProviderError: no worker starts; the message is what it said.
        """
        self._waiting.extend(rows)
        self._last_worker = time.monotonic()
        try:
            while self._waiting or any(task.row for task in self._tasks.values()):
                self._hire()
                finished, _ = ray.wait(list(self._tasks), num_returns=1, timeout=1.0)
                for reference in finished:
                    self._settle(reference, self._tasks.pop(reference))
                self._kill_stuck()
        finally:
            for task in self._tasks.values():
                ray.kill(task.actor)
            self._tasks.clear()

    def _hire(self) -> None:
        """As many workers as wanted, but no more than there are studies for."""
        busy = sum(task.row is not None for task in self._tasks.values())
        starting = len(self._tasks) - busy
        for _ in range(min(self._workers - len(self._tasks), len(self._waiting) - starting)):
            # Not started again by Ray itself: a study that kills its worker would go on for ever.
            actor: Any = self._actor.options(num_cpus=self._cores, max_restarts=0).remote(
                self._options
            )
            self._tasks[actor.start.remote()] = _Task(actor, None, time.monotonic())

    def _settle(self, reference: Any, task: _Task) -> None:
        try:
            answer = ray.get(reference)
        except RayActorError:
            self._bury(task)
        except RayError as error:  # an object lost with its machine, memory of the machine …
            ray.kill(task.actor)
            self._bury(task, type(error).__name__)
        else:
            if task.row is None:
                self._check_start(*answer)
            else:
                self._note(answer)
            self._give_work(task.actor)

    def _give_work(self, actor: Any) -> None:
        if not self._waiting:
            ray.kill(actor)
            return
        row = self._waiting.popleft()
        earlier = self._journal.outcomes.get(row.id)
        known = earlier.inputs if earlier and earlier.state == "done" else None
        self._tasks[actor.process.remote(row, known)] = _Task(actor, row, time.monotonic())

    def _check_start(self, version: str, exit_code: int, message: str) -> None:
        if version != __version__:
            raise UsageError(
                f"a machine of the cluster has scarseg-infer {version}, this one {__version__}",
                "Install the same version everywhere",
            )
        if exit_code:
            raise ProviderError(f"a worker cannot start: {message.rstrip('.')}")
        self._failed_starts = 0
        self._last_worker = time.monotonic()

    def _bury(self, task: _Task, how: str = "") -> None:
        """Its worker died: try the study again, on a new one, unless that has happened often."""
        if task.row is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_DEATHS:
                raise ProviderError(
                    "workers die when they start", "Check memory, and the installation of the nodes"
                )
            return
        self._deaths[task.row.id] += 1
        if self._deaths[task.row.id] < MAX_DEATHS:
            self._waiting.append(task.row)  # last: what is left to do meanwhile is done meanwhile
            return
        why = f"{MAX_DEATHS} workers died at this study{f' ({how})' if how else ''}."
        self._note(Outcome(task.row.id, "failed", "", "WorkerDied", why))

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        for reference, task in list(self._tasks.items()):
            limit = self._timeout_s
            if task.row and limit and now - task.began > limit + GRACE_S:
                del self._tasks[reference]
                ray.kill(task.actor)
                why = "The run took longer than its time limit and could not be stopped."
                seconds = round(now - task.began, 3)
                self._note(Outcome(task.row.id, "failed", "", "RunTimeoutError", why, seconds))
        idle = not any(task.row for task in self._tasks.values())
        if idle and self._tasks and now - self._last_worker > START_LIMIT_S:
            raise ProviderError(
                "no worker could start: the cluster has no free cores",
                "Use fewer --threads-per-worker, or add machines",
            )

    def _note(self, outcome: Outcome) -> None:
        self._last_worker = time.monotonic()
        self._journal.add(outcome)
        self._told(outcome)
