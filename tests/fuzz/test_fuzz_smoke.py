"""The harness really fuzzes, counts what it did, and notices what is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PLACE = Path(__file__).parent
BROKEN = """
def seeds() -> dict[str, bytes]:
    return {"whole": b"abcd"}


def one(data: bytes) -> None:
    if data[:1] == b"a":
        raise KeyError(len(data))
"""
SLOW = """
import time


def seeds() -> dict[str, bytes]:
    return {"whole": b"abcd"}


def one(data: bytes) -> None:
    if data == b"abcd":
        time.sleep(6.5)
"""


@pytest.fixture(autouse=True)
def _needs_atheris() -> None:
    if importlib.util.find_spec("atheris") is None:
        message = "atheris is not installed"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def run(program: Path, work: Path, name: str, seconds: float) -> tuple[int, str, dict[str, Any]]:
    """Exit code, words and the report of one target."""
    command = [
        sys.executable, program, name, "--minutes", f"{seconds / 60}", "--jobs", "1",
        "--work", work, "--json", work / "report.json",
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=180
    )
    (report,) = json.loads((work / "report.json").read_text())
    return done.returncode, done.stdout + done.stderr, report


@pytest.mark.parametrize("name", ["nifti", "edf"])
def test_a_target_is_fuzzed(tmp_path: Path, name: str) -> None:
    code, said, report = run(PLACE / "run.py", tmp_path, name, 5)
    assert code == 0, said
    assert report["executions"] > 100
    assert report["accepted"] > 0
    assert report["cov"] > 50
    assert report["crashes"] == {}
    assert name in said


def test_a_crash_is_counted_kept_and_fails(tmp_path: Path) -> None:
    place = tmp_path / "tests" / "fuzz"
    (place / "targets").mkdir(parents=True)
    shutil.copy(PLACE / "run.py", place)
    (place / "targets" / "broken.py").write_text(BROKEN)
    code, said, report = run(place / "run.py", tmp_path, "broken", 3)
    assert code == 1
    assert list(report["crashes"]) == ["KeyError at broken.py:8 in one"], said
    assert list((tmp_path / "crashes" / "broken").glob("crash-*"))


def test_a_slow_input_is_kept_and_fails(tmp_path: Path) -> None:
    place = tmp_path / "tests" / "fuzz"
    (place / "targets").mkdir(parents=True)
    shutil.copy(PLACE / "run.py", place)
    (place / "targets" / "slow.py").write_text(SLOW)
    code, said, report = run(place / "run.py", tmp_path, "slow", 12)
    assert code == 1
    assert report["crashes"] == {}
    assert report["slow"] >= 1
    assert "slow: slower than 5 s" in said
    assert list((tmp_path / "crashes" / "slow").glob("slow-unit-*"))
