"""The rows of a scope, one after the other, each beside the reference of its scope."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_bench.cases import Case, case_arrays
from scarseg_bench.cold_start import ColdStart
from scarseg_bench.nnunet_peer import NNUNET
from scarseg_bench.pairing import (
    BrokenError,
    Load,
    Plan,
    Round,
    burst,
    drift_reason,
    paired,
    why_no_ratio,
)
from scarseg_bench.processor_time import busy_s
from scarseg_bench.row_process import ANSWER_S, RowProcess
from scarseg_bench.rows import COLD, GPU, SCOPES, Row, reference_of
from scarseg_bench.worker import rss_over_studies
from scarseg_runtime.contract import Label
from scarseg_runtime.cores import usable_cores

COLD_PLAN: Final = Plan(rounds=3, shortest_s=0.0, most=1, fewest=1, warm=0)
RESERVE_S: Final = 60.0
"""Longest time that what is begun may take."""


class Budget:
    """Time that a benchmark may take.

    Args:
        minutes: None for no end. In the last of them nothing is begun.
    """

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = None if minutes is None else clock() + 60.0 * minutes - RESERVE_S
        self._text = f"not measured: no time left of --minutes {minutes or 0:g}"

    def patience_s(self, longest: float) -> float:
        """Time to wait for something: to the end, but at least a little."""
        if self._end is None:
            return longest
        return min(longest, max(10.0, self._end + RESERVE_S - self._clock()))

    def over(self) -> str | None:
        """Reason that nothing more is begun, or None."""
        return self._text if self._end is not None and self._clock() >= self._end else None


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run of the benchmark."""

    plan: Plan
    threads: int
    case: Case
    budget: Budget


def measure(rows: list[Row], settings: Settings) -> None:
    """Fill ``rows`` in, scope by scope; what takes long to get ready after all scopes, where it
    takes time from no other."""
    arrays = case_arrays(settings.case)
    load = Load(busy_s, usable_cores())
    able = [row for row in rows if row.error is None]
    for late, scope in product((False, True), SCOPES):
        mine = [row for row in able if row.scope == scope and row.late == late]
        if not mine:
            continue
        name = reference_of(scope)
        base = next((row for row in mine if row.name == name), Row(scope, name, ""))
        others = [row for row in mine if row is not base]
        if scope == COLD:
            _cold_scope(base, others, settings, load)
        else:
            _warm_scope(base, others, settings, load, arrays)


def _cold_scope(base: Row, others: list[Row], settings: Settings, load: Load) -> None:
    runners = {id(row): ColdStart(row) for row in (base, *others)}
    _scope(base, others, lambda row: runners[id(row)], COLD_PLAN, settings.budget, load)
    for row in (base, *others):
        if row.rounds and row.error is None and settings.budget.over() is None:
            row.peak_rss_mb = runners[id(row)].peak_rss_mb()


def _warm_scope(
    base: Row, others: list[Row], settings: Settings, load: Load, arrays: dict[str, Any]
) -> None:
    with ExitStack() as open_processes:

        def opened(row: Row) -> RowProcess:
            patience_s = settings.budget.patience_s(ANSWER_S)
            process = RowProcess(row, arrays, settings.threads, patience_s)
            open_processes.callback(process.stop)
            try:
                process.start()
            except BrokenError:
                process.stop()  # it may still be at work, beside the others
                raise
            return process

        _scope(base, others, opened, settings.plan, settings.budget, load, _facts)


def _scope(
    base: Row,
    others: list[Row],
    opened: Callable[[Row], Any],
    plan: Plan,
    budget: Budget,
    load: Load,
    facts: Callable[[Row, Any, Any], Any] = lambda row, runner, theirs: None,
) -> None:
    """Measure the rows of one scope.

    Args:
        opened: a runner of a row, ready and parked. Raises BrokenError.
        facts: asks a runner for what else its row knows, given the reference's outputs (None for
            the reference itself), and gives its outputs.
    """
    if reason := budget.over():
        _give_up((base, *others), reason)
        return
    try:
        reference = opened(base)
        first = burst(reference, plan)
        outputs = facts(base, reference, None)
    except BrokenError as error:
        _give_up((base, *others), f"PyTorch, which all are compared with: {error}")
        return
    for row in others:
        if reason := budget.over():
            row.error = reason
            continue
        try:
            runner = opened(row)
            try:
                row.rounds = paired(reference, runner, plan, load, budget.over)
                facts(row, runner, outputs)
            finally:
                if hasattr(runner, "stop"):  # one at a time, beside the reference
                    runner.stop()
        except BrokenError as error:
            row.error, row.rounds = str(error), []
        row.no_ratio = row.other_work or why_no_ratio(row.rounds)
    try:
        last = burst(reference, plan)
    except BrokenError as error:
        _give_up((base, *others), f"PyTorch, which all are compared with: {error}")
        return
    between = [found.base for row in others for found in row.rounds]
    base.rounds = [Round(runs, runs, None) for runs in (first, *between, last)]
    reason = drift_reason(first, last)
    for row in (base, *others):
        row.no_ratio = reason or row.no_ratio


def _give_up(rows: tuple[Row, ...], why: str) -> None:
    for row in rows:
        row.error = why


def _facts(row: Row, process: RowProcess, theirs: Any) -> Any:
    """Parity of a row with the reference's outputs, and its memory."""
    process.resume()
    ours = process.ask("outputs")
    row.peak_rss_mb, device_mb = process.ask("memory")
    row.device_mb = device_mb if row.scope == GPU else None
    process.park()
    if row.way == NNUNET:  # its weights are random
        return ours
    compare_outputs(row, ours, ours if theirs is None else theirs)
    return ours


def compare_outputs(row: Row, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Write into a row how its outputs differ from the reference's."""
    row.finite = all(bool(np.isfinite(value).all()) for value in ours.values())
    row.burden_difference = abs(_burden(ours["labels"]) - _burden(theirs["labels"]))
    row.label_agreement = float((ours["labels"] == theirs["labels"]).mean())
    apart = np.abs(ours["scar_probability"] - theirs["scar_probability"])
    row.max_abs_probability_difference = float(apart.max())


def _burden(labels: NDArray[np.uint8]) -> float:
    """Scar, % of LV mass."""
    scar = int((labels == Label.SCAR).sum())
    wall = scar + int((labels == Label.VIABLE_MYOCARDIUM).sum())
    return 100.0 * scar / wall if wall else 0.0


def memory_over_studies(studies: int, threads: int) -> list[list[float]]:
    """[study, resident MB] of one process that segments the demonstration again and again."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=rss_over_studies, args=(theirs, studies, threads))
    process.start()
    seen: list[list[float]] = ours.recv()
    process.join()
    return seen
