"""On a network share an open file is what costs: every file of a study is opened once."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.study import files as study_files
from scarseg_infer.study.files import KeptFiles, WatchedFiles
from scarseg_infer.study.read import read_study

RUN = """
import sys
place, *arguments = sys.argv[1:]

def hook(event, values):
    if event == "open" and str(values[0]).startswith(place):
        # Of a file opened by an opener both Python and the system tell: values[1] is then None.
        print("opened" if values[1] else "system", values[0], file=sys.stderr)

sys.addaudithook(hook)
"""
COMMAND = """
from scarseg_infer.cli import main
sys.exit(main(arguments))
"""
WORKER = """
from scarseg_infer.cohort.table import Row
from scarseg_infer.cohort.worker import StudyWorker, WorkerOptions
out, = arguments
worker = StudyWorker(WorkerOptions(out, ("json",), "cpu", "auto", 1, None, True, {}, "", "s"))
worker.start()
outcome = worker.process(Row("p", place), None)
sys.exit(outcome.error)
"""


def opens(place: Path, *arguments: str, run: str = COMMAND) -> Counter[str]:
    """Count how often each file below a place was opened by the command, or by what is given."""
    done = subprocess.run(
        [sys.executable, "-c", RUN + run, str(place), *arguments], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line.partition(" ") for line in done.stderr.splitlines()]
    by_python, by_system = (
        Counter(path for how, _, path in told if how == kind) for kind in ("opened", "system")
    )
    return by_python | by_system  # the larger of both


@pytest.fixture
def study(tmp_path: Path, ecg_factory: ModuleType) -> Path:
    """The demo's study with an ECG and a note in it."""
    folder = tmp_path / "study"
    folder.mkdir()
    for path in DEMO_STUDY.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    dataset = ecg_factory.dicom(
        ecg_factory.multiplex_group(ecg_factory.counts(), ecg_factory.LEADS),
        recorded="20240228104512",
    )
    (folder / "ecg.dcm").write_bytes(ecg_factory.dicom_bytes(dataset))
    (folder / "notes.txt").write_text("nothing")
    return folder


def test_a_run_opens_every_file_once(study: Path, tmp_path: Path) -> None:
    arguments = ("-o", str(tmp_path / "out"), "--only", "json", "--allow-identity-mismatch")
    found = opens(study, str(study), *arguments)
    assert found == {str(path): 1 for path in study.iterdir()}
    assert '"source": "dicom"' in (tmp_path / "out" / "result.json").read_text()


def test_a_worker_of_a_cohort_opens_every_file_once(study: Path, tmp_path: Path) -> None:
    """For the digest of the study, and to read it and look for its ECG."""
    found = opens(study, str(tmp_path / "out"), run=WORKER)
    assert found == {str(path): 1 for path in study.iterdir()}
    assert '"source": "dicom"' in (tmp_path / "out" / "p" / "result.json").read_text()


def test_a_list_of_series_opens_every_file_once(study: Path) -> None:
    assert set(opens(study, str(study), "--list-series").values()) == {1}


def test_a_zip_is_opened_to_see_what_it_is_and_once_to_be_read(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in study.iterdir():
            file.write(path, path.name)
    arguments = ("-o", str(tmp_path / "out"), "--only", "json", "--allow-identity-mismatch")
    assert opens(archive, str(archive), *arguments) == {str(archive): 2}


class Counted:
    """Files of ten bytes that count how often they are read."""

    def __init__(self, count: int) -> None:
        self.reads: Counter[int] = Counter()
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> bytes | None:
        self.reads[index] += 1
        return None if index == 0 else b"%10d" % index


def test_what_is_kept_is_bounded_and_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_files, "KEPT_BYTES", 50)
    counted, shown, told = Counted(20), [], []
    files = WatchedFiles(KeptFiles(counted, shown.append), told.append)
    first = [files.read(index) for index in range(20)]
    assert [files.read(index) for index in range(15, 20)] == first[15:]
    assert set(counted.reads.values()) == {1}
    assert files.read(1) == first[1]
    assert counted.reads[1] == 2
    assert shown == first[1:]  # each once, what is too large not at all
    assert told == sorted(told) and told[-1] <= 1.0
    assert len(files) == 20


def test_a_file_larger_than_all_that_is_kept_pushes_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study_files, "KEPT_BYTES", 9)
    counted = Counted(3)
    files = KeptFiles(counted)
    assert [files.read(1), files.read(1)] == [b"         1"] * 2
    assert counted.reads[1] == 2


def test_a_study_beyond_what_is_kept_is_read_the_same(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_study(study)
    monkeypatch.setattr(study_files, "KEPT_BYTES", 1)
    assert (read_study(study).pixels == whole.pixels).all()
