"""The command ``scarseg-cohort``: a table of studies in, a folder of results out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from scarseg_runtime.errors import ModelError, ProviderError, ScarsegError, UsageError
from scarseg_runtime.version import __version__

SOME_FAILED: Final = 7
"""Exit code where the run came to its end but studies failed."""
_SHOW_S: Final = 10.0
_START_TRIES: Final = 3

_EPILOG: Final = """TABLE is CSV in UTF-8 (or .tsv) with a head:
  study     DICOM folder, zip of one, or NIfTI file (required)
  ecg       ECG file, empty for none or for the one in the study folder
  gap_days  days between ECG and MRI, where the files do not tell
  series    as for scarseg-infer --series
  id        folder of the results below OUT (default: number of the row)
Relative paths are taken from the folder of TABLE. On a cluster all paths must be the same on all
machines, and scarseg-infer of the same version installed there. Ray trusts its cluster: whoever
reaches its ports can run programs on it.

OUT gets a folder for each study, results.parquet, failures.csv, and cohort.jsonl, by which a second
run goes on: what is done and unchanged is skipped, what failed is tried again.

exit codes: as of scarseg-infer; 7 done, but studies failed; 130 interrupted

Research use only. Not a medical device. The shipped reference model is trained on a digital
twin and has never seen a patient's scar."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    arguments = argparse.ArgumentParser(
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
    try:
        return _run(arguments)
    except ScarsegError as error:
        sys.stderr.write(f"scarseg-cohort: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("scarseg-cohort: interrupted; the same command goes on from here.\n")
        return 130
    except ImportError as error:
        if error.name not in ("ray", "pyarrow"):
            raise
        sys.stderr.write(
            f"scarseg-cohort: {error.name} is missing. pip install 'scarseg-infer[cohort]'\n"
        )
        return UsageError.exit_code


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())


def _run(arguments: argparse.Namespace) -> int:
    from scarseg_infer.cohort.journal import Journal
    from scarseg_infer.cohort.results import write_tables
    from scarseg_infer.cohort.table import read_table
    from scarseg_infer.write import check_only

    only = tuple(name for name in arguments.only.split(",") if name)
    check_only(only)
    for name, value in (("--workers", arguments.workers), ("--timeout", arguments.timeout),
                        ("--threads-per-worker", arguments.threads_per_worker)):  # fmt: skip
        if value is not None and not value > 0:
            raise UsageError(f"{name} must be above 0", "Leave it out")
    rows = read_table(arguments.table)
    with _locked(arguments.out), Journal(arguments.out) as journal:
        shown = _Shown(len(rows), quiet=arguments.quiet)
        try:
            _settle(arguments, only, rows, journal, shown)
        finally:
            write_tables(arguments.out, rows, journal.outcomes)
    sys.stdout.write(f"{shown.summary()}\n")
    return SOME_FAILED if shown.counts["failed"] else 0


def _settle(
    arguments: argparse.Namespace, only: tuple[str, ...], rows: Any, journal: Any, shown: _Shown
) -> None:
    from scarseg_infer.cohort.worker import WorkerOptions

    name, files = _model_files(arguments.model)
    options = WorkerOptions(
        out=str(arguments.out.resolve()), only=only, provider=arguments.provider,
        precision=arguments.precision, threads=arguments.threads_per_worker,
        timeout_s=arguments.timeout, allow_identity_mismatch=arguments.allow_identity_mismatch,
        model_files=files, model_name=name,
    )  # fmt: skip
    with _ray(arguments) as workers:
        from scarseg_infer.cohort.driver import Driver

        Driver(options, workers, journal, shown.told).run(rows)


def _model_files(model: Path | None) -> tuple[str, dict[str, bytes]]:
    """What workers on other machines need of a model file."""
    if model is None:
        return "", {}
    from scarseg_runtime.model_file import with_half_variant

    files = {file.path.name: file.path.read_bytes() for file in with_half_variant(model)}
    if not files:
        raise ModelError("the model file cannot be read")
    return model.name, files


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
    except OSError as error:
        raise UsageError(
            f"OUT cannot be used ({error.strerror})", "Check who may write there"
        ) from error
    with lock:
        yield


@contextmanager
def _ray(arguments: argparse.Namespace) -> Iterator[int]:
    """A connection to Ray; how many workers to use."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # Ray reports to its makers otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    from scarseg_runtime.cores import usable_cores

    threads = arguments.threads_per_worker
    local: dict[str, Any] = {}
    if arguments.address is None:
        workers = arguments.workers or max(1, usable_cores() // threads)
        local = {
            "num_cpus": workers * threads, "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
        }  # fmt: skip
    _connect(ray, arguments.address, local)
    try:
        if arguments.address is not None:
            cores = ray.cluster_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
            workers = arguments.workers or max(1, int(cores) // threads)
        yield workers
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None, local: dict[str, Any]) -> None:
    """Start or reach Ray. On a busy machine it may give up on itself, with a plain Exception."""
    for attempt in range(_START_TRIES):
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **local)
            return
        except Exception as error:
            ray.shutdown()
            if attempt + 1 == _START_TRIES or isinstance(error, ValueError):
                raise ProviderError(
                    "Ray cannot be reached or started",
                    "Check --address, or free memory",
                ) from error


class _Shown:
    """Progress on stderr: how far, how fast, and when it will be over."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._quiet = total, quiet
        self._first: float | None = None  # when the first study was computed: Ray takes a while
        self._shown = time.monotonic()
        self.counts: Counter[str] = Counter()

    def told(self, outcome: Any) -> None:
        """A study was settled."""
        self.counts["unchanged" if outcome.unchanged else outcome.state] += 1
        now = time.monotonic()
        if self._first is None and not outcome.unchanged:
            self._first = now
        if self._quiet or (now - self._shown < _SHOW_S and self._left()):
            return
        self._shown = now
        sys.stderr.write(f"{self._line(now)}\n")

    def _left(self) -> int:
        return self._total - self.counts.total()

    def _line(self, now: float) -> str:
        parts = [f"{self.counts.total()} of {self._total}", f"{self.counts['failed']} failed"]
        after_first = self.counts["done"] + self.counts["failed"] - 1
        if self._first is not None and after_first > 0:
            rate = after_first / max(now - self._first, 1e-9)
            parts += [f"{60 * rate:.1f} a minute", f"{_clock(self._left() / rate)} left"]
        return ", ".join(parts)

    def summary(self) -> str:
        """What was done, in one line."""
        words = ", ".join(f"{self.counts[name]} {name}" for name in ("done", "unchanged", "failed"))
        return f"{self._total} studies: {words}. Research use only. Not a medical device."


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


if __name__ == "__main__":
    run()
