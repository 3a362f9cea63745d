"""Expert masks: NIfTI, DICOM SEG, or a folder of either, as classes on the grid of their file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scarseg_export.patients.classes import (
    BACKGROUND,
    CAVITY,
    CLASSES,
    MYOCARDIUM,
    RV,
    SCAR,
    UNLABELLED,
    Classes,
)
from scarseg_export.patients.reader import Grid, PatientReader
from scarseg_export.patients.seg import Seg, is_dicom, joined, read_seg
from scarseg_runtime.errors import StudyError

CODES = {name: number for number, name in enumerate(CLASSES)}
PAINTED = (MYOCARDIUM, CAVITY, RV, SCAR, UNLABELLED)
"""Order in which masks of one class each are laid over each other: myocardium may include scar."""
NIFTI = (".nii", ".nii.gz")
MAX_FILES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A :class:`~scarseg_export.patients.reader.Grid` of class codes [S, H, W] uint8."""

    values: NDArray[np.uint8]
    origins_mm: NDArray[np.float64]
    rows_mm: NDArray[np.float64]
    columns_mm: NDArray[np.float64]
    heights_mm: NDArray[np.float64]
    placed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Classes drawn for one patient, and where their files say they belong."""

    grid: Placed
    drawn: frozenset[str]
    """Classes that whoever drew it looked for; others may be there unlabelled."""
    sparse: bool = False
    """Slices without anything drawn were left out on purpose, as DICOM SEG may do."""
    instance_uids: frozenset[str] = frozenset()
    """SOPInstanceUIDs that a DICOM SEG says it was drawn on; empty where unknown."""
    study_uid: str | None = None
    patient_key: str | None = None
    """Digest as in ``PatientView.patient_key``."""


def read_mask(path: Path, classes: Classes, reader: PatientReader) -> Mask:
    """Read a mask.

    Args:
        path: a NIfTI file, a DICOM SEG, a folder with one of these, with a NIfTI file per class,
            or with several SEG objects.

    Raises:
        StudyError: it is missing, unreadable or of an unsupported kind, holds a value or segment
            that the TOML does not name, or its files do not share a grid.
    """
    files = mask_files(path)
    if all(_is_nifti(file) for file in files):
        # A file alone may be one of several classes of which others are missing.
        by_name = _stem(files[0]) in classes.files and (path.is_dir() or len(classes.values) == 1)
        if len(files) == 1 and not by_name:
            return _by_values(_volume(reader, files[0]), classes)
        return _by_files(files, classes, reader)
    if any(_is_nifti(file) for file in files):
        raise StudyError("the mask folder mixes NIfTI and other files", "Keep one kind in it")
    return _of_seg(joined([read_seg(file) for file in files]), classes)


def mask_files(path: Path) -> list[Path]:
    """The files of a mask, in name order. Raises StudyError where there are none."""
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise StudyError("the mask does not exist", "Check its path")
        files = sorted(file for file in path.iterdir() if file.is_file())
    except OSError as error:
        raise StudyError(
            f"the mask cannot be read ({error.strerror})", "Check that you may read it"
        ) from error
    known = [file for file in files if _is_nifti(file) or is_dicom(file)]
    if not known:
        raise StudyError("the mask folder holds neither NIfTI nor DICOM", "Check its path")
    if len(known) > MAX_FILES:
        raise StudyError(f"the mask folder holds more than {MAX_FILES} masks", "Check its path")
    return known


def mask_digest(path: Path) -> str:
    """Digest of the contents of a mask's files. Raises StudyError."""
    return hashlib.sha256(
        b"".join(hashlib.sha256(file.read_bytes()).digest() for file in mask_files(path))
    ).hexdigest()


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI)


def _volume(reader: PatientReader, path: Path) -> Grid:
    try:
        return reader.read_volume(path)
    except StudyError as error:
        raise StudyError(
            f"the mask cannot be used: {error.what}",
            "Export it again as one 3-D volume of labels on the grid of its image",
        ) from error


def _by_values(grid: Grid, classes: Classes) -> Mask:
    found = np.unique(grid.values)
    if not np.array_equal(found, np.rint(found)):
        raise StudyError("the mask has values that are no whole numbers", "Pass labels, no image")
    unknown = sorted({int(value) for value in found} - classes.values.keys())
    if unknown:
        listed = ", ".join(map(str, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        raise StudyError(
            f"the mask has values that the TOML of classes does not name ({listed})",
            "Name them in [values], as unlabelled where nothing is to be learned from them",
        )
    codes = np.zeros(grid.values.shape, np.uint8)
    for value in found:
        codes[grid.values == value] = CODES[classes.values[int(value)]]
    return Mask(_placed(grid, codes), frozenset(classes.values.values()))


def _placed(grid: Grid, codes: NDArray[np.uint8]) -> Placed:
    return Placed(
        codes, grid.origins_mm, grid.rows_mm, grid.columns_mm, grid.heights_mm, grid.placed
    )


def _stem(path: Path) -> str:
    return path.name[: path.name.lower().rindex(".nii")].casefold()


def _by_files(files: list[Path], classes: Classes, reader: PatientReader) -> Mask:
    """A folder of NIfTI files, each the mask of one class."""
    if any(_stem(file) not in classes.files for file in files):
        raise StudyError(
            "the mask folder has a file that [files] of the TOML does not name",
            "Name it there without its suffix, or take it away",
        )
    grids = [_volume(reader, file) for file in files]
    first = grids[0]
    for grid in grids:
        same = grid.values.shape == first.values.shape and all(
            np.allclose(getattr(grid, name), getattr(first, name), atol=tolerance)
            for name, tolerance in (("origins_mm", 0.1), ("rows_mm", 1e-3), ("columns_mm", 1e-3))
        )
        if not same:
            raise StudyError("the files of the mask do not share a grid", "Save them on one")
    codes, drawn = painted(
        (classes.files[_stem(file)], grid.values > 0.5)
        for file, grid in zip(files, grids, strict=True)
    )
    return Mask(_placed(first, codes), drawn | classes.lacking(classes.files))


def painted(
    masks: Iterable[tuple[str, NDArray[np.bool_]]],
) -> tuple[NDArray[np.uint8], frozenset[str]]:
    """Class codes of masks of one class each, laid over each other in the order of PAINTED, and
    which classes there are. Several may be of one class."""
    drawn: dict[str, NDArray[np.bool_]] = {}
    for name, mask in masks:
        drawn[name] = mask | drawn[name] if name in drawn else mask
    codes = np.zeros(next(iter(drawn.values())).shape, np.uint8)
    for name in PAINTED:
        if name in drawn:
            codes[drawn[name]] = CODES[name]
    return codes, frozenset((*drawn, BACKGROUND))


def _of_seg(seg: Seg, classes: Classes) -> Mask:
    masks = []
    for number, (names, mask) in enumerate(seg.segments, start=1):
        meant = [classes.segments[n.casefold()] for n in names if n.casefold() in classes.segments]
        if not meant:
            raise StudyError(
                f"segment {number} of the mask stands in [segments] of the TOML neither by label "
                "nor by code",
                "Name it there, as unlabelled where nothing is to be learned from it",
            )
        masks.append((meant[0], mask))
    codes, drawn = painted(masks)
    grid = Placed(codes, seg.origins_mm, seg.rows_mm, seg.columns_mm, seg.heights_mm, True)
    return Mask(
        grid, drawn | classes.lacking(classes.segments), True,
        seg.instance_uids, seg.study_uid, seg.patient_key,
    )  # fmt: skip
