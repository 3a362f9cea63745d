"""Every seed and everything that fuzzing ever found, through the targets, without a fuzzer."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scarseg_runtime.errors import ScarsegError, StudyError

PLACE = Path(__file__).parent


def _harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_run", PLACE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_run"] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


RUN = _harness()


def is_read(one: Callable[[bytes], object], key: str, data: bytes) -> bool:
    """Is it read, not refused? Fails where either takes as long as what fuzzing takes for a
    finding. Of processor time, which other load does not change: the slowest takes 0.4 s."""
    start = time.process_time()
    try:
        one(data)
        read = True
    except ScarsegError:
        read = False
    seconds = time.process_time() - start
    assert seconds < RUN.SLOW_S, f"{key} takes {seconds:.1f} s"
    return read


@pytest.mark.parametrize("name", RUN.targets())
def test_inputs_are_read_or_refused(name: str) -> None:
    target = RUN.load(name)
    inputs = RUN.inputs(name, target)
    refused = 0
    for key, data in inputs.items():
        assert len(data) <= getattr(target, "MAX_LEN", RUN.MAX_LEN), key
        refused += not is_read(target.one, key, data)
    assert refused < len(inputs)  # a target that never gets past the first check tests nothing


@pytest.mark.parametrize("refused", [False, True], ids=["read", "refused"])
def test_an_input_that_is_slow_fails(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    def one(data: bytes) -> None:
        end = time.process_time() + float(data)
        while time.process_time() < end:
            pass
        if refused:
            raise StudyError("slowly refused", "")

    assert RUN.SLOW_S == 5  # as SECURITY.md says
    monkeypatch.setattr(RUN, "SLOW_S", 0.5)
    assert is_read(one, "quick", b"0") is not refused
    with pytest.raises(AssertionError, match=r"slow takes \d"):
        is_read(one, "slow", b"0.6")


def test_findings_belong_to_a_target() -> None:
    folders = {path.name for path in (PLACE / "findings").glob("*") if path.is_dir()}
    assert folders <= set(RUN.targets())


def test_crashes_of_one_place_have_one_name() -> None:
    frames = '  File "/x/scarseg_infer/a.py", line 3, in f\n  File "/lib/b.py", line 9, in g\n'
    words = "=== Uncaught Python exception: ===\n{}\nTraceback (most recent call last):\n" + frames
    names = {RUN.crash_name(words.format(said)) for said in ("KeyError: 1", "KeyError: 'b'")}
    assert names == {"KeyError at a.py:3 in f"}
    assert RUN.crash_name("==1== ERROR: libFuzzer: timeout after 20 seconds") == "timeout"
    assert RUN.crash_name("") == "died without a word"
