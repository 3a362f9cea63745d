"""The words for what is not installed: the one command that adds an extra to this installation."""

from __future__ import annotations

import json
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

DISTRIBUTION: Final = "scarseg-infer"


def install_command(extra: str) -> str:
    """The pip command that installs an extra beside what is there, for an error's advice.

    It depends on where the installation came from (PEP 610): a name on an index helps only who
    installed from one, and whoever has the source needs no index for us.
    """
    wheel = _installed_from()
    if wheel is None:
        return f"pip install '.[{extra}]' in the source folder of {DISTRIBUTION}"
    return f"pip install '{wheel}[{extra}]'"


@cache
def _installed_from() -> str | None:
    """Name that pip knows us by: ours on an index, or a wheel's file; None for a source folder."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:  # run from a checkout
        return None
    if text is None:
        return DISTRIBUTION
    try:
        found = json.loads(text)
        name = PurePosixPath(unquote(urlsplit(found["url"]).path)).name
        return f"./{name}" if "archive_info" in found and name.endswith(".whl") else None
    except (ValueError, LookupError, TypeError):
        return None
