"""The lanes of the tests: together they are all of them, and continuous integration runs each."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

MakeCommands = Callable[[str], list[str]]

ROOT = Path(__file__).resolve().parents[1]
MARKS = {"plain": (), "slow": ("slow",), "serial": ("serial",), "both": ("slow", "serial")}
PLACES = {"ours": "test_cli.py", "cohort": "cohort/test_stop.py"}
"""Files of tests that all targets name, by what a test there is called."""


def marked_tests(place: str) -> str:
    """Text of a file with a test of each kind."""
    tests = [
        "".join(f"@pytest.mark.{mark}\n" for mark in marks) + f"def test_{kind}_{place}(): ...\n"
        for kind, marks in MARKS.items()
    ]
    return "\n\n".join(["import pytest\n", *tests])


def lanes(commands: list[str]) -> list[list[str]]:
    """Arguments of pytest in each command that runs it."""
    found = [shlex.split(line) for line in commands if "-m pytest" in line]
    return [words[words.index("pytest") + 1 :] for words in found]


def collected(lane: list[str], project: Path) -> set[str]:
    """Names of the tests that a lane runs of a project, asked of pytest itself."""
    quick = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist -p pytest_timeout"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *lane, "--collect-only", "-q"],
        cwd=project, env=os.environ | quick, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"::test_(\w+)$", done.stdout, re.M))


def kinds(places: Iterable[str], of: Iterable[str] = MARKS) -> set[str]:
    return {f"{kind}_{place}" for kind in of for place in places}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("test-all", kinds(PLACES)),
        ("test", kinds(PLACES, ("plain", "serial"))),
        # Of the slow ones those that an older release can break.
        ("test-lowest", kinds(PLACES, ("plain", "serial")) | kinds(["cohort"])),
    ],
)
def test_every_test_is_in_one_lane_whatever_its_marks(
    target: str, expected: set[str], make_commands: MakeCommands, tmp_path: Path
) -> None:
    for place, name in PLACES.items():
        path = tmp_path / "tests" / name
        assert (ROOT / "tests" / name).is_file()
        path.parent.mkdir(exist_ok=True)
        path.write_text(marked_tests(place))
    found = [(lane, collected(lane, tmp_path)) for lane in lanes(make_commands(target))]
    names = Counter(name for _, names in found for name in names)
    assert names == Counter(expected)
    beside = {name for lane, names in found if "-n" in lane for name in names}
    assert not beside & kinds(PLACES, ("serial", "both"))
    left_out = {word for lane, _ in found for word in lane if word.startswith(("--ign", "--des"))}
    assert bool(left_out) == (target == "test-lowest")  # which ones: tests/test_supply.py


def test_a_lane_with_few_tests_finds_all_of_them(make_commands: MakeCommands) -> None:
    """It names the files that hold marks instead of importing all: none of the real ones is
    missed, in whatever way it is marked."""
    named = {word for lane in lanes(make_commands("test-all")) for word in lane}
    assert not {word for word in named if word.endswith(".py")}  # empty files hold no mark
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"grep -rlE '(.+?)' ", text)
    for mark in ("slow", "serial"):
        found = re.compile(pattern.replace("$(1)", mark))
        for path in sorted((ROOT / "tests").rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            if re.search(rf"\bpytest\w*\.{mark}\b|\bmark\w*\.{mark}\b", source):
                assert found.search(source) and path.name.startswith("test_"), path


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
    assert ran == ["make .venv-lowest/.installed &", "make test-all", "make test-lowest"]
    assert 'wait "$lowest"' in script  # a failed installation ends it
    assert not re.search(r"^\s*exit\b|\|\|\s*true", script, re.M)
