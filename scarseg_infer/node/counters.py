"""Counters since the start of the process, for /metrics."""

from __future__ import annotations

import threading


class Counters:
    """Numbers that only grow; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to the counter of this name and these labels."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + amount

    def values(self) -> list[tuple[str, dict[str, str], float]]:
        """All counters, those of one name together."""
        with self._lock:
            found = sorted(self._values.items())
        return [(name, dict(labels), value) for (name, labels), value in found]
