"""Progress of a cohort on stderr: how far, how fast, and when it will be over."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from scarseg_infer.cohort.journal import Outcome

SHOW_S: Final = 10.0
_WINDOW_S: Final = 300.0
"""Time that the rate looks back, and further where that were fewer than _FEWEST studies."""
_FEWEST: Final = 10
_COMPUTED_S: Final = 0.05
"""Least time of a study that was computed. What fails sooner was never computed: a path that does
not exist, or no study."""


class Progress:
    """Counts outcomes, and says a line every SHOW_S whether something happens or not.

    Args:
        now: the clock.
    """

    def __init__(
        self, total: int, *, quiet: bool, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._quiet, self._now = total, quiet, now
        self._shown = now()
        self._computed: deque[float] = deque()
        """Moments at which studies were computed, of late: what is skipped says nothing of the
        rest."""
        self.counts: Counter[str] = Counter()

    def told(self, outcome: Outcome) -> None:
        """A study was settled."""
        self.counts["unchanged" if outcome.unchanged else outcome.state] += 1
        if not outcome.unchanged and (outcome.state == "done" or outcome.seconds >= _COMPUTED_S):
            self._computed.append(self._now())
        if not self._left():
            self._show()

    def tick(self) -> None:
        """Time has passed."""
        if self._now() - self._shown >= SHOW_S:
            self._show()

    def warn(self, text: str) -> None:
        """Say what does not end the run, even where progress is not wanted."""
        sys.stderr.write(f"scarseg-cohort: {text}\n")

    def _show(self) -> None:
        self._shown = self._now()
        if not self._quiet:
            sys.stderr.write(f"{self.line()}\n")

    def _left(self) -> int:
        return self._total - self.counts.total()

    def line(self) -> str:
        """Progress, and from the second study that was computed on how fast and how long still."""
        now, times = self._now(), self._computed
        while len(times) > _FEWEST and now - times[0] > _WINDOW_S:
            times.popleft()
        parts = [f"{self.counts.total()} of {self._total}", f"{self.counts['failed']} failed"]
        if len(times) > 1:
            rate = (len(times) - 1) / max(now - times[0], 1e-9)
            parts += [f"{60 * rate:.1f} a minute", f"{_clock(self._left() / rate)} left"]
        return ", ".join(parts)

    def summary(self) -> str:
        """Summary of what was done, in one line."""
        words = ", ".join(f"{self.counts[name]} {name}" for name in ("done", "unchanged", "failed"))
        return f"{self._total} studies: {words}. Research use only. Not a medical device."


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
