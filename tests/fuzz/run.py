"""Coverage-guided fuzzing of everything that reads files from elsewhere (needs atheris).

    python tests/fuzz/run.py                              all targets, in 30 minutes
    python tests/fuzz/run.py dicom zip_study --minutes 6 --jobs 2 --json report.json

A target is a module in ``targets/`` with ``seeds() -> dict[str, bytes]`` and ``one(data)``, and
perhaps ``MAX_LEN``, ``DICTIONARY`` and ``mutate(data, limit, seed, plain)``. ``one`` may raise
:class:`ScarsegError`; whatever else comes out of it is a finding, and so is what takes longer than
5 s. What crashed or was slow lies below ``--work``; a small finding belongs into
``findings/<target>/``, where the tests try it for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np

PLACE: Final = Path(__file__).resolve().parent
ROOT: Final = PLACE.parents[1]
INSTRUMENTED: Final = (
    "scarseg_infer", "scarseg_runtime", "pydicom", "nibabel", "ecgdatakit", "wfdb",
    "python_multipart",
)  # fmt: skip
_TABLES: Final = (
    "pydicom._dicom_dict", "pydicom._private_dict", "pydicom._uid_dict", "pydicom.sr._cid_dict",
    "pydicom.sr._concepts_dict", "pydicom.sr._snomed_dict",
)  # fmt: skip
"""Nothing but data, which would take a quarter of a minute to instrument."""
MAX_LEN: Final = 131_072
ONE_LIMIT_MB: Final = 2048
"""For a single allocation."""
RSS_LIMIT_MB: Final = 6144
"""For all: the fuzzer itself grows, where reading the same files without it does not."""
TIMEOUT_S: Final = 20
SLOW_S: Final = 5
"""Reading that takes longer is a finding: a node with such files one after another stands still."""
MAX_RESTARTS: Final = 200

_PROGRESS: Final = re.compile(r"^#\d+\t.*?\bcov: (\d+) ft: (\d+) corp: (\d+)/", re.M)
_STATISTIC: Final = re.compile(r"^stat::(\w+):\s+(\d+)", re.M)
_UNCAUGHT: Final = re.compile(r"Uncaught Python exception: ===\n([^\n:]*)")
_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_LIBFUZZER: Final = re.compile(r"ERROR: libFuzzer: ([\w-]+)")


@dataclass(slots=True)
class Report:
    """Outcome of one target."""

    target: str
    seconds: float = 0.0
    executions: int = 0
    accepted: int = 0
    """Inputs that were read, not refused: what fuzzing never gets past says little."""
    corpus: int = 0
    cov: int = 0
    ft: int = 0
    slow: int = 0
    """Inputs that took longer than ``SLOW_S``."""
    peak_rss_mb: int = 0
    crashes: dict[str, int] = field(default_factory=dict)
    """Counts by exception type and the last frame of ours."""
    last_words: str = ""
    """The end of a run that could not even start."""


def targets() -> list[str]:
    return sorted(path.stem for path in (PLACE / "targets").glob("[a-z]*.py"))


def load(name: str) -> ModuleType:
    """The target of that name; it imports what stands beside this file and the product's tests."""
    for shared in (str(PLACE), str(PLACE.parent / "infer")):
        if shared not in sys.path:
            sys.path.insert(0, shared)
    place = PLACE / "targets" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs(name: str, target: ModuleType) -> dict[str, bytes]:
    """The seeds of a target and everything that was ever found with it."""
    folder = PLACE / "findings" / name
    found = {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}
    return {re.sub(r"\W", "_", key): data for key, data in target.seeds().items()} | found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(targets()))
    parser.add_argument("--minutes", type=float, default=30.0, help="in which all targets are done")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("fuzz-work"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(targets()):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.child is not None:
        fuzz(options.names[0], options.child, options.work, options.seed)
        return 0
    names = options.names or targets()
    share_s = options.minutes * 60 * min(options.jobs, len(names)) / len(names)
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(supervise, n, share_s, options.work, options.seed) for n in names]
        reports = [job.result() for job in jobs]
    sys.stdout.write(table(reports) + "\n")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in reports], indent=1) + "\n")
    return int(any(report.crashes or report.slow or report.last_words for report in reports))


def supervise(name: str, share_s: float, work: Path, seed: int) -> Report:
    """Fuzz in processes of their own, the next one after each crash, until the time is over."""
    report = Report(name)
    crashes = work / "crashes" / name
    crashes.mkdir(parents=True, exist_ok=True)
    np.zeros(1, np.int64).tofile(crashes / "accepted")
    for old in crashes.glob("slow-unit-*"):  # of an earlier run in the same place
        old.unlink()
    begin = time.monotonic()
    for attempt in range(MAX_RESTARTS):
        left_s = share_s - (time.monotonic() - begin)
        if left_s < 1 and attempt:
            break
        command = [
            sys.executable, str(Path(__file__).resolve()), name, "--child", f"{max(left_s, 1):.0f}",
            "--work", str(work), "--seed", str(seed + attempt),
        ]  # fmt: skip
        with (crashes / f"log-{attempt}.txt").open("wb") as log_file:
            done = subprocess.run(command, stdout=log_file, stderr=log_file, check=False)
        log = Path(log_file.name).read_text(errors="replace")
        report.accepted += int(np.fromfile(crashes / "accepted", np.int64)[0])
        if not count(report, log, failed=done.returncode != 0):
            break
        _drop_crashing(work / "corpus" / name, crashes)
    report.seconds = round(time.monotonic() - begin, 1)
    report.slow = len(list(crashes.glob("slow-unit-*")))
    return report


