"""The table of a cohort, its journal, and what a second run may skip."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from scarseg_infer import OutputError, UsageError
from scarseg_infer.cohort.journal import Journal, Outcome, digest
from scarseg_infer.cohort.main import main
from scarseg_infer.cohort.results import write_tables
from scarseg_infer.cohort.table import Row, read_table


def table(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_table_in_full(tmp_path: Path) -> None:
    text = '\ufeffid,study,ecg,gap_days,series\r\n a-1 ,mri/1,"e,1.dat",3.5,2\r\n,/abs/2.zip,,,\r\n'
    first, second = read_table(table(tmp_path, text))
    assert first == Row("a-1", str(tmp_path / "mri/1"), str(tmp_path / "e,1.dat"), 3.5, "2")
    assert second == Row("00002", "/abs/2.zip")
    tabs = table(tmp_path, "study\tecg\na b\tc\n", "table.tsv")
    assert read_table(tabs) == [Row("00001", str(tmp_path / "a b"), str(tmp_path / "c"))]


BAD = {
    "": "columns",
    "study\n": "lists no studies",
    "mri\na\n": "columns",
    "study,patient\na,b\n": "columns",
    "study,study\na,b\n": "columns",
    "id,study\na,x\nA,y\n": "row 2 .* repeats an id",
    "id,study\n../a,x\n": "id in row 1",
    "id,study\na.,x\n": "id in row 1",
    "id,study\n.hidden,x\n": "id in row 1",
    f"id,study\n{'a' * 101},x\n": "id in row 1",
    "study,ecg\na\n": "row 1 .* cells",
    "study\na,b\n": "row 1 .* cells",
    "study,ecg\n,b\n": "row 1 .* names no study",
    "study,gap_days\na,soon\n": "gap_days in row 1",
    "study,gap_days\na,inf\n": "gap_days in row 1",
    'study\n"a"b\n': "not CSV",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=BAD[text]):
        read_table(table(tmp_path, text))


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"study\n\xff\xfe\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read_table(tmp_path / "binary.csv")


WORDS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="\x1c"), min_size=1, max_size=20
)


@given(st.lists(st.tuples(WORDS, WORDS | st.just(""), st.floats(0, 1e4)), min_size=1, max_size=8))
def test_whatever_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, float]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study", "ecg", "gap_days"])
        writer.writerows(cells)
    rows = read_table(folder / "t.csv")
    assert [(row.study, row.ecg, row.gap_days) for row in rows] == [
        (str(folder / study), str(folder / ecg) if ecg else None, days)
        for study, ecg, days in cells
    ]


def test_the_digest_follows_the_inputs(tmp_path: Path) -> None:
    study, ecg = tmp_path / "study", tmp_path / "rec.dat"
    (study / "inner").mkdir(parents=True)
    (study / "inner" / "a").write_bytes(b"1")
    for suffix in (".dat", ".hea"):
        ecg.with_suffix(suffix).write_bytes(b"2")
    row = Row("x", str(study), str(ecg))
    seen = {digest(row, "options")}
    assert digest(row, "options") in seen
    changes = [
        lambda: (study / "inner" / "a").write_bytes(b"22"),
        lambda: os.utime(study / "inner" / "a", ns=(1, 1)),
        lambda: (study / "b").write_bytes(b""),
        lambda: ecg.with_suffix(".hea").write_bytes(b"other"),  # not the file that was named
        lambda: (study / "b").unlink() or (study / "inner" / "c").write_bytes(b""),
    ]
    for change in changes:
        change()
        found = digest(row, "options")
        assert found not in seen
        seen.add(found)
    for other in (Row("x", str(study), str(ecg), 1.0), Row("x", str(study)),
                  Row("x", str(study), str(ecg), None, "2")):  # fmt: skip
        assert digest(other, "options") not in seen
    assert digest(row, "other options") not in seen
    assert digest(Row("y", str(study), str(ecg)), "options") in seen  # the id is not an input


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_that_was_cut_off_loses_one_line(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path) as journal:
        for name in ("a", "b", "c"):
            journal.add(Outcome(name, "done", name * 64))
    file = tmp_path / "cohort.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    with Journal(tmp_path) as journal:
        assert set(journal.outcomes) in ({"a", "b"}, {"a", "b", "c"})
        journal.add(Outcome("d", "failed", "", "StudyError", "why"))
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


def test_results_that_were_deleted_wait(tmp_path: Path) -> None:
    outcomes = {name: Outcome(name, "done", "x", seconds=1.0) for name in ("gone", "old")}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "result.json").write_text("{}")
    write_tables(tmp_path, [Row("gone", "a"), Row("old", "b")], outcomes)
    rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [(row["id"], row["state"], row["seconds"]) for row in rows] == [
        ("gone", "waiting", None),
        ("old", "waiting", None),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv", "-o", "out"], "cannot be read"),
        (["t.csv", "-o", "out", "--only", "pictures"], "no output"),
        (["t.csv", "-o", "out", "--workers", "0"], "--workers"),
        (["t.csv", "-o", "out", "--timeout", "-1"], "--timeout"),
        (["t.csv", "-o", "t.csv"], "OUT cannot be used"),
    ],
)
def test_bad_calls_get_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    table(tmp_path, "study\na\n", "t.csv")
    assert main(arguments) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
