"""Writing never costs a user anything: not their files, not their privacy, no litter."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.folder import NAMES, check_out, write_all
from scarseg_infer.write.staging import publish
from scarseg_runtime.errors import OutputError


@pytest.fixture
def result(
    make_result: Callable[..., ScarResult], make_stack: Callable[..., LgeStack]
) -> ScarResult:
    return make_result(make_stack(3))


class InterruptedTimings(Mapping[str, float]):
    """Part of a result that is read last: by then every other output has been written."""

    def __init__(self, failure: BaseException) -> None:
        self._failure = failure

    def __getitem__(self, key: str) -> float:
        raise self._failure

    def __iter__(self) -> Iterator[str]:
        raise self._failure

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_late_failure_leaves_nothing_behind(
    result: ScarResult, tmp_path: Path, failure: BaseException
) -> None:
    broken = replace(result, timings_ms=InterruptedTimings(failure))
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_all(broken, tmp_path / "made" / "for it" / "out", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_late_failure_keeps_the_old_results(result: ScarResult, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_all(result, out, overwrite=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    broken = replace(result, timings_ms=InterruptedTimings(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_all(broken, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_failed_swap_puts_the_old_results_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / NAMES["json"]).write_text("old")
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "not there", out, NAMES.values(), overwrite=True)
    assert (out / NAMES["json"]).read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["thesis.odt", NAMES["json"]])
def test_things_of_the_user_are_never_deleted(
    result: ScarResult, tmp_path: Path, name: str
) -> None:
    """Even a folder that bears the name of an output is not an output."""
    precious = tmp_path / "out" / name / "chapter 1.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(OutputError, match="not results of this program"):
        write_all(result, tmp_path / "out", overwrite=True)
    assert precious.read_text() == "years of work"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_file_that_arrives_during_the_swap_survives(tmp_path: Path) -> None:
    """The check has passed by then: all is put back as it was."""
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    for folder in (out, fresh):
        folder.mkdir()
        (folder / NAMES["json"]).write_text(folder.name)
    (out / "note.txt").write_text("mine")
    with pytest.raises(OutputError, match="no result of this program"):
        publish(fresh, out, NAMES.values(), overwrite=True)
    assert (out / NAMES["json"]).read_text() == "out"
    assert (out / "note.txt").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [fresh, out]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_linked_folder_is_replaced_behind_its_link(result: ScarResult, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / NAMES["json"]).write_text("old")
    link.symlink_to(real)
    write_all(result, link, overwrite=True)
    assert link.is_symlink()
    assert "schema_version" in (real / NAMES["json"]).read_text()
    assert sorted(tmp_path.iterdir()) == [link, real]


@pytest.mark.skipif(sys.platform == "win32", reason="no umask there")
@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o700), (0o027, 0o750), (0o022, 0o755)])
def test_results_are_as_private_as_the_user_wants(
    result: ScarResult, tmp_path: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        paths = write_all(result, tmp_path / "out", overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths.values()} == {mode & 0o666}


@pytest.mark.skipif(sys.platform == "win32", reason="mount points look different there")
def test_mount_point_is_refused_before_the_work() -> None:
    with pytest.raises(OutputError, match="mount point"):
        check_out(Path("/"), overwrite=True)


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    check_out(tmp_path / "a" / "b" / "out", overwrite=False)
    assert list(tmp_path.iterdir()) == []
