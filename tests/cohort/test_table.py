"""The table of a cohort, and calls that make no sense."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_infer import UsageError
from scarseg_infer.cohort.main import main
from scarseg_infer.cohort.table import Row, read_table, repeated_studies
from scarseg_runtime.csv_table import cell_text


def table(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_a_table_in_full(tmp_path: Path) -> None:
    text = '\ufeffid,study,ecg,gap_days,series\r\n a-1 ,mri/1,"e,1.dat",3.5,2\r\n,/abs/2.zip,,,\r\n'
    first, second = read_table(table(tmp_path, text))
    assert first == Row("a-1", str(tmp_path / "mri/1"), str(tmp_path / "e,1.dat"), 3.5, "2")
    assert second == Row("00002", "/abs/2.zip")
    loose = table(tmp_path, "ID, Study\nconrad,a\n")
    assert read_table(loose) == [Row("conrad", str(tmp_path / "a"))]
    tabs = table(tmp_path, "study\tecg\na b\tc\n", "table.tsv")
    assert read_table(tabs) == [Row("00001", str(tmp_path / "a b"), str(tmp_path / "c"))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_as_a_spreadsheet_of_another_language_saves_it(
    tmp_path: Path, encoding: str, end: str
) -> None:
    text = "sep=;\nstudy;gap_days;ecg;\nM\u00fcller/mri;3,5;NA;\n;;;\nb;n/a;e.xml;\n;;;\n"
    path = tmp_path / "table.csv"
    path.write_bytes(text.replace("\n", end).encode(encoding))
    first, second = read_table(path)
    assert first == Row("00001", str(tmp_path / "M\u00fcller/mri"), None, 3.5)
    assert second == Row("00002", str(tmp_path / "b"), str(tmp_path / "e.xml"))


@pytest.mark.skipif(os.sep != "/", reason="there a backslash is a separator anyway")
def test_paths_written_on_windows(tmp_path: Path) -> None:
    path = table(tmp_path, "study,ecg\nmri\\p1,ecg\\1.xml\nodd\\name,\n")
    (tmp_path / "odd\\name").mkdir()
    first, second = read_table(path)
    assert (first.study, first.ecg) == (str(tmp_path / "mri/p1"), str(tmp_path / "ecg/1.xml"))
    assert second.study == str(tmp_path / "odd\\name")


def test_a_study_that_stands_twice_is_named(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path, "study,series\na,\nb,\na,2\n./a,\n"))
    assert list(repeated_studies(rows)) == [
        "row 4 of the table names the same study as row 1: it counts twice."
    ]


BAD = {
    "": "no column study",
    "study\n": "lists no studies",
    "mri\na\n": "no column study",
    "sep=;\nid,study\n1,a\n": "no column study",
    "study,patient\na,b\n": "unknown column 'patient'",
    "study,Study\na,b\n": "two columns study",
    "id,study\nResults.Parquet,x\n": "id in row 1 .* taken",
    "id,study\nok,x\nfailures.csv,x\n": "id in row 2 .* taken",
    "id,study\ncohort.jsonl,x\n": "id in row 1 .* taken",
    "id,study\nCon,x\n": "id in row 1 .* taken",
    "id,study\nlpt1.txt,x\n": "id in row 1 .* taken",
    "id,study\na,x\nA,y\n": "row 2 .* repeats an id",
    "id,study\n../a,x\n": "id in row 1",
    "id,study\na.,x\n": "id in row 1",
    "id,study\n.hidden,x\n": "id in row 1",
    f"id,study\n{'a' * 101},x\n": "id in row 1",
    "study,ecg\na\n": "row 1 .* cells",
    "study\na,b\n": "row 1 .* cells",
    "study\na\0b\n": "is no text",
    "study,ecg\n,b\n": "row 1 .* names no study",
    "study,gap_days\na,soon\n": "gap_days in row 1",
    "study,gap_days\na,inf\n": "gap_days in row 1",
    "study,gap_days\na,12.05.2020\n": "gap_days in row 1 .* not a date",
    'study,gap_days\na,"3,5"\n': "gap_days in row 1 .* as 12 or 3.5",
    "study,ecg\na,b,c\n": "row 1 .* cells",
    'study\n"a"b\n': "not CSV",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_tables_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=BAD[text]):
        read_table(table(tmp_path, text))


def test_cells_are_not_quoted_where_there_is_no_head(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_table(table(tmp_path, "1,mri/mueller_anna\n2,mri/b\n"))
    assert "mueller" not in str(caught.value)


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"study\n\0\xff\xfe\n")
    with pytest.raises(UsageError, match="is no text"):
        read_table(tmp_path / "binary.csv")


WORDS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters="\x1c\\"),
    min_size=1,
    max_size=20,
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
        (str(folder / study), str(folder / ecg) if cell_text(ecg) else None, days)
        for study, ecg, days in cells
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv", "-o", "out"], "cannot be read"),
        (["t.csv", "-o", "out", "--only", "pictures"], "no output"),
        (["t.csv", "-o", "out", "--workers", "0"], "--workers"),
        (["t.csv", "-o", "out", "--timeout", "-1"], "--timeout"),
        (["t.csv", "-o", "out", "--timeout", "inf"], "--timeout"),
        (["t.csv", "-o", "out", "--timeout", "nan"], "--timeout"),
        (["t.csv", "-o", "out", "--address", "head"], "HOST:PORT"),
        (["t.csv", "-o", "a/results"], "study of row 1"),
        (["t.csv", "-o", "link/results"], "study of row 1"),
        (["t.csv", "-o", "a"], "study of row 1"),
        (["t.csv", "-o", "t.csv"], "OUT is a file. Name a folder."),
        (["t.csv", "-o", "t.csv/out"], "OUT lies in a file. Name a folder."),
    ],
)
def test_bad_calls_get_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    table(tmp_path, "study\na\n", "t.csv")
    assert main(arguments) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_defect_is_one_line_without_what_it_broke_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(path: Path) -> list[Row]:
        raise ValueError(path.read_text())

    monkeypatch.setattr("scarseg_infer.cohort.table.read_table", broken)
    listed = table(tmp_path, "study\nmueller_anna\n")
    assert main([str(listed), "-o", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError at tests.cohort.test_table:" in line and "mueller" not in line
