"""Short names for states of our own source, so that results of other code are not reused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import scarseg_export
import scarseg_runtime


def source_digest(*parts: str) -> str:
    """12 hexadecimal digits of the named files and folders of both source trees.

    Args:
        parts: paths within ``scarseg_export``, or within ``scarseg_runtime`` with that name
            in front.
    """
    digest = hashlib.sha256()
    for part in parts:
        package = scarseg_runtime if part.startswith("scarseg_runtime/") else scarseg_export
        path = Path(package.__path__[0]) / part.removeprefix("scarseg_runtime/")
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
