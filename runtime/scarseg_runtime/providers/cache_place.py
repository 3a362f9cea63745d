"""Folder of compiled models, if they are kept at all."""

from __future__ import annotations

import os
from pathlib import Path

from scarseg_runtime.errors import UsageError

Cache = bool | str | os.PathLike[str]
"""Choices of a host: the user's cache folder, none, or a folder of its own."""


def cache_folder() -> Path:
    """Folder of the user's engines."""
    import platformdirs  # not for those who keep nothing

    return Path(platformdirs.user_cache_dir("scarseg-infer", appauthor=False)) / "engines"


def check_cache(cache: Cache) -> None:
    """Raises UsageError where it is no choice."""
    if isinstance(cache, bool):
        return
    path = os.fspath(cache) if isinstance(cache, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError("the cache is neither True, False nor a folder", "Leave it out")


def chosen_folder(cache: Cache) -> Path | None:
    """The folder of a choice, or None. Raises UsageError where it is no choice."""
    check_cache(cache)
    if isinstance(cache, bool):
        return cache_folder() if cache else None
    return Path(cache).absolute()
