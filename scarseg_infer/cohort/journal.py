"""Journal of a cohort: one line of JSON a study, added when it is settled.

Only the driver writes it. A line that was cut off by a crash is ignored: its study is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from scarseg_runtime.errors import OutputError

FILE: Final = "cohort.jsonl"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one study. The last one of an id counts."""

    id: str
    state: Literal["done", "failed"]
    key: str
    """Digest of what was asked for (:func:`scarseg_infer.cohort.inputs.key`)."""
    inputs: str = ""
    """Digest of that and of the files' contents: where it is the same, so is the result."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were written, by name: what else lies there is of another run."""
    error_kind: str | None = None
    """Name of a ScarsegError, ``internal`` or ``WorkerDied``."""
    error: str | None = None
    seconds: float = 0.0
    unchanged: bool = False
    """Nothing was computed: an earlier run had done it."""


class Journal:
    """The journal in OUT, open for adding. Use in a ``with`` block.

    Raises:
        OutputError: it cannot be read or, here and in :meth:`add`, written.
    """

    def __init__(self, folder: Path) -> None:
        self.outcomes: dict[str, Outcome] = {}
        path = folder / FILE
        with _writing():
            lines = path.read_bytes().splitlines() if path.exists() else []
            self._file = path.open("ab")
            self._file.write(b"\n" if lines else b"")  # ends a line that was cut off
        for line in lines:
            # What is cut off, or of another version, does not count.
            with suppress(ValueError, TypeError):
                outcome = Outcome(**json.loads(line))
                self.outcomes[outcome.id] = outcome

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _writing():
            self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Note an outcome, safe from a crash when this returns; of what is unchanged the earlier
        one stays."""
        if outcome.unchanged:
            return
        before = self.outcomes.get(outcome.id)
        # First: a signal that ends the run amid the writing, as on a slow disk, would leave the
        # outcome in the file but not in the tables.
        self.outcomes[outcome.id] = outcome
        try:
            with _writing():
                self._file.write(json.dumps(asdict(outcome)).encode() + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())
        except OutputError:
            del self.outcomes[outcome.id]
            if before:
                self.outcomes[outcome.id] = before
            raise


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the journal of the cohort cannot be written ({error.strerror})",
            "Check the disk of OUT, and who may write there",
        ) from error
