"""Checked contents where a library that reads from disk alone finds them, and nobody else.

In memory where the system can (Linux); a read-only system or a full folder for temporary files is
then no obstacle.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from scarseg_runtime.errors import EcgError

_OPEN_FILES: Final = Path("/proc/self/fd")


@contextmanager
def private_file(data: bytes) -> Iterator[Path]:
    """A file with this content, gone afterwards.

    Raises:
        EcgError: there is no place for it.
    """
    handle = _in_memory(data)
    if handle is not None:
        try:
            yield _OPEN_FILES / str(handle)
        finally:
            os.close(handle)
        return
    with private_folder() as folder:
        path = folder / "ecg"
        write_private(path, data)
        yield path


@contextmanager
def private_folder() -> Iterator[Path]:
    """An empty folder, gone afterwards.

    Raises:
        EcgError: there is no place for it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="scarseg-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_place() from error
    with folder as name:
        yield Path(name)


def write_private(path: Path, data: bytes) -> None:
    """Write a file into a private folder. Raises EcgError where there is no room."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise _no_place() from error


def _in_memory(data: bytes) -> int | None:
    """An open file without a name that holds ``data``, at its beginning; None where none can be."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        handle = os.memfd_create("scarseg")
    except OSError:
        return None
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(data)
        if (_OPEN_FILES / str(handle)).read_bytes()[:1] == data[:1]:
            return handle
    except OSError:
        pass
    with suppress(OSError):
        os.close(handle)
    return None


def _no_place() -> EcgError:
    return EcgError(
        "the ECG needs a folder for temporary files, and there is none that can be written to",
        "Set TMPDIR to a folder with some space",
    )
