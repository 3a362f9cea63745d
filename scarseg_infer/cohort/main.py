"""The command ``scarseg-cohort``: a table of studies in, a folder of results out."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scarseg_infer.host.stop import EXIT_CODE as TERMINATED
from scarseg_infer.host.stop import Sigterm
from scarseg_runtime.console import CommandParser, run_console
from scarseg_runtime.errors import OutputError, ScarsegError, UsageError
from scarseg_runtime.install import install_command
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from scarseg_infer.cohort.journal import Journal
    from scarseg_infer.cohort.progress import Progress
    from scarseg_infer.cohort.table import Row
    from scarseg_infer.cohort.worker import WorkerOptions

SOME_FAILED: Final = 7
"""Exit code where the run came to its end but studies failed."""

_STOPPED: Final = "stopped; the same command goes on from here."

_EPILOG: Final = """TABLE is CSV, as spreadsheets of any language save it, with a head:
  study     DICOM folder, zip of one, or NIfTI file (required)
  ecg       ECG file, empty for none or for the one in the study folder
  gap_days  days between ECG and MRI, where the files do not tell
  series    as for scarseg-infer --series
  id        folder of the results below OUT (default: number of the row)
Relative paths are taken from the folder of TABLE. On a cluster all paths must be the same on all
machines, and scarseg-infer of the same version installed there. Any machine may die but the one
with the head and the one on which this runs. Ray trusts whoever has its token: see SECURITY.md.

OUT gets a folder for each study, results.parquet, failures.csv, and cohort.jsonl, by which a second
run goes on: what is done is skipped while files, settings and version are the same, what failed is
tried again. The tables have the rows of TABLE alone: folders of rows that it had before stay, and
so do the results of a row until they are replaced, or its study is there and fails. What the tables
call done counts.

exit codes: as of scarseg-infer; 7 done, but studies failed; 130 interrupted, 143 stopped by SIGTERM

Research use only. Not a medical device. The shipped reference model is trained on simulated
and re-rendered hearts and on real ECGs, and has never seen the image of a patient's scar."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    arguments = CommandParser(
        prog="scarseg-cohort",
        description="Find scar in many studies, on all cores or on a Ray cluster.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = arguments.add_argument
    add("table", metavar="TABLE", type=Path, help="which study goes with which ECG")
    add("-o", "--out", metavar="OUT", type=Path, required=True, help="folder for all results")
    add("--workers", metavar="N", type=int, help="processes (default: one for each core)")
    add("--threads-per-worker", metavar="N", type=int, default=1,
        help="cores of each process (default: 1, which gives most studies an hour)")  # fmt: skip
    add("--address", metavar="HOST:PORT",
        help="a running Ray cluster, or auto (default: this machine alone)")  # fmt: skip
    add("--only", metavar="NAMES", default="json,nifti",
        help="outputs of each study; json always (default: json,nifti)")  # fmt: skip
    add("--timeout", metavar="S", type=float, help="seconds after which a study fails")
    add("--allow-identity-mismatch", action="store_true",
        help="go on where ECG and MRI carry different patient identifiers")  # fmt: skip
    add("--model", metavar="FILE", type=Path, help="model file (default: the reference model)")
    add("--provider", metavar="NAME", default="auto", help="as for scarseg-infer")
    add("--precision", metavar="NAME", default="auto", help="as for scarseg-infer")
    add("-q", "--quiet", action="store_true", help="no progress")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = parser().parse_args(argv)
    sigterm = Sigterm()
    try:
        with sigterm.taken():
            return _run(arguments)
    except ScarsegError as error:
        return _ended(str(error), error.exit_code)
    except KeyboardInterrupt:
        if sigterm.came:
            return _ended(_STOPPED, TERMINATED)
        return _ended("interrupted; the same command goes on from here.", 130)
    except Exception as error:  # noqa: BLE001 - last resort: no traceback, it may quote a header
        if sigterm.came:  # an import that it breaks off may make another error of it
            return _ended(_STOPPED, TERMINATED)
        if isinstance(error, ImportError) and error.name in ("ray", "pyarrow"):
            missing = f"{error.name} is missing. {install_command('cohort')}"
            return _ended(missing, UsageError.exit_code)
        from scarseg_infer.host.crash_place import crash_place

        what = f"internal error, {crash_place(error)}"
        return _ended(f"{what}. Please report it with the version and the command.", 1)


