"""Waiting times that survive when somebody sets the clock.

Times in the database are of the wall clock, since the node is restarted in between. Were the clock
set back by a day, studies would wait for a day; set forward, they would be complete, given up or
deleted at once. So the database is looked after before anything else is read or written with the
new time.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

NOTICED_S: Final = 2.0
"""Smaller steps, as of a clock that is disciplined, change no waiting time that matters."""
_AHEAD_S: Final = 86_400.0
"""As far as a time to try again may lie ahead."""
_TIMES: Final = (
    ("studies", "first_received"), ("studies", "last_received"), ("studies", "not_before"),
    ("studies", "finished"), ("deliveries", "created"), ("deliveries", "next_at"),
    ("deliveries", "sent"), ("steps", "changed"),
)  # fmt: skip


class ClockWatch:
    """Compares the wall clock with one that nobody sets."""

    def __init__(self) -> None:
        self._start, self._offset = time.time(), _offset()

    def stepped_s(self) -> float:
        """By how much the clock was set since it was followed last; 0 where it was not."""
        step = _offset() - self._offset
        return step if abs(step) >= NOTICED_S else 0.0

    def follow(self, database: sqlite3.Connection) -> None:
        """Move times by a step of the clock, within a transaction.

        Only those of this process, by the clock as it was: others were written by a clock that may
        have been right, as where that of a machine is wrong from its start to when it is set.
        """
        step = self.stepped_s()
        if not step:
            return
        before = time.time() - step
        for table, column in _TIMES:
            database.execute(
                f"UPDATE {table} SET {column} = {column} + ? WHERE {column} BETWEEN ? AND ?",
                (step, self._start, before + _AHEAD_S),
            )
        self._start, self._offset = self._start + step, self._offset + step


def _offset() -> float:
    return time.time() - time.monotonic()
