"""Pairing of studies with ECGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.node.queue.received import Queue, Study
from scarseg_runtime.errors import EcgError

MAX_TRIED: Final = 5
"""ECGs of one patient that are tried, from the newest on, until one is fit to be used."""


def ecgs_for(queue: Queue, study: Study) -> Iterator[tuple[EcgRecord, str]]:
    """ECGs of the study's patient that can be read, the newest first, and a digest's word each."""
    from scarseg_infer.ecg.dicom import read_ecg_dicom

    for path in queue.ecgs(study)[:MAX_TRIED]:
        try:
            yield read_ecg_dicom(path.read_bytes()), path.stem
        except EcgError:
            continue


def has_ecg(queue: Queue, study: Study) -> bool:
    """Was an ECG of the study's patient received?"""
    return bool(queue.ecgs(study))


def link_images(queue: Queue, study: Study, folder: Path) -> list[str]:
    """Put the study's images into an empty folder, as links: what arrives later is not in it.

    Returns the digest's words for them. Raises OSError.
    """
    words = []
    for path in queue.images(study):
        link = folder / path.name
        try:
            link.hardlink_to(path)
        except OSError:  # a file system without links
            link.write_bytes(path.read_bytes())
        words.append(path.stem)
    return words
