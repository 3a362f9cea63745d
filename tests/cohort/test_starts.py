"""Workers that do not start."""

from __future__ import annotations

import pytest

from scarseg_infer import UsageError
from scarseg_infer.cohort.progress import Progress
from scarseg_infer.cohort.starts import MAX_DEATHS, Starts, start_error
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.version import __version__


@pytest.fixture
def starts() -> Starts:
    return Starts(Progress(1, quiet=True))


def test_where_no_worker_ever_started_the_run_ends_with_the_cause(starts: Starts) -> None:
    for _ in range(MAX_DEATHS - 1):
        starts.died("out of memory", others=False)
        assert starts.allowed()  # at once again
    with pytest.raises(ProviderError, match="out of memory"):
        starts.died("out of memory", others=False)


def test_a_machine_that_cannot_does_not_end_the_work_of_others(
    starts: Starts, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = start_error(__version__, 5, "there is no provider 'cuda'.")
    assert isinstance(problem, ProviderError)
    starts.refused(problem, others=True)  # another one is starting
    assert capsys.readouterr().err == ""  # it may yet be the message of the run
    starts.went_well()
    for _ in range(MAX_DEATHS + 1):
        starts.died("it has no scarseg-infer", others=False)  # the others died at their studies
    assert not starts.allowed()  # not again and again
    assert starts.problem is not None and "no scarseg-infer" in str(starts.problem)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "no provider 'cuda'" in said[0] and "no scarseg-infer" in said[1]


def test_what_the_answer_of_a_start_means() -> None:
    assert start_error(__version__, 0, "") is None
    assert isinstance(start_error("0.0.0", 0, ""), UsageError)
