"""The journal of a cohort, the tables that are made from it, and what lies in OUT."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from pyarrow import parquet

from scarseg_infer import OutputError
from scarseg_infer.cohort.inputs import key
from scarseg_infer.cohort.journal import Journal, Outcome
from scarseg_infer.cohort.outputs import discard, fingerprints, sweep
from scarseg_infer.cohort.results import write_tables
from scarseg_infer.cohort.table import Row


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_that_was_cut_off_loses_one_line(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path) as journal:
        for name in ("a", "b", "c"):
            journal.add(Outcome(name, "done", name * 64, outputs={"result.json": name}))
    file = tmp_path / "cohort.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    with Journal(tmp_path) as journal:
        assert journal.outcomes["a"].outputs == {"result.json": "a"}
        assert set(journal.outcomes) in ({"a", "b"}, {"a", "b", "c"})
        journal.add(Outcome("d", "failed", "", error_kind="StudyError", error="why"))
    with Journal(tmp_path) as journal:
        assert {"a", "b", "d"} <= set(journal.outcomes)
        assert journal.outcomes["d"].error == "why"


def test_a_journal_that_cannot_be_kept_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path) as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            journal.add(Outcome("a", "done", "x"))
        assert journal.outcomes == {}
    (tmp_path / "other" / "cohort.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match="journal"):
        Journal(tmp_path / "other")


def test_a_run_that_is_stopped_amid_the_writing_has_in_its_tables_what_the_file_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: int) -> None:
        raise KeyboardInterrupt

    with Journal(tmp_path) as journal:
        monkeypatch.setattr(os, "fsync", stopped)
        with pytest.raises(KeyboardInterrupt):
            journal.add(Outcome("a", "done", "key"))
    with Journal(tmp_path) as again:
        assert again.outcomes.keys() == journal.outcomes.keys() == {"a"}


def test_lines_of_another_version_do_not_count(tmp_path: Path) -> None:
    lines = [
        '{"id": ["x"], "state": "done", "key": "a"}',
        '{"id": "y", "state": "done"}',
        "[]",
        "1",
    ]
    (tmp_path / "cohort.jsonl").write_text("\n".join(lines))
    with Journal(tmp_path) as journal:
        assert journal.outcomes == {}


def states(folder: Path) -> dict[str, tuple[str, float | None]]:
    rows = parquet.read_table(folder / "results.parquet").to_pylist()
    return {row["id"]: (row["state"], row["seconds"]) for row in rows}


def test_only_what_was_asked_for_and_is_still_there_is_done(tmp_path: Path) -> None:
    rows = [
        Row(name, f"/study/{name}") for name in ("gone", "other", "moved", "odd", "failed", "new")
    ]
    outcomes = {}
    for row in rows[:-1]:
        (tmp_path / row.id).mkdir()
        (tmp_path / row.id / "result.json").write_text("[]" if row.id == "odd" else "{}")
        state = "failed" if row.id == "failed" else "done"
        outputs = fingerprints(tmp_path / row.id)
        outcomes[row.id] = Outcome(row.id, state, key(row, "s"), outputs=outputs, seconds=1.0)
    (tmp_path / "gone" / "result.json").unlink()
    (tmp_path / "other" / "result.json").write_text("{ }")  # by a run that was killed just then
    rows[2] = Row("moved", "/study/of another patient")
    write_tables(tmp_path, rows, outcomes, "s")
    waiting = ("waiting", None)
    expected = dict.fromkeys(("gone", "other", "moved", "odd", "new"), waiting)
    assert states(tmp_path) == expected | {"failed": ("failed", 1.0)}
    write_tables(tmp_path, rows, outcomes, "other settings")
    assert states(tmp_path) == expected | {"failed": waiting}


def test_tables_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "results.parquet" / "taken").mkdir(parents=True)
    with pytest.raises(OutputError, match="tables"):
        write_tables(tmp_path, [Row("a", "b")], {}, "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.parquet"]


def test_only_our_own_outputs_are_discarded(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        for file in ("result.json", "scar.dcm"):
            (tmp_path / name / file).touch()
    (tmp_path / "theirs" / "notes.txt").touch()
    (tmp_path / "file").touch()
    assert all(discard(tmp_path / name) for name in ("mine", "theirs", "file", "nothing"))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"theirs", "theirs/notes.txt", "file"}


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    kept = {"p1", ".p1-notes.partial", ".git", "elsewhere"}
    ours = {f".p1-{'0a' * 8}.partial", f".a-b.c-{'ff' * 8}.partial.old"}
    for name in kept | ours:
        (tmp_path / name).mkdir()
        (tmp_path / name / "scar.dcm").touch()
    link = f".p2-{'0b' * 8}.partial"
    (tmp_path / link).symlink_to("elsewhere")
    sweep(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == kept | {link}
    assert (tmp_path / "elsewhere" / "scar.dcm").exists()


def test_one_that_cannot_be_swept_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f".{study}-{'0a' * 8}.partial" for study in "abc"]
    for name in names:
        (tmp_path / name).mkdir()
    stuck = next(tmp_path.iterdir())  # what is met first
    rmtree = shutil.rmtree

    def refuse_one(path: Path) -> None:
        if path == stuck:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", refuse_one)
    with pytest.raises(OutputError, match=r"\(Permission denied\)"):
        sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [stuck]
