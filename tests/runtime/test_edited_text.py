"""Text files as editors of any system leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_runtime.csv_table import read_csv
from scarseg_runtime.edited_text import decoded_text, read_json, read_toml

TOML = 'name = "Würzburg"\nfolds = [0, 1]\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_do_not_matter(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(TOML.replace("\n", end).encode(encoding))
    assert read_toml(path) == {"name": "Würzburg", "folds": [0, 1]}
    path.write_bytes(json.dumps({"a": "ü"}, indent=1).replace("\n", end).encode(encoding))
    assert read_json(path) == {"a": "ü"}


@pytest.mark.parametrize("read", [read_toml, read_json])
def test_another_encoding_is_named_with_its_line(tmp_path: Path, read: object) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(('a = "b"\n' + TOML).encode("cp1252"))
    with pytest.raises(ValueError, match="line 2 is not UTF-8 text; save it as UTF-8"):
        read(path)  # type: ignore[operator]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-16 text is damaged"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize("read", [read_toml, read_json])
def test_what_is_nested_without_end_is_an_error_of_the_file(tmp_path: Path, read: object) -> None:
    path = tmp_path / "a"
    path.write_text(("a = " if read is read_toml else "") + "[" * 200_000)
    with pytest.raises(ValueError):
        read(path)  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_an_error(data: bytes) -> None:
    for read in (decoded_text, read_csv):
        try:
            read(data)
        except ValueError as error:
            assert str(error)


@pytest.mark.parametrize("mark", list(",;\t|"))
def test_columns_and_lines_that_are_empty_do_not_count(mark: str) -> None:
    text = "a,b,,\n1,2,,\n,,,\n3,,,\n"
    found = read_csv(text.replace(",", mark).encode())
    assert found.head == ["a", "b"]
    assert found.rows == [["1", "2"], ["3", ""]]
    assert found.decimal_comma == (mark == ";")


def test_a_cell_beyond_the_head_stays() -> None:
    assert read_csv(b"a,b,\n1,2,3\n").rows == [["1", "2", "3"]]
