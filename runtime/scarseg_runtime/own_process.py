"""Ownership by one process, of what a fork does not copy whole."""

from __future__ import annotations

import os

from scarseg_runtime.errors import UsageError


class OwnProcess:
    """The process in which this was made. Of a fork only the calling thread goes on: who waits for
    another one of a provider waits for ever."""

    def __init__(self) -> None:
        self._number = os.getpid()

    def check(self) -> None:
        """Raises UsageError in any other process."""
        if os.getpid() != self._number:
            raise UsageError(
                "the model was loaded before this process was forked",
                "Load the model in each process",
            )
