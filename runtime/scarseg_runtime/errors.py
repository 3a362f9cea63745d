"""Every error a user can meet: one line that says what is wrong, where, and what to do.

Each error knows the exit code of the command line (0 done, 1 internal, 2 usage, 3 study,
4 ECG, 5 model or provider, 6 output) and also inherits the builtin a caller would expect to
catch. Messages never carry patient identifiers, nor names of the user's files, which on
exported studies often hold a patient's name.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ScarsegError(Exception):
    """Base of all expected failures.

    Args:
        what: what is wrong and where, as one clause without a final full stop.
        advice: what the user should do, as one sentence without a final full stop.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, advice: str = "") -> None:
        self.what = what
        self.advice = advice
        super().__init__(f"{what}. {advice}." if advice else f"{what}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are made from both parts, not from the message, as for others."""
        return type(self), (self.what, self.advice), self.__dict__


class UsageError(ScarsegError, ValueError):
    """The command line or a call's arguments do not make sense."""

    exit_code = 2


class StudyError(ScarsegError, ValueError):
    """The MRI study cannot be read or is not an LGE short-axis stack."""

    exit_code = 3


class EcgError(ScarsegError, ValueError):
    """The ECG cannot be read or is not fit to be used."""

    exit_code = 4


class ModelError(ScarsegError, ValueError):
    """The model file is missing, damaged, or breaks the contract."""

    exit_code = 5


class ProviderError(ScarsegError, RuntimeError):
    """The execution provider is unknown or cannot run here."""

    exit_code = 5


class OutputError(ScarsegError, OSError):
    """The results cannot be written."""

    exit_code = 6


class CancelledError(ScarsegError):
    """The caller cancelled the run; nothing is wrong with study, ECG or model."""


class RunTimeoutError(CancelledError, TimeoutError):
    """The run took longer than the caller allowed."""
