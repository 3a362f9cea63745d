"""Folders that appear as a whole or not at all, also where several write at the same time."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from scarseg_runtime.errors import OutputError
from scarseg_runtime.whole import short_name

_TAKEN: Final = (errno.ENOTEMPTY, errno.EEXIST)
_ATTEMPTS: Final = 100
"""At what others that write to the same place may spoil at the very same moment."""


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """An empty folder on the same file system as ``out``, gone afterwards unless renamed.

    Parents of ``out`` that had to be made for it go too, unless something is in them.
    """
    out = place_of(out)
    made = [parent for parent in out.parents if not parent.exists()]
    try:
        folder = hidden_folder(out, out.parent)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):  # not empty
            for parent in made:
                parent.rmdir()


def hidden_folder(out: Path, parent: Path) -> Path:
    """A new folder in ``parent``, which is made where missing, for what is to become ``out``."""
    folder = parent / f".{short_name(out.name)}-{secrets.token_hex(8)}.partial"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            # Not tempfile's: this one obeys the umask, and scar.dcm names the patient.
            folder.mkdir()
            break
        except (FileNotFoundError, FileExistsError):
            # Another, which failed, has removed what it had made: before we made something in it,
            # or after it was in the way of our making it and before we looked what it is.
            if attempt == _ATTEMPTS:
                raise
    return folder


def place_of(out: Path) -> Path:
    """Folder that is really replaced: behind a link to a folder it is that folder."""
    return out.resolve() if out.is_dir() else out.absolute()


def publish(folder: Path, out: Path, names: Collection[str], *, overwrite: bool) -> None:
    """Rename ``folder`` to ``out``; an old result there steps aside first and is then removed.

    Somebody else may do the same at the same time: one result is there at the end, and without
    ``overwrite`` it is the first.

    Args:
        names: the files that may be in an old result; one with anything else in it is put back.

    Raises:
        OutputError: without ``overwrite`` something is there; something else than an old result
            is; or others write there all the time.
    """
    out = place_of(out)
    old = folder.with_name(folder.name + ".old")
    for _ in range(_ATTEMPTS):
        if _renamed(folder, out):
            return
        if not overwrite:
            if _holds_something(out):
                raise exists_error()
            with suppress(OSError):  # an empty folder, which Windows does not replace
                out.rmdir()
            continue
        with suppress(FileNotFoundError):  # somebody else has moved it aside
            out.rename(old)
        if _holds_others(old, names):  # they have come since that was looked at
            with suppress(OSError):  # somebody else's result is there now; nothing is deleted
                old.rename(out)
            raise OutputError(
                "something that is no result of this program has come into the output folder",
                "Name another folder (out, -o); only a folder of results is ever replaced",
            )
        try:
            done = _renamed(folder, out)
        except BaseException:
            with suppress(OSError):  # somebody else's is there now
                old.rename(out)
            raise
        _remove(old, names)
        if done:
            return
    raise OutputError("others write results to the same folder", "Name another (out, -o)")


def _renamed(folder: Path, out: Path) -> bool:
    """Rename a folder; False where another, which holds something, bears that name."""
    try:
        folder.rename(out)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _holds_something(out: Path) -> bool:
    try:
        return any(out.iterdir())
    except FileNotFoundError:
        return False


def _holds_others(old: Path, names: Collection[str]) -> bool:
    """True where what was moved aside is anything but a folder of our own outputs."""
    try:
        return any(entry.name not in names or entry.is_dir() for entry in old.iterdir())
    except FileNotFoundError:  # nothing was there to be moved
        return False
    except NotADirectoryError:
        return True


def _remove(old: Path, names: Collection[str]) -> None:
    """Delete our own outputs and then the folder; whatever else has come into it stays."""
    with suppress(OSError):
        for name in names:
            (old / name).unlink(missing_ok=True)
        old.rmdir()


def exists_error() -> OutputError:
    """Results are there, and may not be replaced."""
    return OutputError(
        "the output folder exists",
        "Name another (out, -o), or replace it with overwrite=True (--overwrite)",
    )
