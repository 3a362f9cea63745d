"""One process of the cohort: a warm Segmenter that takes one study after another."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scarseg_infer.cohort.inputs import digest, key, study_of
from scarseg_infer.cohort.journal import Outcome
from scarseg_infer.cohort.outputs import fingerprints
from scarseg_infer.cohort.table import Row
from scarseg_infer.host.crash_place import crash_place
from scarseg_infer.segmenter import Segmenter
from scarseg_infer.study.files import KeptFiles
from scarseg_runtime.errors import ModelError, ScarsegError
from scarseg_runtime.version import __version__


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options that all workers share; shipped to them by Ray."""

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
    """Key of the one of ``model_files`` to load."""
    settings: str
    """All of this that a result depends on, version and model included; see ``inputs.py``. What a
    worker finds on its machine, such as the provider that ``auto`` takes, is no part of it: the
    same study may come to another worker in the next run."""


class StudyWorker:
    """An actor of Ray; :meth:`start` comes first."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._segmenter: Segmenter | None = None

    def start(self) -> tuple[str, int, str]:
        """Load and warm up. The version, and exit code and message of what is wrong (0, "")."""
        options = self._options
        try:
            with self._model() as model:
                self._segmenter = Segmenter.from_model(
                    model, provider=options.provider, precision=options.precision,
                    threads=options.threads,
                )  # fmt: skip
                self._segmenter.warm_up()
        except ScarsegError as error:
            return __version__, error.exit_code, str(error)
        except Exception as error:  # noqa: BLE001 - of a machine that lacks something
            return __version__, 1, f"internal error, {crash_place(error)}"
        return __version__, 0, ""

    @contextmanager
    def _model(self) -> Iterator[Path | None]:
        """The file of the model as long as it is loaded; None for the model that is shipped.

        Raises:
            ModelError: there is no room for it.
        """
        options = self._options
        if not options.model_files:
            yield None
            return
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="scarseg-"))
                for name, data in options.model_files.items():
                    Path(folder, name).write_bytes(data)
            except OSError as error:
                raise ModelError(
                    "the model needs a folder for temporary files, and there is none with room",
                    "Set TMPDIR to a folder with some space on every machine",
                ) from error
            yield Path(folder, options.model_name)

    def process(self, row: Row, earlier: Outcome | None) -> Outcome:
        """Segment one study and write its results, unless an earlier run did.

        Args:
            earlier: what became of this id before.
        """
        start = time.monotonic()
        asked, inputs, outputs = key(row, self._options.settings), "", {}
        kind = error = None
        try:
            study = study_of(Path(row.study))
            inputs = digest(row, self._options.settings, study)
            if earlier and earlier.inputs == inputs and self._is_whole(earlier):
                return replace(earlier, unchanged=True)
            outputs = self._segment(row, study)
        except ScarsegError as found:
            kind, error = type(found).__name__, str(found)
        except Exception as found:  # noqa: BLE001 - one odd study must not stop the others
            kind, error = "internal", crash_place(found)
        seconds = round(time.monotonic() - start, 3)
        state: Literal["done", "failed"] = "failed" if kind else "done"
        return Outcome(row.id, state, asked, inputs, outputs, kind, error, seconds)

    def _segment(self, row: Row, study: Path | KeptFiles) -> dict[str, str]:
        if self._segmenter is None:
            raise RuntimeError("the worker was not started")
        options = self._options
        result = self._segmenter.run(
            study, row.ecg, gap_days=row.gap_days, series=row.series,
            allow_identity_mismatch=options.allow_identity_mismatch,
            timeout_s=options.timeout_s,
        )  # fmt: skip
        folder = Path(options.out, row.id)
        result.write(folder, overwrite=True, only=sorted({*options.only, "json"}))
        return fingerprints(folder)

    def _is_whole(self, earlier: Outcome) -> bool:
        """True where the folder holds what that run wrote: all of it, and of no other run."""
        if earlier.state != "done" or not earlier.outputs:
            return False
        try:
            return fingerprints(Path(self._options.out, earlier.id)) == earlier.outputs
        except OSError:
            return False
