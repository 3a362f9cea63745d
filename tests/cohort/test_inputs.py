"""Inputs that make a result another one, and a real worker that goes by them."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer.cohort.inputs import digest, key
from scarseg_infer.cohort.journal import Outcome
from scarseg_infer.cohort.table import Row
from scarseg_infer.cohort.worker import StudyWorker, WorkerOptions
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY


def rewritten(path: Path, content: bytes) -> None:
    """Other content of the same size at the same time, as far as the file system tells."""
    status = path.stat()
    assert len(content) == status.st_size
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_digest_follows_the_inputs(tmp_path: Path) -> None:
    study, ecg = tmp_path / "study", tmp_path / "rec.dat"
    (study / "inner").mkdir(parents=True)
    (study / "inner" / "a").write_bytes(b"1")
    ecg.write_bytes(b"2")
    ecg.with_suffix(".hea").write_text("rec 1 500\nsamples.bin 16 200\n")
    (tmp_path / "samples.bin").write_bytes(b"3")
    row = Row("x", str(study), str(ecg))
    seen = {digest(row, "s")}
    os.utime(study / "inner" / "a", ns=(1, 1))
    assert digest(row, "s") in seen  # as a copy or a restored backup is
    changes = [
        lambda: rewritten(study / "inner" / "a", b"2"),
        lambda: (study / "b").write_bytes(b""),
        lambda: rewritten(tmp_path / "samples.bin", b"4"),  # named in the header alone
        lambda: ecg.with_suffix(".hea").write_text("rec 1 500\nsamples.bin 16 100\n"),
        lambda: rewritten(ecg, b"5"),
        lambda: (study / "b").unlink(),
    ]
    for change in changes:
        change()
        found = digest(row, "s")
        assert found not in seen
        seen.add(found)
    for other in (replace(row, gap_days=1.0), replace(row, ecg=None), replace(row, series="2")):
        assert digest(other, "s") not in seen
    assert digest(row, "other") not in seen
    assert digest(replace(row, id="y"), "s") in seen


def test_the_same_content_elsewhere_is_another_study(tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        (tmp_path / name / "LGE").mkdir(parents=True)
        (tmp_path / name / "LGE" / "1.dcm").write_bytes(b"x")
    alice, bob = (Row("1", str(tmp_path / name / "LGE")) for name in ("alice", "bob"))
    assert key(alice, "s") != key(bob, "s")
    assert digest(alice, "s") != digest(bob, "s")


def test_hostile_headers_name_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"1")
    (tmp_path / "in").mkdir()
    header = tmp_path / "in" / "rec.hea"
    header.write_text("rec 1 500\n../secret 16\n.. 16\n/dev/zero 16\nrec\0 16\n")
    row = Row("x", str(tmp_path / "none"), str(header))
    before = digest(row, "s")
    (tmp_path / "secret").write_bytes(b"2")
    assert digest(row, "s") == before


@pytest.fixture
def worker(tmp_path: Path) -> StudyWorker:
    """As an actor of Ray would hold it; it writes to ``out``."""
    options = WorkerOptions(
        str(tmp_path / "out"), ("json",), "cpu", "auto", 1, None, False, {}, "", "s"
    )
    found = StudyWorker(options)
    assert found.start()[1:] == (0, "")
    return found


@pytest.mark.parametrize("own_model", [False, True])
def test_without_room_for_temporary_files_a_worker_says_so(
    own_model: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that is shipped needs none."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refuse)
    files = {"own.onnx": b"model"} if own_model else {}
    worker = StudyWorker(WorkerOptions(
        str(tmp_path), ("json",), "cpu", "auto", 1, None, False, files, "own.onnx", "s"
    ))  # fmt: skip
    _, code, said = worker.start()
    assert (code, "TMPDIR" in said) == ((5, True) if own_model else (0, False))


def outcome(worker: StudyWorker, row: Row, earlier: Outcome | None = None) -> tuple[str, bool]:
    found = worker.process(row, earlier)
    return found.state, found.unchanged


def test_a_worker_skips_only_what_is_whole_and_of_the_same_inputs(
    worker: StudyWorker, tmp_path: Path
) -> None:
    study = shutil.copytree(DEMO_STUDY, tmp_path / "study")
    row = Row("p", str(study), str(DEMO_ECG))
    first = worker.process(row, None)
    assert first.state == "done" and set(first.outputs) == {"result.json"}
    assert outcome(worker, row, first) == ("done", True)
    assert outcome(worker, replace(row, ecg=None), first) == ("done", False)
    # That was of other inputs, and its driver was killed before it could note it.
    assert outcome(worker, row, first) == ("done", False)
    again = worker.process(row, None)
    for content in (b"", b"[]", b'{"files": []}'):  # after a loss of power, or by somebody
        (tmp_path / "out" / "p" / "result.json").write_bytes(content)
        assert outcome(worker, row, again) == ("done", False)
    shutil.move(study, tmp_path / "elsewhere")
    shutil.copytree(DEMO_STUDY, study, copy_function=shutil.copy)
    again = worker.process(row, None)
    assert outcome(worker, row, again) == ("done", True)


@pytest.mark.parametrize("name", ["a" * 300, "x\0y", "none"])
def test_odd_paths_fail_alone(worker: StudyWorker, tmp_path: Path, name: str) -> None:
    found = worker.process(Row("p", str(tmp_path / name), str(tmp_path / name)), None)
    assert found.state == "failed"
    assert found.error_kind == ("UsageError" if "\0" in name else "StudyError")
    assert name not in str(found.error)


def test_nifti_studies_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    rows = []
    for value in (1, 2):
        nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 3), value, np.int16), np.eye(4)), path)
        rows.append(digest(Row("x", str(path)), "s"))
    assert rows[0] != rows[1]


@pytest.mark.parametrize("name", ["/home/elsewhere/data.bin", "C:\\ecg\\data.bin", "DATA.BIN"])
def test_data_that_the_header_names_by_another_place_counts(tmp_path: Path, name: str) -> None:
    """It is read, so a result made from it is old where it changes."""
    header, data = tmp_path / "rec.hea", tmp_path / "data.bin"
    header.write_text(f"rec 1 500\n{name} 16 200\n")
    row = Row("x", str(tmp_path / "none"), str(header))
    found = []
    for content in (b"1", b"2"):
        data.write_bytes(content)
        found.append(digest(row, ""))
    assert found[0] != found[1]
