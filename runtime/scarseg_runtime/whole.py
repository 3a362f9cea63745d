"""Files and folders that appear at their place as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scarseg_runtime.errors import OutputError

_LONGEST_BYTES: Final = 200
"""File systems take 255 bytes of a name: this leaves room for what is put around it."""


def short_name(name: str) -> str:
    """A name that leaves room for what is put around it: itself, or a digest of it."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_BYTES else hashlib.sha256(encoded).hexdigest()


def part_of(path: Path, owner: str = "") -> Path:
    """Path beside ``path`` for what is not whole yet, whatever the length of its name.

    Args:
        owner: what tells several writers of one file apart, such as a process number.
    """
    return path.with_name(f".{short_name(path.name)}.{owner + '.' if owner else ''}partial")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to ``path`` afterwards; gone where that fails. Raises OSError.

    Missing parents are made. Processes may write the same file at the same time. A pipe or device
    is written to: to rename a file to ``/dev/null`` would replace it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    part = part_of(path, str(os.getpid()))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder, renamed to ``path``, which is not there, afterwards; gone where that fails.

    What a killed run left of it is removed first. Raises OSError.
    """
    part = part_of(path)
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def not_written(what: str, error: OSError) -> OutputError:
    """Say why ``what`` could not be written, without the path that the system names."""
    if isinstance(error, OutputError):
        return error
    why = error.strerror or type(error).__name__
    return OutputError(f"{what} cannot be written ({why})", "Check name, disk space and rights")
