"""Outputs appear whole or not at all, and nobody's files are ever deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.write import folder as write
from scarseg_runtime.errors import OutputError, UsageError


@pytest.fixture
def result(make_result: Callable, make_stack: Callable) -> ScarResult:
    return make_result(make_stack())


def leftovers(folder: Path, *expected: str) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - set(expected)


def test_everything_is_written_and_named(result: ScarResult, tmp_path: Path) -> None:
    paths = result.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.html", "scar.nii.gz", "result.json", "segments.csv", "overlay.png", "bullseye.png"
    }  # fmt: skip
    assert all(path.is_file() for path in paths.values())
    assert not leftovers(tmp_path, "out")


def test_a_host_gets_only_what_it_wants(result: ScarResult, tmp_path: Path) -> None:
    paths = result.write(tmp_path / "out", only=("json", "bullseye", "seg"))
    assert set(paths) == {"json", "bullseye"}  # no SEG without DICOM
    assert leftovers(tmp_path / "out") == {"result.json", "bullseye.png"}
    document = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert document["files"] == {"json": "result.json", "bullseye": "bullseye.png"}
    with pytest.raises(UsageError, match="no output 'docx'"):
        result.write(tmp_path / "other", only=["docx"])
    assert not (tmp_path / "other").exists()
    assert set(result.write(tmp_path / "pdf", only=["pdf"])) == {"pdf"}
    assert "pdf" in result.write(tmp_path / "all", only=["all"])


@pytest.mark.parametrize("only", [["seg"], ["sr", "dicom-pdf"]])
def test_asking_only_for_what_cannot_be_is_an_error(
    result: ScarResult, tmp_path: Path, only: list[str]
) -> None:
    with pytest.raises(UsageError, match=r"without DICOM images there is no .*json"):
        result.write(tmp_path / "out", only=only)
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("only", ["json", None, 5])
def test_outputs_are_asked_for_in_a_list(result: ScarResult, tmp_path: Path, only: object) -> None:
    with pytest.raises(UsageError, match=r"not a list.*\["):
        result.write(tmp_path / "out", only=only)  # type: ignore[arg-type]
    assert not leftovers(tmp_path)


def test_parents_are_made(result: ScarResult, tmp_path: Path) -> None:
    result.write(tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out" / "result.json").is_file()


def test_an_existing_result_is_kept_unless_told_otherwise(
    result: ScarResult, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result.write(out)
    before = (out / "result.json").stat().st_mtime_ns
    # Words for both, a caller and a user of the command line.
    with pytest.raises(OutputError, match=r"exists.*overwrite=True \(--overwrite\)"):
        result.write(out)
    assert (out / "result.json").stat().st_mtime_ns == before
    result.write(out, overwrite=True)
    assert (out / "result.json").stat().st_mtime_ns > before
    assert not leftovers(tmp_path, "out")


def test_overwriting_never_deletes_other_files(result: ScarResult, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError, match="not results of this program"):
        result.write(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.docx").read_text() == "years of work"
    assert not leftovers(tmp_path, "thesis.docx")


def test_an_empty_folder_is_fine(result: ScarResult, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result.write(tmp_path / "out")
    assert (tmp_path / "out" / "result.json").is_file()


def test_a_file_in_the_way_is_refused(result: ScarResult, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    for place in ("out", "out/deeper"):
        with pytest.raises(OutputError):
            result.write(tmp_path / place, overwrite=True)
    assert (tmp_path / "out").read_text() == "a file"


def test_a_file_system_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write.check_out(Path("/proc/scarseg-result/out"), overwrite=False)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_behind_when_a_writer_fails(
    result: ScarResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("scarseg_infer.write.json.write_json", fail)
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        result.write(tmp_path / "new" / "out")
    assert not leftovers(tmp_path)


def test_a_failed_overwrite_leaves_the_old_result(
    result: ScarResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    result.write(out)
    before = (out / "result.json").read_bytes()
    rename = Path.rename

    def fail_second(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(OutputError, match="cannot be written"):
        result.write(out, overwrite=True)
    assert (out / "result.json").read_bytes() == before
    assert not leftovers(tmp_path, "out")


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    write.check_out(tmp_path / "x" / "y", overwrite=False)
    assert not leftovers(tmp_path)
