"""Lines of progress, by a clock of the test."""

from __future__ import annotations

import pytest

from scarseg_infer.cohort.journal import Outcome
from scarseg_infer.cohort.progress import Progress

DONE = Outcome("a", "done", "", seconds=1.0)
SKIPPED = Outcome("a", "done", "", unchanged=True)
MISSING = Outcome("a", "failed", "", seconds=0.0)
TIMED_OUT = Outcome("a", "failed", "", seconds=60.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_skipping_and_missing_studies_say_nothing_of_the_rest(clock: Clock) -> None:
    shown = Progress(5000, quiet=True, now=clock)
    for outcome in [MISSING] * 3 + [SKIPPED] * 2997:
        clock.now += 0.01
        shown.told(outcome)
    assert shown.line() == "3000 of 5000, 3 failed"
    for _ in range(101):
        clock.now += 1.0
        shown.told(DONE)
    assert shown.line() == "3101 of 5000, 3 failed, 60.0 a minute, 0:31:39 left"


def test_the_rate_is_that_of_late(clock: Clock) -> None:
    shown = Progress(10_000, quiet=True, now=clock)
    for seconds, times in ((10.0, 1000), (0.5, 1000)):  # slow at first, then more machines
        for _ in range(times):
            clock.now += seconds
            shown.told(DONE)
    assert shown.line() == "2000 of 10000, 0 failed, 120.0 a minute, 1:06:40 left"
    for _ in range(20):  # fewer than one in the window
        clock.now += 600.0
        shown.told(TIMED_OUT)
    assert shown.line() == "2020 of 10000, 20 failed, 0.1 a minute, 1330:00:00 left"


def test_a_line_comes_every_ten_seconds_whatever_happens(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Progress(3, quiet=False, now=clock)
    for _ in range(35):
        clock.now += 1.0
        shown.tick()
    assert capsys.readouterr().err == "0 of 3, 0 failed\n" * 3
    for outcome in (DONE, SKIPPED, MISSING):
        shown.told(outcome)
    assert capsys.readouterr().err == "3 of 3, 1 failed\n"
    assert shown.summary().startswith("3 studies: 1 done, 1 unchanged, 1 failed.")
