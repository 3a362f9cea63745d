"""What of a cohort is done: one line of JSON a study, added when it is settled.

Only the driver writes it. A line that was cut off by a crash is ignored: its study is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal

from scarseg_infer.cohort.table import Row
from scarseg_runtime.errors import OutputError

FILE: Final = "cohort.jsonl"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one study. The last one of an id counts."""

    id: str
    state: Literal["done", "failed"]
    inputs: str
    """Digest of files, options, model and version: where it is the same, so is the result."""
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
            try:
                outcome = Outcome(**json.loads(line))
            except (ValueError, TypeError):  # cut off, or of another version
                continue
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
        if not outcome.unchanged:
            with _writing():
                self._file.write(json.dumps(asdict(outcome)).encode() + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            self.outcomes[outcome.id] = outcome


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the journal of the cohort cannot be written ({error.strerror})",
            "Check the disk of OUT, and who may write there",
        ) from error


def digest(row: Row, options: str) -> str:
    """Digest of what a result is made from: names, sizes and times of the files, not contents.

    Args:
        options: whatever else the result depends on.
    """
    found = [options, repr(row.gap_days), repr(row.series)]
    for given in (row.study, row.ecg):
        found += ["-", *_files(Path(given))] if given else ["-"]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _files(path: Path) -> list[str]:
    """Of a folder all files; of a file also those beside it that differ in the suffix alone,
    since a WFDB record is several."""
    if path.is_dir():
        files = [Path(root, name) for root, _, names in os.walk(path) for name in names]
    else:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        files = [file for file in beside if file == path or file.stem in (path.stem, path.name)]
    lines = []
    for file in sorted(files):
        try:
            status = file.stat()
        except OSError:  # a dangling link; reading tells
            continue
        lines.append(f"{file.relative_to(path.parent)} {status.st_size} {status.st_mtime_ns}")
    return lines