def count(report: Report, log: str, *, failed: bool) -> bool:
    """Add what a run said of itself; whether there is sense in another one."""
    statistics = {key: int(value) for key, value in _STATISTIC.findall(log)}
    report.executions += statistics.get("number_of_executed_units", 0)
    report.peak_rss_mb = max(report.peak_rss_mb, statistics.get("peak_rss_mb", 0))
    for cov, ft, corpus in _PROGRESS.findall(log)[-1:]:
        report.cov, report.ft = max(report.cov, int(cov)), max(report.ft, int(ft))
        report.corpus = int(corpus)
    if not failed:
        return False
    if not statistics:
        report.last_words = log[-2000:]
        return False
    name = crash_name(log)
    report.crashes[name] = report.crashes.get(name, 0) + 1
    return True


def crash_name(log: str) -> str:
    """Exception type and the last frame of ours: crashes that share them are one finding."""
    uncaught = _UNCAUGHT.search(log)
    if uncaught is None:
        found = _LIBFUZZER.search(log)
        return found[1] if found else "died without a word"
    frames = _FRAME.findall(log, uncaught.start())
    own = [frame for frame in frames if "/scarseg_" in frame[0]] or frames
    return " ".join([uncaught[1], *(f"at {Path(f).name}:{n} in {of}" for f, n, of in own[-1:])])


def _drop_crashing(corpus: Path, crashes: Path) -> None:
    """Seeds that crash would stop every later run at its start."""
    known = {path.name.partition("-")[2] for path in crashes.iterdir()}
    for path in corpus.iterdir():
        if hashlib.sha1(path.read_bytes()).hexdigest() in known:
            path.unlink()


def fuzz(name: str, seconds: float, work: Path, seed: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    sys.path[:0] = [str(ROOT), str(ROOT / "runtime"), str(ROOT / "export")]
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED), exclude=list(_TABLES)):
        target = load(name)
        found = inputs(name, target)
        # Much is imported only when it is needed: now, so that it is instrumented too.
        for data in found.values():
            with suppress(Exception):  # found again, and kept, by the fuzzer itself
                _refused(target, data)
    corpus, crashes = work / "corpus" / name, work / "crashes" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for key, data in found.items():
        (corpus / f"seed-{key}").write_bytes(data)
    counter = np.memmap(crashes / "accepted", np.int64, "w+", shape=(1,))  # outlives any crash

    def one(data: bytes) -> None:
        counter[0] += not _refused(target, data)

    arguments = [
        sys.argv[0], str(corpus), f"-max_total_time={seconds:.0f}", f"-seed={seed}",
        f"-artifact_prefix={crashes}/", f"-timeout={TIMEOUT_S}",
        f"-report_slow_units={SLOW_S}", f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-malloc_limit_mb={ONE_LIMIT_MB}", "-print_final_stats=1",
        f"-max_len={getattr(target, 'MAX_LEN', MAX_LEN)}", "-len_control=0",
        *_dictionary(work / f"{name}.dict", getattr(target, "DICTIONARY", ())),
    ]  # fmt: skip
    ways = {}
    if hasattr(target, "mutate"):
        ways["custom_mutator"] = lambda d, n, s: target.mutate(d, n, s, atheris.Mutate)
    atheris.Setup(arguments, one, **ways)
    atheris.Fuzz()


def _refused(target: ModuleType, data: bytes) -> bool:
    from scarseg_runtime.errors import ScarsegError

    try:
        target.one(data)
        return False
    except ScarsegError:
        return True


def _dictionary(path: Path, words: Iterable[str | bytes]) -> list[str]:
    """libFuzzer's option for words, written to ``path``."""
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    lines = ('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in raw)
    path.write_text("".join(lines))
    return [f"-dict={path}"] if raw else []


def table(reports: Sequence[Report]) -> str:
    """One line a target, then one a finding."""
    rows = [
        asdict(r) | {"exec/s": round(r.executions / max(r.seconds, 1)), "crashes": len(r.crashes)}
        for r in reports
    ]
    heads = [key for key in rows[0] if key != "last_words"]
    lines = ["".join(f"{key:>12}" for key in heads)]
    lines += ["".join(f"{row[key]:>12}" for key in heads) for row in rows]
    lines += [f"{r.target}: {name} ({n}×)" for r in reports for name, n in r.crashes.items()]
    lines += [f"{r.target}: slower than {SLOW_S} s ({r.slow}×)" for r in reports if r.slow]
    return "\n".join(lines + [f"{r.target}: {r.last_words}" for r in reports if r.last_words])


if __name__ == "__main__":
    sys.exit(main())
