"""Standard output of commands: what becomes of it never decides what becomes of their work.

Who reads along may stop (``| head -1``), the disk behind it may be full, and its character set may
lack what is printed. The work goes on, and the exit code says afterwards what was lost.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from scarseg_runtime.errors import OutputError, UsageError

_GONE: Final = {errno.EPIPE, errno.ESHUTDOWN} | ({errno.EINVAL} if os.name == "nt" else set())
"""Nobody reads any more; Windows has another word for it."""

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as of a shell."""

_results_written = False


def results_are_there() -> None:
    """Note that the files that the running command makes are written."""
    global _results_written
    _results_written = True


class CommandParser(argparse.ArgumentParser):
    """A parser, also of commands of a command, whose complaint is one line like every error."""

    def error(self, message: str) -> NoReturn:
        """End with the exit code of usage and one line, whatever an argument holds."""
        said = " ".join(message.split())
        self.exit(UsageError.exit_code, f"{self.prog}: {said}. See {self.prog} --help.\n")


def run_console(name: str, main: Callable[[], int]) -> int:
    """Run a command with its standard streams guarded; returns the exit code.

    A closed pipe ends quietly. Characters that a stream cannot hold are escaped. Where standard
    output takes no more for another reason, such as a full disk, a command that did its work ends
    with the exit code of :class:`~scarseg_runtime.errors.OutputError` and says so. An error of the
    system that the command did not expect, and Ctrl-C, are one line.

    Args:
        name: of the console script, for its message.
        main: the command.
    """
    output, errors = sys.stdout, sys.stderr
    _open_missing()
    guarded, guarded_errors = _Guarded(output or _nowhere()), _Guarded(errors or _nowhere())
    # Also where a process has no such stream (``2>&-``): left None, print() sends what is for
    # stderr to stdout, and write() fails.
    sys.stdout, sys.stderr = guarded, guarded_errors
    try:
        try:
            code = main()
        except SystemExit as ended:  # argparse
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except (OSError, KeyboardInterrupt) as error:
            code, said = _unexpected(error)
            guarded_errors.write(f"{name}: {said}\n")
        guarded.flush()
        if guarded.failed is not None and code == 0:
            code = OutputError.exit_code
            what = guarded.failed.strerror or "an error"
            there = ": the results are there" if _results_written else ""
            guarded_errors.write(
                f"{name}: standard output cannot be written ({what}){there}. "
                "Free space there, or send it elsewhere.\n"
            )
        guarded_errors.flush()
        return code
    finally:
        sys.stdout, sys.stderr = output, errors
        for stream in (guarded, guarded_errors):
            stream.let_go()


def _unexpected(error: OSError | KeyboardInterrupt) -> tuple[int, str]:
    """Exit code and line for what a command did not expect: the system's text has a user's path."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted."
    why = error.strerror or type(error).__name__
    named = error.errno == errno.ENAMETOOLONG
    code = UsageError.exit_code if named else OutputError.exit_code
    return code, f"a file cannot be read or written ({why}). Check names, disk space and rights."


def _open_missing() -> None:
    """Lead descriptors 0 to 2 nowhere where they are closed: the next file or socket that is opened
    would get their number, and what a library prints would land in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                # The lowest number that is free is this one. Children get it too.
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


class _Guarded:
    """A text stream that loses what it cannot write, and remembers why."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._gone = False
        self.failed: OSError | None = None
        with suppress(AttributeError, OSError, ValueError):  # not a stream of the process
            self._stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._try(lambda: self._stream.flush())

    def let_go(self) -> None:
        """Send nowhere what a broken stream still holds: Python's end would try once more and give
        an exit code of its own."""
        if self._gone or self.failed is not None:
            with suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def _try(self, write: Callable[[], object]) -> None:
        if self._gone:
            return
        try:  # again after a failure, too: a server writes on for months after a disk was full
            write()
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.errno in _GONE:
                self._gone = True
            else:
                self.failed = self.failed or error
