"""Every file in a folder and its subfolders, whatever else lies there: links, pipes, devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from scarseg_runtime.errors import StudyError


def regular_files(folder: Path, limit: int) -> list[Path]:
    """Where the regular files lie, in name order; links to folders are not followed.

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
    """Where a regular file lies; None for folders and what is no file.

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
