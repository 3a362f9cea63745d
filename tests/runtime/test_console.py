"""Printing never decides the exit code of a command whose work is done."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scarseg_runtime.console import run_console

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


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its commands, at any depth."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from commands(one)


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_usage_errors_are_one_line(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the several lines of usage that argparse puts before them."""
    top = importlib.import_module(SCRIPTS[script].split(":")[0]).parser()
    for parser in commands(top):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(["--version=\n3", "a", "b\nc", "--no-such-option"])
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, ""), parser.prog
        line = rf"{parser.prog}: .+\. See {parser.prog} --help\.\n"
        assert re.fullmatch(line, said.err), said.err


REFUSED = {
    "scarseg-infer": (3, ["/dev/null/none"]), "scarseg-node": (2, ["/dev/null/none"]),
    "scarseg-cohort": (2, ["/dev/null/none", "-o", "/dev/null/none"]),
    "scarseg-mrd": (2, ["--check", "--ecg", "/dev/null/none"]),
    "scarseg-web": (5, ["-o", "/dev/null/none", "--model", "/dev/null/none"]),
    "scarseg-export": (5, ["inspect", "/dev/null/none"]),
    "scarseg-bench": (2, ["--compare", "/dev/null/none", "/dev/null/none"]),
}  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="closes descriptors as a shell does")
@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_refusal_is_the_same_whatever_is_closed(script: str) -> None:
    """Its exit code does not change, and what is for stderr never goes to stdout."""
    module, function = SCRIPTS[script].split(":")
    expected, words = REFUSED[script]
    argv = [script, *words]
    code = f"import sys; sys.argv = {argv}; from {module} import {function} as f; f()"
    for closed in ("2>&-", "<&- >&- 2>&-"):
        command = f'exec "$0" -c "$1" {closed}'
        done = subprocess.run(["sh", "-c", command, sys.executable, code], capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (expected, b"", b"")


@pytest.mark.skipif(os.name == "nt", reason="closes descriptors as a shell does")
def test_files_do_not_get_the_numbers_of_closed_streams(tmp_path: Path) -> None:
    """Words of a library on descriptor 2 would else land in the first file that is opened."""
    code = f"""
import os, subprocess, sys
from scarseg_runtime.console import run_console
def main():
    with open({str(tmp_path / "result")!r}, "wb") as file:
        os.write(2, b"a library talks")
        subprocess.run(["sh", "-c", "echo a child talks; echo again >&2"])
        print("words")
        return file.fileno()
sys.exit(run_console("scarseg-test", main))
"""
    command = 'exec "$0" -c "$1" <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable, code])
    assert done.returncode > 2
    assert (tmp_path / "result").read_bytes() == b""


class Full(io.StringIO):
    """A stream whose disk is full for the second line only."""

    def write(self, text: str) -> int:
        if text == "second":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def test_a_disk_that_has_room_again_is_written_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server writes its log for months; what was lost decides its exit code at the end."""
    stream = Full()
    monkeypatch.setattr(sys, "stdout", stream)

    def main() -> int:
        for word in ("first", "second", "third"):
            sys.stdout.write(word)
        return 0

    assert run_console("scarseg-test", main) == 6
    assert stream.getvalue() == "firstthird"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENAMETOOLONG, "File name too long", "DOE_JANE"), 2, "File name too long"),
        (OSError(errno.ENOSPC, "No space left on device", "DOE_JANE"), 6, "No space left"),
        (OSError("12 requested and 0 written"), 6, "OSError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_no_command_expects_is_one_line_without_a_path(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def main() -> int:
        raise error

    assert run_console("scarseg-test", main) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("scarseg-test: ") and said in line and "JANE" not in line
