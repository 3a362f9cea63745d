"""The lanes of the tests: together they are all of them, and continuous integration runs each."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

MakeCommands = Callable[[str], list[str]]

ROOT = Path(__file__).resolve().parents[1]
MARKED = """
import pytest

def test_plain(): ...

@pytest.mark.slow
def test_slow(): ...

@pytest.mark.serial
def test_serial(): ...

@pytest.mark.slow
@pytest.mark.serial
def test_slow_serial(): ...
"""


def lanes(commands: list[str]) -> list[list[str]]:
    """Arguments of pytest in each command that runs it."""
    found = [shlex.split(line) for line in commands if "-m pytest" in line]
    return [words[words.index("pytest") + 1 :] for words in found]


def collected(lane: list[str], project: Path) -> set[str]:
    """Names of the tests that a lane runs of a project, asked of pytest itself."""
    marked = (
        project / "tests" / "test_lanes.py"
    )  # a file that is there, so that all targets name it
    marked.write_text(MARKED)
    quick = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist -p pytest_timeout"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *lane, "--collect-only", "-q"],
        cwd=project, env=os.environ | quick, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"::(\w+)$", done.stdout, re.M))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("test-all", {"plain": 1, "serial": 1, "slow": 1, "slow_serial": 1}),
        ("test", {"plain": 1, "serial": 1}),
        ("test-lowest", {"plain": 1, "serial": 1, "slow": 1, "slow_serial": 1}),
    ],
)
def test_every_test_is_in_one_lane_whatever_its_marks(
    target: str, expected: dict[str, int], make_commands: MakeCommands, tmp_path: Path
) -> None:
    found = [(lane, collected(lane, tmp_path)) for lane in lanes(make_commands(target))]
    names = Counter(name.removeprefix("test_") for _, names in found for name in names)
    assert names == expected
    beside = {name for lane, names in found if "-n" in lane for name in names}
    assert not beside & {"test_serial", "test_slow_serial"}
    left_out = {word for lane, _ in found for word in lane if word.startswith(("--ign", "--des"))}
    # Needs newer tools than the lowest.
    lowest = {"--ignore=tests/node/test_openapi.py"} if target == "test-lowest" else set()
    assert left_out == lowest


OTHER_RUN = """
import runpy, sys
ports = runpy.run_path(sys.argv[1])
taken = int(sys.argv[2])
ports["free_ports"].__globals__["PORTS"] = [taken] * 100 + list(ports["PORTS"])[:100]
print(*ports["free_ports"](20))
"""
"""Draws that taken port half of the time."""


def test_no_other_run_gets_a_port_that_a_test_has(free_ports: Callable[[int], list[int]]) -> None:
    """Though nothing listens there yet."""
    first, second = free_ports(2)
    assert first != second
    done = subprocess.run(
        [sys.executable, "-c", OTHER_RUN, ROOT / "tests" / "ports.py", str(first)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    others = done.stdout.split()
    assert len(set(others)) == 20 and str(first) not in others


def test_continuous_integration_runs_all_lanes_at_both_ends_of_the_ranges() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^set -euo pipefail$", script, re.M)
    ran = re.findall(r"^(?:exec )?(make .*)$", script, re.M)
    assert ran == ["make test-all", "make test-lowest"]
    assert not re.search(r"^\s*exit\b|\|\|\s*true", script, re.M)
