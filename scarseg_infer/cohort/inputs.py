"""Digests of what the result of a row is made from: where they are the same, so is the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from scarseg_infer.cohort.table import Row
from scarseg_infer.ecg.wfdb.read import MAX_HEADER_BYTES, data_file
from scarseg_infer.study.files import FolderFiles, KeptFiles
from scarseg_runtime.edited_text import decoded_text
from scarseg_runtime.errors import EcgError


def key(row: Row, settings: str) -> str:
    """Digest of what is asked for, files by their paths. An id may come to mean another study.

    Args:
        settings: whatever else the result depends on, the same for all rows of a run.
    """
    return _digest([settings, row.study, row.ecg, row.gap_days, row.series])


def study_of(path: Path) -> Path | KeptFiles:
    """The files of a folder, each opened once for the digest and the run, or the path of a file.

    Raises:
        StudyError: the study is a folder that cannot be read.
    """
    return KeptFiles(FolderFiles(path)) if _is_folder(path) else path


def digest(row: Row, settings: str, study: Path | KeptFiles | None = None) -> str:
    """Digest of all that a result is made from: :func:`key` and the contents of the files.

    Args:
        study: what :func:`study_of` gave for the row, where it is used again.

    Raises:
        StudyError: the study is a folder that cannot be read.
    """
    ecg = Path(row.ecg) if row.ecg else None
    return _digest(
        [key(row, settings), *_contents(Path(row.study) if study is None else study, ecg)]
    )


def content_digest(study: Path, ecg: Path | None, settings: str) -> str:
    """Digest of the contents of both, wherever they lie, and of ``settings``.

    Raises:
        StudyError: the study is a folder that cannot be read.
    """
    return _digest([settings, *_contents(study, ecg)])


def _contents(study: Path | KeptFiles, ecg: Path | None) -> tuple[list[str], list[str]]:
    return _study(study), [] if ecg is None else [_file(path) for path in _ecg_files(ecg)]


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _study(study: Path | KeptFiles) -> list[str]:
    """Contents in name order, as the reader takes them. Names are no part of a result."""
    files = study_of(study) if isinstance(study, Path) else study
    if isinstance(files, Path):
        return [_file(files)]
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
            with suppress(EcgError):  # not a name of a file that is read
                yield data_file(header.parent, name)


def _named(header: Path) -> list[str]:
    """First words of the lines: names of data files, and other things."""
    try:
        if not header.is_file():
            return []
        with header.open("rb") as file:
            content = file.read(MAX_HEADER_BYTES)
    except OSError:
        return []
    try:
        text = decoded_text(content)
    except ValueError:
        text = content.decode("latin-1")
    return [line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip()]


def _file(path: Path) -> str:
    """Digest of a file's content; of what is no file or cannot be read none: reading tells."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
