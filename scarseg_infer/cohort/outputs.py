"""The folders of results below OUT: which are whole, and what must not stay there."""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from scarseg_infer.write.folder import NAMES
from scarseg_runtime.errors import OutputError

_LEFTOVER: Final = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{16}\.partial(\.old)?")
"""Folders in which ``write/folder.py`` puts results together, or moves old ones aside."""


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256 of each output in a folder, by file name. Raises OSError."""
    found = {}
    for name in NAMES.values():
        with suppress(FileNotFoundError, NotADirectoryError), (folder / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def discard(folder: Path) -> bool:
    """Delete our own outputs, and the folder where nothing else is in it. Whether they are gone."""
    try:
        for name in NAMES.values():
            with suppress(FileNotFoundError, NotADirectoryError):
                (folder / name).unlink()
    except OSError:
        return False
    with suppress(OSError):
        folder.rmdir()
    return True


def sweep(out: Path) -> None:
    """Delete what writers that were killed left behind: it may hold a patient's name.

    Raises:
        OutputError: some of it cannot be deleted; the rest is.
    """
    failed: list[OSError] = []
    try:
        for entry in list(out.iterdir()):
            if _LEFTOVER.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                try:
                    shutil.rmtree(entry)
                except OSError as error:
                    failed.append(error)
    except OSError as error:  # of the folder itself
        failed.append(error)
    if failed:
        raise OutputError(
            f"half results of a run that was killed cannot be deleted ({failed[0].strerror})",
            "Check who may write in OUT",
        ) from failed[0]
