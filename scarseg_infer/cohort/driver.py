"""Hands studies to workers, one at a time each, and survives the death of any of them."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError

from scarseg_infer.cohort.cluster import cause
from scarseg_infer.cohort.inputs import key
from scarseg_infer.cohort.journal import Journal, Outcome
from scarseg_infer.cohort.outputs import discard
from scarseg_infer.cohort.progress import Progress
from scarseg_infer.cohort.starts import MAX_DEATHS, Starts, start_error
from scarseg_infer.cohort.table import Row
from scarseg_infer.cohort.worker import StudyWorker, WorkerOptions
from scarseg_runtime.errors import ProviderError

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
        progress: told after each study and every second.
    """

    def __init__(
        self, options: WorkerOptions, workers: int, journal: Journal, progress: Progress
    ) -> None:
        self._options, self._workers = ray.put(options), workers
        self._cores, self._timeout_s = options.threads, options.timeout_s
        self._out, self._settings = Path(options.out), options.settings
        self._journal, self._progress = journal, progress
        self._actor: Any = ray.remote(StudyWorker)
        self._waiting: deque[Row] = deque()
        self._tasks: dict[Any, _Task] = {}
        self._deaths: Counter[str] = Counter()
        self._starts = Starts(progress)
        self._last_worker = time.monotonic()

    def run(self, rows: Iterable[Row]) -> None:
        """Settle every row: each ends up in the journal.

        Raises:
            UsageError: another version of the package is installed on the machines of the cluster.
            ProviderError: no worker starts; the message is what it said.
            OutputError: the journal cannot be written.
        """
        self._waiting.extend(rows)
        self._last_worker = time.monotonic()
        try:
            while self._waiting or any(task.row for task in self._tasks.values()):
                self._hire()
                for reference in self._finished():
                    self._settle(reference, self._tasks.pop(reference))
                self._kill_stuck()
                self._progress.tick()
        finally:
            for task in self._tasks.values():
                ray.kill(task.actor)
            self._tasks.clear()

    def _finished(self) -> list[Any]:
        if not self._tasks:
            time.sleep(1.0)
            return []
        finished, _ = ray.wait(list(self._tasks), num_returns=1, timeout=1.0)
        return list(finished)

    def _hire(self) -> None:
        """As many workers as wanted, but no more than there are studies for."""
        if not self._starts.allowed():
            return
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
        except RayError as error:  # it died, or an object was lost with its machine …
            ray.kill(task.actor)
            self._bury(task, cause(error))
            return
        if task.row is None:
            problem = start_error(*answer)
            if problem:
                ray.kill(task.actor)
                self._starts.refused(problem, others=bool(self._tasks))
                return
            self._starts.went_well()
            self._last_worker = time.monotonic()
        else:
            self._note(task.row, answer)
        self._give_work(task.actor)

    def _give_work(self, actor: Any) -> None:
        if not self._waiting:
            ray.kill(actor)
            return
        row = self._waiting.popleft()
        earlier = self._journal.outcomes.get(row.id)
        self._tasks[actor.process.remote(row, earlier)] = _Task(actor, row, time.monotonic())

    def _bury(self, task: _Task, how: str) -> None:
        """Its worker died: try the study again, on a new one, unless that has happened often."""
        if task.row is None:
            self._starts.died(how, others=bool(self._tasks))
            return
        self._deaths[task.row.id] += 1
        if self._deaths[task.row.id] < MAX_DEATHS:
            self._waiting.append(task.row)  # last: what is left to do meanwhile is done meanwhile
            return
        self._fail(task, "WorkerDied", f"{MAX_DEATHS} workers died at this study ({how}).")

    def _kill_stuck(self) -> None:
        now = time.monotonic()
        for reference, task in list(self._tasks.items()):
            limit = self._timeout_s
            if task.row and limit and now - task.began > limit + GRACE_S:
                del self._tasks[reference]
                ray.kill(task.actor)
                why = "The run took longer than its time limit and could not be stopped."
                self._fail(task, "RunTimeoutError", why)
        idle = not any(task.row for task in self._tasks.values())
        if idle and now - self._last_worker > START_LIMIT_S:
            raise self._starts.problem or ProviderError(
                "no worker could start: the cluster has no free cores",
                "Use fewer --threads-per-worker, or add machines",
            )

    def _fail(self, task: _Task, kind: str, why: str) -> None:
        if task.row is not None:
            asked, seconds = key(task.row, self._settings), round(time.monotonic() - task.began, 3)
            self._note(
                task.row,
                Outcome(task.row.id, "failed", asked, error_kind=kind, error=why, seconds=seconds),
            )

    def _note(self, row: Row, outcome: Outcome) -> None:
        self._last_worker = time.monotonic()
        # A study that is not there says nothing against its results: a share may be off for a time.
        there = os.path.exists(row.study)  # noqa: PTH110 - too long a name is no error
        if outcome.state == "failed" and there and not discard(self._out / outcome.id):
            why = f"{outcome.error} Its results of an earlier run could not be deleted."
            outcome = replace(outcome, error=why)
        self._journal.add(outcome)
        self._progress.told(outcome)
