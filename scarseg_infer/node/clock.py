"""What happens to waiting times when somebody sets the clock.

Times in the database are of the wall clock, since the node is restarted in between. Were the clock
set back by a day, studies would wait for a day; set forward, they would be complete, given up or
deleted at once.
"""

from __future__ import annotations

import time
from typing import Final

from scarseg_infer.node.storage import Storage

NOTICED_S: Final = 2.0
"""Smaller steps, as of a clock that is disciplined, change no waiting time that matters."""
_TIMES: Final = (
    ("studies", ("first_received", "last_received", "not_before", "finished")),
    ("deliveries", ("created", "next_at", "sent")),
    ("steps", ("changed",)),
)


class ClockWatch:
    """Compares the wall clock with one that nobody sets."""

    def __init__(self) -> None:
        self._offset = _offset()

    def stepped_s(self) -> float:
        """By how much the clock was set since this was asked last; 0 where it was not."""
        now = _offset()
        step, self._offset = now - self._offset, now
        return step if abs(step) >= NOTICED_S else 0.0


def shift_times(storage: Storage, seconds: float) -> None:
    """Move all times in the database by a step of the clock. Raises sqlite3.Error."""
    with storage.change() as database:
        for table, columns in _TIMES:
            moved = ", ".join(f"{column} = {column} + ?" for column in columns)
            database.execute(f"UPDATE {table} SET {moved}", (seconds,) * len(columns))


def _offset() -> float:
    return time.time() - time.monotonic()
