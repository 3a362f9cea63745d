"""Tables of patients as users write them."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_export.patients.classes import read_classes
from scarseg_export.patients.table import read_table
from scarseg_runtime.errors import UsageError

HEAD = "id;study;mask;ecg;gap_days;group\n"
ROWS = "Müller;s1;m1;;12,5;A\nÅse;s2;m2;e2;;A\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends_do_not_matter(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes((HEAD + ROWS).replace("\n", end).encode(encoding))
    rows, problems = read_table(path)
    assert problems == []
    assert [row.id for row in rows] == ["Müller", "Åse"]
    assert rows[0].gap_days == 12.5
    assert rows[1].gap_days is None
    assert rows[1].ecg == tmp_path.resolve() / "e2"
    assert [row.group for row in rows] == ["A", "A"]


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\r\n', "SEP=;\n"])
def test_the_line_for_excel_is_no_head(tmp_path: Path, line: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes((line + HEAD + ROWS).encode("cp1252"))
    rows, problems = read_table(path)
    assert problems == []
    assert [row.id for row in rows] == ["Müller", "Åse"]


@given(st.sampled_from(",;\t|"), st.integers(0, 10**5))
def test_any_separator(tmp_path_factory: pytest.TempPathFactory, mark: str, days: int) -> None:
    path = tmp_path_factory.mktemp("t") / "table.csv"
    text = f"study,mask,gap_days\na b,c,{days}\n"
    path.write_text(text.replace(",", mark), encoding="utf-8")
    rows, problems = read_table(path)
    assert problems == []
    assert rows[0].gap_days == days
    assert rows[0].study.name == "a b"


def test_parquet_says_the_same(tmp_path: Path) -> None:
    pa = importlib.import_module("pyarrow")
    import pyarrow.parquet as pq

    columns = {"study": ["s1", "s2"], "mask": ["m1", "m2"], "gap_days": [3.0, None], "id": [7, 8]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    rows, problems = read_table(tmp_path / "t.parquet")
    assert problems == []
    assert [(row.id, row.gap_days) for row in rows] == [("7", 3.0), ("8", None)]


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        ("s3;m3;;twelve", "gap_days"),
        (";m3;;1", "no study"),
        ("s3;m3;1", "cells"),
        ("s1;m3;;1", None),
        ("s3;m1;;1", "same mask"),
        ("s3;m3;e1;1", "same ECG"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, cells: str, word: str | None) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"study;mask;ecg;gap_days\ns1;m1;e1;1\ns2;m2;e2;2\n{cells}\n")
    _, problems = read_table(path)
    if word is None:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.row == 3
        assert problem.fatal
        assert word in problem.text


@pytest.mark.parametrize(
    "text", ["", "study,ecg\na,b\n", "study,mask,color\na,b,c\n", "study,mask,mask\na,b,c\n",
             "study,mask\n", "a\0b"],
)  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError):
        read_table(tmp_path / "t.csv")


def test_columns_of_other_names_are_told_by_number(tmp_path: Path) -> None:
    """Without a head its cells are a patient's."""
    (tmp_path / "t.csv").write_text("id,study,age,mask,Anna\n1,s,60,m,x\n")
    with pytest.raises(UsageError, match=r"by number: 3, 5") as caught:
        read_table(tmp_path / "t.csv")
    assert "anna" not in str(caught.value).casefold()


def test_paths_in_the_quotes_of_windows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('study,mask\n"""a\\b""",m\n')
    rows, problems = read_table(tmp_path / "t.csv")
    assert problems == []
    assert rows[0].study == tmp_path / "a" / "b"


def test_a_table_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(UsageError) as caught:
            read_table(tmp_path / name)
        assert str(caught.value).count("the table") == 1


@pytest.mark.parametrize(
    "text", ["[values]\n1 = 'wall'\n", "[values]\n0 = 'background'\n", "values = 3\n", "[",
             "[values]\none = 'scar'\n", "[value]\n3 = 'scar'\n[values]\n3 = 'scar'\n",
             "training_date = 'x'\n[values]\n3 = 'scar'\n",
             "empty_slices = 'unlabeled'\n[values]\n3 = 'scar'\n",
             "missing_segments = true\n[segments]\na = 'scar'\n"],
)  # fmt: skip
def test_classes_that_say_nothing_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.toml").write_text(text)
    with pytest.raises(UsageError):
        read_classes(tmp_path / "classes.toml")


def test_obstruction_counts_as_scar(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[values]\n3 = 'scar'\n4 = 'MVO'\n")
    assert read_classes(tmp_path / "c.toml").values == {0: "background", 3: "scar", 4: "scar"}
