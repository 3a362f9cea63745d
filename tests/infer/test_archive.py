"""Zipped studies: read without extracting, refused when dangerous or damaged."""

from __future__ import annotations

import stat
import struct
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_infer.study.archive import open_archive
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError

CENTRAL_ENTRY = b"PK\x01\x02"
FLAGS_OFFSET, SIZE_OFFSET = 8, 24  # in a central directory entry (APPNOTE 4.3.12)


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path, **limits: int) -> str:
    """The message with which opening, or reading all members of, an archive is refused."""
    with pytest.raises(StudyError) as caught, open_archive(path, **limits) as files:
        for index in range(len(files)):
            files.read(index)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_zipped_study_reads_like_its_folder(
    tmp_path: Path, dicom_factory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    paths = dicom_factory.write(tmp_path / "study", dicom_factory.series()[::-1])
    members = {f"study/{path.name}": path.read_bytes() for path in paths}
    zipped = zip_of(tmp_path / "study.zip", members | {"study/readme.txt": b"hello"})
    before = zipped.read_bytes()
    from_zip, from_folder = read_study(zipped), read_study(tmp_path / "study")
    np.testing.assert_array_equal(from_zip.pixels, from_folder.pixels)
    np.testing.assert_array_equal(from_zip.origins_mm, from_folder.origins_mm)
    assert from_zip.acquired == from_folder.acquired
    assert from_zip.warnings == ("1 file that is not DICOM was ignored.",)
    assert zipped.read_bytes() == before
    assert list(temporary.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["study", "study.zip", "temporary"]


def test_suffix_does_not_matter(tmp_path: Path, dicom_factory: ModuleType) -> None:
    paths = dicom_factory.write(tmp_path / "study", dicom_factory.series())
    zipped = zip_of(tmp_path / "export.dat", {path.name: path.read_bytes() for path in paths})
    assert len(read_study(zipped).pixels) == 6


def test_members_come_in_name_order(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {"b/1": b"three", "a/2": b"two", "a/1": b"one"})
    with open_archive(zipped) as files:
        assert [files.read(i) for i in range(len(files))] == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "C:evil", "..\\evil", "\\\\host\\evil"],
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    zipped = zip_of(tmp_path / "a.zip", {"fine": b"1", name: b"2"})
    message = refusal(zipped)
    assert "paths that lead out" in message
    assert "evil" not in message
    assert list(tmp_path.iterdir()) == [zipped]


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3  # Unix
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "links" in refusal(tmp_path / "a.zip")


def test_encrypted_is_refused(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {"x": b"content"})
    data = bytearray(zipped.read_bytes())
    data[data.index(CENTRAL_ENTRY) + FLAGS_OFFSET] |= 1
    zipped.write_bytes(bytes(data))
    assert "encrypted" in refusal(zipped)


def test_expanded_size_is_limited(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {"x": bytes(6000), "y": bytes(6000)})
    with open_archive(zipped, max_expanded_bytes=12_000) as files:
        assert sum(len(files.read(i) or b"") for i in range(2)) == 12_000
        assert len(files.read(0) or b"") == 6000  # reading again does not count again
    assert "expands to more than" in refusal(zipped, max_expanded_bytes=11_999)


def test_default_limit_is_two_gigabytes(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {str(i): b"x" for i in range(3)})
    data = bytearray(zipped.read_bytes())
    entry = -1
    for _ in range(3):  # three times 800 MB, as declared
        entry = data.index(CENTRAL_ENTRY, entry + 1)
        struct.pack_into("<I", data, entry + SIZE_OFFSET, 800_000_000)
    zipped.write_bytes(bytes(data))
    assert "more than 2 GB" in refusal(zipped)


def test_size_that_lies_is_refused(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {"x": bytes(200_000)})
    data = bytearray(zipped.read_bytes())
    struct.pack_into("<I", data, data.index(CENTRAL_ENTRY) + SIZE_OFFSET, 100)
    zipped.write_bytes(bytes(data))
    assert "damaged at file 1 of 1" in refusal(zipped, max_expanded_bytes=1000)


def test_number_of_members_is_limited(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {str(i): b"" for i in range(5)})
    assert "5 files" in refusal(zipped, max_members=4)


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    zipped = zip_of(tmp_path / "a.zip", {"x": bytes(range(256)) * 20})
    zipped.write_bytes(zipped.read_bytes()[:-40])
    with pytest.raises(StudyError, match="cut short"):
        read_study(zipped)


def test_empty_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no files"):
        read_study(zip_of(tmp_path / "a.zip", {}))


@settings(max_examples=150)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    kept=st.floats(0.2, 1.0),
)
def test_damaged_archives_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[float, int]], kept: float
) -> None:
    folder = tmp_path_factory.mktemp("zip")
    data = bytearray(zip_of(folder / "a.zip", {"a/x": b"hello" * 40, "a/y": b""}).read_bytes())
    for position, value in flips:
        data[int(position * len(data))] = value
    (folder / "a.zip").write_bytes(bytes(data[: max(1, int(kept * len(data)))]))
    with pytest.raises(StudyError):  # at best it opens and holds no DICOM
        read_study(folder / "a.zip")


def test_a_zip_inside_a_zip_is_named(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series())
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for path in sorted((tmp_path / "study").iterdir()):
            archive.write(path, path.name)
    outer = tmp_path / "outer.zip"
    for name in ("study.zip", "export/study", "a.b/STUDY.ZIP"):
        with zipfile.ZipFile(outer, "w") as archive:
            archive.write(inner, name)
            archive.writestr("readme.txt", "export")
        with pytest.raises(StudyError, match="another zip archive"):
            read_study(outer)
