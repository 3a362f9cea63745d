"""The cases of scarseg-bench as pytest-benchmark tests: what can run here, and PyTorch.

pytest bench/test_bench.py --benchmark-group-by=func
"""

from __future__ import annotations

from typing import Any

import pytest

from scarseg_bench.cases import Case, case_arrays
from scarseg_bench.peers import COMPILED
from scarseg_bench.rows import COLD, GPU, NETWORK, STUDY, Row, all_rows
from scarseg_bench.worker import _work

pytest.importorskip("pytest_benchmark")

THREADS = 2
RUNNABLE = [
    # Compiling takes minutes: scarseg-bench does it.
    row
    for row in all_rows()
    if row.error is None and row.scope not in (COLD, GPU) and COMPILED not in row.way
]


def rows_of(scope: str) -> Any:
    """Parameters of the rows of one scope."""
    rows = [row for row in RUNNABLE if row.scope == scope]
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@pytest.fixture(scope="module")
def arrays() -> dict[str, Any]:
    return case_arrays(Case())


@rows_of(NETWORK)
def test_network(benchmark: Any, row: Row, arrays: dict[str, Any]) -> None:
    work = _work(row.scope, row.way, row.precision, arrays, THREADS)
    benchmark.pedantic(work, rounds=5, warmup_rounds=1)


@rows_of(STUDY)
def test_warm_study(benchmark: Any, row: Row) -> None:
    work = _work(row.scope, row.way, row.precision, {}, THREADS)
    benchmark.pedantic(work, rounds=5, warmup_rounds=1)
