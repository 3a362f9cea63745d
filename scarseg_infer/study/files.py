"""The files of a study as numbered bytes, whether they lie in a folder or in an archive."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from scarseg_infer.host.quiet import loud_host
from scarseg_runtime.errors import StudyError
from scarseg_runtime.regular_file import read_regular

MAX_FILE_BYTES: Final = 256 * 2**20
"""Larger files are left alone: a single MR slice of 1024 x 1024 pixels takes 2 MB."""

MAX_FILES: Final = 50_000
"""In a study: a whole cardiac examination holds some thousand images."""

KEPT_BYTES: Final = 128 << 20
"""Of files that may be asked for again: some thousand slices of 256 x 256 pixels."""

Look = Callable[[bytes], None]
"""Shown the content of each file of a study that is read for the first time."""
Watch = Callable[[float], None]
"""Told how much of a study has been read, from 0 to 1; what it raises ends the reading."""


@runtime_checkable
class StudyFiles(Protocol):
    """DICOM files of a study in a fixed order, read one at a time so that memory stays bounded.

    A host that has them elsewhere than in a folder, in memory perhaps, passes an object of its own.
    """

    def __len__(self) -> int:
        """Number of files."""

    def read(self, index: int) -> bytes | None:
        """Content of one file; None when it is larger than ``MAX_FILE_BYTES``.

        Raises StudyError when the file cannot be read.
        """


def file_label(index: int, files: StudyFiles) -> str:
    """Name of a file in messages: its number, since its own may hold that of a patient."""
    return f"file {index + 1} of {len(files)} in name order"


class FolderFiles:
    """Every regular file in a folder and its subfolders; links to folders are not followed.

    Raises StudyError when the folder or one of its subfolders cannot be listed, holds more than
    ``MAX_FILES`` files, or links to files outside of it.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = _regular_files(folder, MAX_FILES)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> bytes | None:
        """See :meth:`StudyFiles.read`."""
        try:
            # A link that has taken a file's place meanwhile may lead outside of the study.
            return read_regular(self._paths[index], MAX_FILE_BYTES, follow_links=False)
        except OSError as error:
            if error.errno == errno.EFBIG:
                return None
            raise StudyError(
                f"{file_label(index, self)} cannot be read ({error.strerror})",
                "Check that the folder is complete and that you may read it",
            ) from error


class KeptFiles:
    """The files of a study, each opened once as long as no more than ``KEPT_BYTES`` lie between two
    readings: on a network share an open file costs more than what is in it.

    Readers take all headers first and pixels later, and an ECG may lie among the files: whoever
    looks for one is shown each, so that it need not be read again. Of large studies the newest are
    kept, since late enhancement is recorded last.
    """

    def __init__(self, files: StudyFiles, look: Look | None = None) -> None:
        self._files, self._look = files, look
        self._kept: dict[int, bytes] = {}
        self._kept_bytes = 0
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> bytes | None:
        """See :meth:`StudyFiles.read`."""
        if index in self._kept:
            return self._kept[index]
        data = self._files.read(index)
        if data is None:
            return None
        if index not in self._seen and self._look is not None:
            self._look(data)
        self._seen.add(index)
        self._keep(index, data)
        return data

    def _keep(self, index: int, data: bytes) -> None:
        if len(data) > KEPT_BYTES:
            return
        self._kept[index] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > KEPT_BYTES:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))


class WatchedFiles:
    """The files of a study, and somebody who is told before each how many have been read.

    Readers take all headers first and some files a second time for their pixels: a file counts
    half each time, as if every file were read twice.
    """

    def __init__(self, files: StudyFiles, watch: Watch) -> None:
        self._files, self._watch = files, watch
        self._seen: set[int] = set()
        self._again: set[int] = set()

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> bytes | None:
        """See :meth:`StudyFiles.read`; raises what the watcher raises, too."""
        (self._again if index in self._seen else self._seen).add(index)
        with loud_host():
            self._watch((len(self._seen) + len(self._again)) / (2 * len(self._files)))
        return self._files.read(index)


def _regular_files(folder: Path, limit: int) -> list[Path]:
    """List where the regular files lie, in name order; links to folders are not followed.

    Raises:
        StudyError: a folder cannot be listed, there are more than ``limit`` files or folders, or
            links that lead elsewhere or nowhere: to leave out what may be a slice would be a lie,
            and to follow them could read anything.
    """
    root = os.path.realpath(folder)
    found: dict[Path, Path] = {}
    folders, seen, listed = [str(folder)], 0, 0
    while folders:  # no recursion: folders may be nested a thousand times
        listed += 1
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if seen > limit or listed > limit:
                        raise _too_many(limit)
                    if entry.is_dir(follow_symlinks=False):
                        seen -= 1
                        folders.append(entry.path)
                    elif place := _place(entry, root):
                        found[Path(entry.path)] = place
        except OSError as error:
            raise StudyError(
                f"the study folder, or one inside it, cannot be listed ({error.strerror})",
                "Check that you may read it",
            ) from error
    return [found[name] for name in sorted(found)]


def _place(entry: os.DirEntry[str], root: str) -> Path | None:
    """Path of a regular file; None for folders and what is no file.

    Raises StudyError for a link that leads out of ``root`` or to nothing that can be read: what
    it stood for may be a slice.
    """
    if not entry.is_symlink():
        return Path(entry.path) if entry.is_file(follow_symlinks=False) else None
    target = Path(os.path.realpath(entry.path))
    if not target.is_relative_to(root):
        raise StudyError(
            "the study folder holds links that lead outside of it",
            "Copy the files themselves into the folder",
        )
    try:
        return target if stat.S_ISREG(target.stat().st_mode) else None
    except OSError as error:
        raise StudyError(
            f"the study folder holds a link that leads to no file ({error.strerror})",
            "Copy or fetch the file itself, or remove the link if it is not part of the study",
        ) from error


def _too_many(limit: int) -> StudyError:
    return StudyError(f"the folder holds more than {limit} files", "Pass the folder of one study")
