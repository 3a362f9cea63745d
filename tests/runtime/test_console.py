"""Printing never decides the exit code of a command whose work is done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
GUARDED = """
import sys
from scarseg_runtime.console import results_are_there, run_console
def main():
    results_are_there()
    for _ in range(20_000):
        print("Δt 30°, µV")
    return CODE
sys.exit(run_console("scarseg-test", main))
"""


def start(code: str, stdout: object, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE,  # type: ignore[call-overload]
        env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("code", [0, 3])
def test_a_closed_pipe_is_quiet(code: int) -> None:
    process = start(GUARDED.replace("CODE", str(code)), subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("code", [0, 3])
def test_a_full_output_says_that_the_results_are_there(code: int) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start(GUARDED.replace("CODE", str(code)), full)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.wait() == (code or 6)
    assert ("the results are there" in said) == (code == 0)
    assert said.count("\n") == (code == 0)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_characters_that_the_output_lacks_are_escaped(encoding: str) -> None:
    process = start(GUARDED.replace("CODE", "0"), subprocess.PIPE, PYTHONIOENCODING=encoding)
    said, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
    expected = "Δt 30°, µV".encode(encoding, "backslashreplace")
    assert said.splitlines()[0] == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_every_console_script_is_guarded(script: str) -> None:
    module, function = SCRIPTS[script].split(":")
    code = (
        f"import sys; sys.argv = ['{script}', '--help']; from {module} import {function} as f; f()"
    )
    with Path("/dev/full").open("wb") as full:
        process = start(code, full)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.wait() == 6
    assert re.fullmatch(rf"{script}: standard output cannot be written \(.*\)\. .*\n", said)


def test_a_process_without_output_is_no_matter() -> None:
    code = GUARDED.replace("CODE", "0").replace("import sys", "import sys; sys.stdout = None")
    process = start(code, subprocess.DEVNULL)
    assert process.wait() == 0
