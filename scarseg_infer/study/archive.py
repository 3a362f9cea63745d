"""A zipped study, read member by member in memory: nothing is ever extracted to disk.

So nothing of the patient is left behind when the process is killed, and no temporary folder
is needed on locked-down workstations. Archives that would be dangerous to extract are refused
all the same: nobody who means well makes them.
"""

from __future__ import annotations

import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader, FileIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from scarseg_infer.study.files import MAX_FILE_BYTES, MAX_FILES, file_label
from scarseg_runtime.errors import StudyError

MAX_EXPANDED_BYTES: Final = 2 * 2**30
"""A whole cardiac study with all its cines is some hundred MB; more is a mistake or a bomb."""
HEAD_BYTES: Final = 1 << 20
"""Of a file, as much as tells what it is."""
MAX_DIRECTORY_BYTES: Final = 16 << 20
"""List of members: more than enough for ``MAX_FILES`` with long names."""

# zipfile expands the others without any bound: 630 bytes of bzip2 become a gigabyte in memory.
_BOUNDED_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED_FLAG: Final = 0x1  # bit 0 of the general purpose flags (APPNOTE 4.4.4)

# What zipfile and its decompressors raise on damaged or hostile input (RuntimeError and its
# child NotImplementedError: encryption and unknown compression methods).
_ARCHIVE_ERRORS: Final = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
_EXPORT_AGAIN: Final = "Export or copy it again, or unpack it and pass the folder"


class ArchiveFiles:
    """The files of an open archive, in name order (a :class:`StudyFiles`)."""

    def __init__(self, archive: zipfile.ZipFile, max_expanded_bytes: int) -> None:
        self._archive = archive
        self._max_expanded_bytes = max_expanded_bytes
        self._members = sorted(
            # Not is_dir(), which fails on a member without a name before Python 3.12.
            (member for member in archive.infolist() if not member.filename.endswith("/")),
            key=lambda member: PurePosixPath(member.filename).parts,
        )
        self._counted_bytes: dict[int, int] = {}
        self._total_bytes = 0

    def __len__(self) -> int:
        return len(self._members)

    def read(self, index: int) -> bytes | None:
        """See :meth:`StudyFiles.read`; also raises when the archive grows beyond its limit."""
        member = self._members[index]
        if member.file_size > MAX_FILE_BYTES:
            return None
        return self._content(index, member.file_size)

    def head(self, index: int) -> bytes:
        """The beginning of a file, of whatever size; raises as :meth:`read` does."""
        return self._content(index, min(self._members[index].file_size, HEAD_BYTES))

    def _content(self, index: int, size: int) -> bytes:
        member = self._members[index]
        # Sizes declared in an archive may lie, so what really comes out is counted too.
        room = self._max_expanded_bytes - self._total_bytes + self._counted_bytes.get(index, 0)
        try:
            with self._archive.open(member) as stream:
                # No more than declared: zipfile inflates as much as is asked for at once.
                content = stream.read(min(room, size) + 1)
        except _ARCHIVE_ERRORS as error:
            raise StudyError(
                f"the zip archive is damaged at {file_label(index, self)}", _EXPORT_AGAIN
            ) from error
        if len(content) > room:
            raise _too_large(self._max_expanded_bytes)
        self._total_bytes += len(content) - self._counted_bytes.get(index, 0)
        self._counted_bytes[index] = len(content)
        return content


def is_archive(path: Path) -> bool:
    """Is the file a zip archive, if a damaged one? Raises OSError where it cannot be read."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # one of several disks; opening it says that it is damaged
        return True


@contextmanager
def open_archive(
    path: Path,
    *,
    max_expanded_bytes: int = MAX_EXPANDED_BYTES,
    max_members: int = MAX_FILES,
) -> Iterator[ArchiveFiles]:
    """Open a zip archive as study files; closed on leaving.

    Raises:
        StudyError: the archive is damaged, encrypted or not Deflate, has paths that lead out of
            it, links, too many members, or more than ``max_expanded_bytes`` in them.
    """
    with ExitStack() as opened:
        try:
            stream = opened.enter_context(_Stream(FileIO(path)))
            archive = opened.enter_context(zipfile.ZipFile(stream))
        except _TooManyError as error:
            raise _too_many("more files", max_members) from error
        except _ARCHIVE_ERRORS as error:
            raise StudyError(
                "the zip archive cannot be opened or is cut short", _EXPORT_AGAIN
            ) from error
        stream.at_once = None
        members = archive.infolist()
        if len(members) > max_members:
            raise _too_many(f"{len(members)} files, more", max_members)
        for member in members:
            _refuse_dangerous(member)
        if sum(member.file_size for member in members) > max_expanded_bytes:
            raise _too_large(max_expanded_bytes)
        _refuse_archives(archive, members)
        yield ArchiveFiles(archive, max_expanded_bytes)


_ZIP_HEAD: Final = b"PK\x03\x04"
_NOTES: Final = frozenset((".txt", ".md", ".pdf", ".htm", ".html", ".xml", ".json", ".csv"))


class _TooManyError(Exception):
    """The list of members is too long to be read."""


class _Stream(BufferedReader):
    """Bounds what is read at once. zipfile reads the list of members so, and makes an object of
    every 46 bytes of it: a gigabyte of list would take all memory."""

    at_once: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.at_once is not None and size is not None and size > self.at_once:
            raise _TooManyError
        return super().read(size)


def _refuse_archives(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """A zip of nothing but zips, and of notes beside them, would be called one without images."""
    inner = 0
    for member in members:
        suffix = PureWindowsPath(member.filename).suffix.lower()
        # Not is_dir(), which fails for a member without a name.
        if member.filename.endswith("/") or suffix in _NOTES:
            continue
        if suffix not in ("", ".zip"):
            return
        try:
            with archive.open(member) as file:
                is_inner = file.read(len(_ZIP_HEAD)) == _ZIP_HEAD
        except _ARCHIVE_ERRORS:
            return
        if not is_inner:
            return
        inner += 1
    if inner:
        raise StudyError(
            "the zip archive holds another zip archive instead of images",
            "Unpack it and pass the inner one",
        )


def _refuse_dangerous(member: zipfile.ZipInfo) -> None:
    windows = PureWindowsPath(member.filename)  # knows both separators and drive letters
    if windows.drive or windows.root or ".." in windows.parts:
        raise StudyError(
            "the zip archive holds paths that lead out of it",
            "Do not trust it: export the study again from its source",
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise StudyError("the zip archive holds links instead of files", _EXPORT_AGAIN)
    if member.flag_bits & _ENCRYPTED_FLAG:
        raise StudyError(
            "the zip archive is encrypted", "Unpack it with its password and pass the folder"
        )
    if member.compress_type not in _BOUNDED_METHODS:
        raise StudyError(
            "the zip archive is packed in an unusual way (not Deflate)",
            "Unpack it and pass the folder",
        )


def _too_many(found: str, limit: int) -> StudyError:
    return StudyError(
        f"the zip archive holds {found} than the {limit} allowed",
        "Export the short-axis LGE series alone",
    )


def _too_large(limit_bytes: int) -> StudyError:
    return StudyError(
        f"the zip archive expands to more than {limit_bytes / 2**30:.3g} GB",
        "Export the short-axis LGE series alone",
    )
