"""Workers that do not start: when that ends the run, and when the run goes on without them."""

from __future__ import annotations

import time
from typing import Final

from scarseg_infer.cohort.progress import Progress
from scarseg_runtime.errors import ProviderError, ScarsegError, UsageError
from scarseg_runtime.version import __version__

MAX_DEATHS: Final = 3
"""So many workers may die at their start, or at one study, which may be what kills them."""
_PAUSE_S: Final = 30.0
"""Until the next try to start one where that went wrong: its machine may come to itself."""


class Starts:
    """Record of the starts of workers. A machine that cannot run them must not end the work of
    the others, but where none has ever started, none will.

    Args:
        progress: told of what is wrong, once.
    """

    def __init__(self, progress: Progress) -> None:
        self.problem: ScarsegError | None = None
        """Error of the last start; None where it went well."""
        self._progress = progress
        self._ever = False
        self._deaths = 0
        self._not_before = time.monotonic()
        self._said: set[str] = set()

    def allowed(self) -> bool:
        """True if one is to be started now."""
        return time.monotonic() >= self._not_before

    def went_well(self) -> None:
        """A worker started."""
        self._ever = True
        self._say()
        self._deaths, self.problem = 0, None

    def died(self, how: str, *, others: bool) -> None:
        """A worker died as it started: try at once again, but not for ever. See :meth:`refused`."""
        self._deaths += 1
        if self._deaths >= MAX_DEATHS:
            why = f"workers die when they start ({how})"
            advice = "Check memory, and the installation of the nodes"
            self.refused(ProviderError(why, advice), others=others)

    def refused(self, problem: ScarsegError, *, others: bool) -> None:
        """A worker said why it cannot start.

        Args:
            others: whether others work or are starting.

        Raises:
            ScarsegError: the problem, where nobody else has ever started or still may.
        """
        if not (self._ever or others):
            raise problem
        self.problem = problem
        self._not_before = time.monotonic() + _PAUSE_S
        self._say()

    def _say(self) -> None:
        """Once somebody works: until then the problem may end the run, and is its message."""
        text = str(self.problem or "")
        if self._ever and text and text not in self._said:
            self._said.add(text)
            self._progress.warn(f"going on with fewer workers: {text}")


def start_error(version: str, exit_code: int, message: str) -> ScarsegError | None:
    """Error by the answer of ``StudyWorker.start``."""
    if version != __version__:
        return UsageError(
            f"a machine of the cluster has scarseg-infer {version}, this one {__version__}",
            "Install the same version everywhere",
        )
    if exit_code:
        return ProviderError(f"a worker cannot start: {message.rstrip('.')}")
    return None
