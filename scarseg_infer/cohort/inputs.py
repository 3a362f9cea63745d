"""Digests of what the result of a row is made from: where they are the same, so is the result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from scarseg_infer.cohort.table import Row
from scarseg_infer.ecg.wfdb.read import MAX_HEADER_BYTES
from scarseg_infer.study.files import FolderFiles


def key(row: Row, settings: str) -> str:
    """Digest of what is asked for, files by their paths. An id may come to mean another study.

    Args:
        settings: whatever else the result depends on, the same for all rows of a run.
    """
    return _digest([settings, row.study, row.ecg, row.gap_days, row.series])


def digest(row: Row, settings: str) -> str:
    """Digest of all that a result is made from: :func:`key` and the contents of the files.

    Raises:
        StudyError: the study is a folder that cannot be read.
    """
    ecg = Path(row.ecg) if row.ecg else None
    return _digest([key(row, settings), *_contents(Path(row.study), ecg)])


def content_digest(study: Path, ecg: Path | None, settings: str) -> str:
    """Digest of the contents of both, wherever they lie, and of ``settings``.

    Raises:
        StudyError: the study is a folder that cannot be read.
    """
    return _digest([settings, *_contents(study, ecg)])


def _contents(study: Path, ecg: Path | None) -> tuple[list[str], list[str]]:
    return _study(study), [] if ecg is None else [_file(path) for path in _ecg_files(ecg)]


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _study(path: Path) -> list[str]:
    """Contents in name order, as the reader takes them. Names are no part of a result."""
    if not _is_folder(path):
        return [_file(path)]
    files = FolderFiles(path)
    contents = (files.read(index) for index in range(len(files)))
    return ["" if content is None else hashlib.sha256(content).hexdigest() for content in contents]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, for example; reading tells
        return False


def _ecg_files(path: Path) -> Iterator[Path]:
    """The file, and of a WFDB record the header and what that names, whichever was given."""
    yield path
    stem = path.with_suffix("") if path.suffix.lower() in (".hea", ".dat") else path
    for header in (Path(f"{stem}.hea"), Path(f"{stem}.HEA")):
        yield header
        for name in _named(header):
            yield header.with_name(name)


def _named(header: Path) -> list[str]:
    """First words of the lines that are names in the header's own folder; only those are read."""
    try:
        if not header.is_file():
            return []
        with header.open("rb") as file:
            text = file.read(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return []
    words = [line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip()]
    return [word for word in words if not re.search(r"[/\\:\0]", word) and word not in (".", "..")]


def _file(path: Path) -> str:
    """Digest of a file's content; of what is no file or cannot be read none: reading tells."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
