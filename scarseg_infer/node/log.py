"""The node's log: one JSON object a line, without patient identifiers.

A study goes by the node's own number for it. Callers of :meth:`Log.write` pass only values made
by this program (numbers, our own texts, names from the configuration), never header values.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import TextIO


class Log:
    """Writes events to a stream; may be used from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, event: str, **fields: str | int | float | bool | None) -> None:
        """Write one event with its fields; a stream that is gone is no reason to stop."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **fields})
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return
