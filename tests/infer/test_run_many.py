"""Many studies from any source: live, endless, broken or cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scarseg_infer import (
    CancelledError,
    LgeStack,
    ModelError,
    RunTimeoutError,
    ScarResult,
    Segmenter,
    StudyError,
    UsageError,
    read_study,
)
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.read_ahead import Pair


@pytest.fixture(scope="module")
def stack() -> LgeStack:
    return read_study(DEMO_STUDY)


class Source:
    """Many pairs, and how many of them were taken."""

    def __init__(self, pair: Pair, count: int = 20) -> None:
        self.taken, self._pair, self._count = 0, pair, count

    def __iter__(self) -> Iterator[Pair]:
        for _ in range(self._count):
            self.taken += 1
            yield self._pair


def test_a_result_does_not_wait_for_the_next_pair(segmenter: Segmenter, stack: LgeStack) -> None:
    delivered = threading.Event()
    in_time = []

    def live() -> Iterator[Pair]:
        yield stack, None
        in_time.append(delivered.wait(60))  # as a queue that is empty

    for result in segmenter.run_many(live()):
        assert isinstance(result, ScarResult)
        delivered.set()
    assert in_time == [True]


def test_a_source_that_breaks_takes_no_result_with_it(
    segmenter: Segmenter, stack: LgeStack
) -> None:
    def broken() -> Iterator[Pair]:
        yield stack, None
        raise OSError("the queue is gone")

    results = segmenter.run_many(broken())
    assert isinstance(next(results), ScarResult)
    with pytest.raises(OSError, match="the queue is gone"):
        next(results)


def test_a_closed_segmenter_reads_no_further(stack: LgeStack) -> None:
    segmenter, source = Segmenter.from_model(provider="cpu"), Source((stack, None))
    results = segmenter.run_many(source)
    assert isinstance(next(results), ScarResult)
    segmenter.close()
    with pytest.raises(UsageError, match="closed"):
        list(results)
    assert source.taken <= 2
    with pytest.raises(UsageError, match="closed"):
        next(segmenter.run_many(source))
    assert source.taken <= 2


def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path, stack: LgeStack) -> None:
    source = Source((stack, None))
    segmenter = Segmenter.from_model(tmp_path / "nothing.onnx", background=True)
    with pytest.raises(ModelError, match="does not exist"):
        list(segmenter.run_many(source))
    assert source.taken <= 3


def test_cancelling_ends_the_wait_for_the_next_pair(segmenter: Segmenter, stack: LgeStack) -> None:
    stop, end = threading.Event(), threading.Event()

    def silent() -> Iterator[Pair]:
        yield stack, None
        end.wait(60)

    results = segmenter.run_many(silent(), cancel=stop)
    assert isinstance(next(results), ScarResult)
    stop.set()
    with pytest.raises(CancelledError):
        next(results)
    assert not end.is_set()
    end.set()


def test_cancelling_ends_it_in_a_study(segmenter: Segmenter) -> None:
    stop, source = threading.Event(), Source((DEMO_STUDY, None))
    results = segmenter.run_many(source, cancel=stop)
    next(results)
    stop.set()
    with pytest.raises(CancelledError):
        list(results)
    assert source.taken <= 2


def test_each_study_has_its_own_time(segmenter: Segmenter, stack: LgeStack) -> None:
    late, read = segmenter.run_many([(stack, None), (DEMO_STUDY, None)], timeout_s=1e-6)
    assert isinstance(late, RunTimeoutError) and isinstance(read, RunTimeoutError)
    assert all(
        isinstance(found, ScarResult)
        for found in segmenter.run_many([(DEMO_STUDY, DEMO_ECG)] * 2, timeout_s=600)
    )


@pytest.mark.parametrize("pair", [DEMO_STUDY, "ab", (DEMO_STUDY,), (None, None), (5, None), None])
def test_what_is_no_pair_has_its_error_in_place(
    segmenter: Segmenter, stack: LgeStack, pair: object
) -> None:
    pairs = [(stack, None), pair, (stack, None)]
    first, error, last = segmenter.run_many(pairs)  # type: ignore[arg-type]
    assert isinstance(first, ScarResult) and isinstance(last, ScarResult)
    assert isinstance(error, UsageError)
    assert np.array_equal(first.labels, last.labels)


def test_options_are_those_of_run(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prefer"):
        next(segmenter.run_many([], prefer="psir"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="time limit"):
        next(segmenter.run_many([], timeout_s=-1.0))
    (error,) = segmenter.run_many([(tmp_path, None)], prefer="magnitude")
    assert isinstance(error, StudyError)