def _ended(why: str, exit_code: int) -> int:
    sys.stderr.write(f"scarseg-cohort: {why}\n")
    return exit_code


def run() -> None:
    """Entry point of the console script."""
    sys.exit(run_console("scarseg-cohort", main))


def _run(arguments: argparse.Namespace) -> int:
    from scarseg_infer.cohort.journal import Journal
    from scarseg_infer.cohort.outputs import sweep
    from scarseg_infer.cohort.progress import Progress
    from scarseg_infer.cohort.results import write_tables
    from scarseg_infer.cohort.table import read_table, repeated_studies
    from scarseg_runtime.console import results_are_there

    rows = _checked(arguments, read_table(arguments.table))
    for warning in repeated_studies(rows):
        sys.stderr.write(f"warning: {warning}\n")
    options = _worker_options(arguments)
    with _locked(arguments.out), Journal(arguments.out) as journal:
        sweep(arguments.out)
        progress = Progress(len(rows), quiet=arguments.quiet)
        try:
            _settle(arguments, options, rows, journal, progress)
        finally:
            write_tables(arguments.out, rows, journal.outcomes, options.settings)
            with suppress(OutputError):  # a worker may not have ended yet: the next run does it
                sweep(arguments.out)
    results_are_there()
    sys.stdout.write(f"{progress.summary()}\n")
    return SOME_FAILED if progress.counts["failed"] else 0


def _checked(arguments: argparse.Namespace, rows: list[Row]) -> list[Row]:
    """The rows, where arguments make sense, alone and with them."""
    from scarseg_infer.write.folder import check_only

    check_only(_only(arguments))
    for name, value in (("--workers", arguments.workers), ("--timeout", arguments.timeout),
                        ("--threads-per-worker", arguments.threads_per_worker)):  # fmt: skip
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} must be a number above 0", "Leave it out")
    out = arguments.out.resolve()
    inside = {str(out), *map(str, out.parents)}
    for number, row in enumerate(rows, start=1):
        if os.path.realpath(row.study) in inside:
            raise UsageError(
                f"OUT lies in the study of row {number}, and would become part of it",
                "Choose another OUT",
            )
    return rows


def _only(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in arguments.only.split(",") if name)


def _worker_options(arguments: argparse.Namespace) -> WorkerOptions:
    from scarseg_infer.cohort.worker import WorkerOptions
    from scarseg_infer.models import model_path
    from scarseg_runtime.model_file.read import checked_bytes, with_half_variant

    with model_path(arguments.model) as path:
        models = with_half_variant(path)
        # Workers on other machines may not have the file.
        files = {m.path.name: checked_bytes(m) for m in models} if arguments.model else {}
    settings = json.dumps([
        __version__, [model.sha256 for model in models], arguments.provider, arguments.precision,
        sorted({*_only(arguments), "json"}), arguments.allow_identity_mismatch,
    ])  # fmt: skip
    return WorkerOptions(
        out=str(arguments.out.resolve()), only=_only(arguments), provider=arguments.provider,
        precision=arguments.precision, threads=arguments.threads_per_worker,
        timeout_s=arguments.timeout, allow_identity_mismatch=arguments.allow_identity_mismatch,
        model_files=files, model_name=models[0].path.name, settings=settings,
    )  # fmt: skip


def _settle(
    arguments: argparse.Namespace, options: WorkerOptions, rows: list[Row], journal: Journal,
    progress: Progress,
) -> None:  # fmt: skip
    from scarseg_infer.cohort.cluster import connected

    with connected(arguments.address, arguments.workers, options.threads) as workers:
        from scarseg_infer.cohort.driver import Driver

        Driver(options, workers, journal, progress).run(rows)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """OUT, made if need be, for this run alone."""
    from filelock import FileLock, Timeout

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".cohort.lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UsageError("another run uses OUT", "Wait for it, or choose another OUT") from error
    except (FileExistsError, NotADirectoryError) as error:
        what = "is a file" if isinstance(error, FileExistsError) else "lies in a file"
        raise UsageError(f"OUT {what}", "Name a folder") from error
    except OSError as error:
        raise UsageError(
            f"OUT cannot be used ({error.strerror})", "Check who may write there"
        ) from error
    with lock:
        yield


if __name__ == "__main__":
    run()
