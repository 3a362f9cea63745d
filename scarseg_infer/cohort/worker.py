"""One process of the cohort: a warm Segmenter that takes one study after another."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scarseg_infer.cohort.journal import Outcome, digest
from scarseg_infer.cohort.table import Row
from scarseg_infer.crash_place import crash_place
from scarseg_infer.segmenter import Segmenter
from scarseg_infer.write import NAMES
from scarseg_runtime.errors import ScarsegError
from scarseg_runtime.version import __version__


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What all workers have in common; shipped to them by Ray."""

    out: str
    """Folder of all results, at the same path on every machine."""
    only: tuple[str, ...]
    provider: str
    precision: str
    threads: int
    timeout_s: float | None
    allow_identity_mismatch: bool
    model_files: Mapping[str, bytes]
    """The model file and its FP16 variant by name; empty for the model that is shipped."""
    model_name: str
    """Which of ``model_files`` to load."""


class StudyWorker:
    """An actor of Ray; :meth:`start` comes first."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._segmenter: Segmenter | None = None
        self._made_by = ""

    def start(self) -> tuple[str, int, str]:
        """Load and warm up. The version, and exit code and message of what is wrong (0, "")."""
        options = self._options
        try:
            with tempfile.TemporaryDirectory(prefix="scarseg-") as folder:
                for name, data in options.model_files.items():
                    Path(folder, name).write_bytes(data)
                self._segmenter = Segmenter.from_model(
                    Path(folder, options.model_name) if options.model_files else None,
                    provider=options.provider, precision=options.precision,
                    threads=options.threads,
                )  # fmt: skip
                self._segmenter.warm_up()
                used = self._segmenter.model_use()
                self._made_by = f"{__version__} {used.sha256} {used.provider} {used.precision}"
        except ScarsegError as error:
            return __version__, error.exit_code, str(error)
        return __version__, 0, ""

    def process(self, row: Row, known: str | None) -> Outcome:
        """Segment one study and write its results, unless an earlier run did.

        Args:
            known: digest of the inputs from which the results in OUT were made.
        """
        start = time.monotonic()
        options = self._options
        folder = Path(options.out, row.id)
        only = sorted({*options.only, "json"})
        inputs = digest(row, " ".join([self._made_by, *only, str(options.allow_identity_mismatch)]))
        if inputs == known and _is_whole(folder):
            return Outcome(row.id, "done", inputs, unchanged=True)
        kind = error = None
        try:
            assert self._segmenter is not None
            result = self._segmenter.run(
                row.study, row.ecg, gap_days=row.gap_days, series=row.series,
                allow_identity_mismatch=options.allow_identity_mismatch,
                timeout_s=options.timeout_s,
            )  # fmt: skip
            result.write(folder, overwrite=True, only=only)
        except ScarsegError as found:
            kind, error = type(found).__name__, str(found)
        except Exception as found:  # noqa: BLE001 - one odd study must not stop the others
            kind, error = "internal", crash_place(found)
        seconds = round(time.monotonic() - start, 3)
        return Outcome(row.id, "failed" if kind else "done", inputs, kind, error, seconds)


def _is_whole(folder: Path) -> bool:
    """Whether the results of an earlier run are all still there."""
    try:
        files = json.loads((folder / NAMES["json"]).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return all((folder / name).is_file() for name in files.values())
