"""Files and folders that appear whole or not at all, whatever their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scarseg_runtime.errors import OutputError
from scarseg_runtime.whole import not_written, part_of, whole_file, whole_folder

LENGTHS = [1, 199, 201, 247, 248, 255]


def names(length: int) -> list[str]:
    """Names of so many bytes, of letters of one byte and of three."""
    return ["x" * length, "心" * (length // 3) + "x" * (length % 3)]


@pytest.mark.parametrize("name", [name for length in LENGTHS for name in names(length)])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / "new" / name) as part:
        part.write_text("content")
    with whole_folder(tmp_path / "folders" / name) as part:
        (part / "inside").write_text("content")

    assert (tmp_path / "new" / name).read_text() == "content"
    assert (tmp_path / "folders" / name / "inside").read_text() == "content"
    for folder in ("new", "folders"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == [name]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(error), whole_file(tmp_path / "file") as part:
        part.write_text("half")
        raise error
    with pytest.raises(error), whole_folder(tmp_path / "folder") as part:
        (part / "inside").write_text("half")
        raise error

    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_what_a_killed_run_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    left = part_of(tmp_path / "folder")
    left.mkdir()
    (left / "half").touch()

    with whole_folder(tmp_path / "folder") as part:
        assert not list(part.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="named pipes are POSIX")
def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with whole_file(pipe) as part:
            part.write_text("content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)

    assert pipe.is_fifo()


def test_the_reason_is_said_without_the_path(tmp_path: Path) -> None:
    try:
        (tmp_path / ("x" * 300)).write_text("")
    except OSError as error:
        said = not_written("the report", error)

    assert "File name too long" in str(said) and "xxx" not in str(said)
    assert not_written("the report", inner := OutputError("why", "advice")) is inner
