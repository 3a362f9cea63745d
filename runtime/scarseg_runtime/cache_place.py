"""Where what was compiled is kept, if at all."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from scarseg_runtime.errors import UsageError

Cache = bool | str | Path
"""What a host may choose: the user's cache folder, none, or a folder of its own."""


def cache_folder() -> Path:
    """Where the user's engines are kept."""
    return Path(platformdirs.user_cache_dir("scarseg-infer", appauthor=False)) / "engines"


def chosen_folder(cache: Cache) -> Path | None:
    """The folder of a choice, or None. Raises UsageError where it is no choice."""
    if isinstance(cache, bool):
        return cache_folder() if cache else None
    if not isinstance(cache, str | Path) or not str(cache):
        raise UsageError("the cache is neither True, False nor a folder", "Leave it out")
    return Path(cache).absolute()
