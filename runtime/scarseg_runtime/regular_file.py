"""Reading a whole file that someone names, be it what it may.

A pipe would hold the reader up until someone writes, a device such as /dev/zero never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int, *, follow_links: bool = True) -> bytes:
    """All bytes of a regular file. Raises OSError: EFBIG where it holds more than ``limit``, EINVAL
    where it is a pipe, a device or a folder, ELOOP where it is a link that is not followed."""
    opener = _opener if follow_links else _opener_of_no_link
    with open(path, "rb", opener=opener) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        # No more than that, if it grows meanwhile: what is cut short is found out by its reader.
        return file.read(status.st_size)


def _opener(name: str, flags: int) -> int:
    """Does not wait for the other end of a pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _opener_of_no_link(name: str, flags: int) -> int:
    return _opener(name, flags | getattr(os, "O_NOFOLLOW", 0))
