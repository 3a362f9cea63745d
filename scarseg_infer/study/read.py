"""Any supported MRI study → one LGE stack: a DICOM folder, a zip of one, or a NIfTI file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scarseg_infer.arguments import as_path, check_choice
from scarseg_infer.study.archive import is_archive, open_archive
from scarseg_infer.study.check import check_picture, check_stack
from scarseg_infer.study.files import (
    FolderFiles,
    KeptFiles,
    Look,
    StudyFiles,
    Watch,
    WatchedFiles,
)
from scarseg_infer.study.series_verdict import PreferredKind, SeriesVerdict
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

_NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
_SUPPORTED: Final = "Pass a folder of DICOM files, a zip of one, or a NIfTI file (.nii, .nii.gz)"


def read_study(
    path: str | Path,
    series: str | int | None = None,
    prefer: PreferredKind = "PSIR",
    *,
    watch: Watch | None = None,
) -> LgeStack:
    """Read the LGE short-axis stack of a study.

    Args:
        path: a folder searched with all its subfolders for DICOM files, a zip archive of such
            a folder, or a NIfTI file (.nii, .nii.gz).
        series: which series to read where the choice is not to be left to the rules: a number
            of :func:`list_series` or a SeriesInstanceUID.
        prefer: which kind of image to read where the same slices are there as PSIR and as
            magnitude images; ``image_kind`` of the stack says which it was.
        watch: told before each DICOM file how much has been read, from 0 to 1. What it raises
            ends the reading.

    Raises:
        StudyError: the study is missing, unreadable, of an unsupported type, not one
            short-axis LGE stack of one patient, or without that series.
        UsageError: an argument is of the wrong kind.
    """
    return _read(as_path(path, "study"), series, prefer, watch, None)


def _read(
    path: Path | StudyFiles,
    series: str | int | None,
    prefer: PreferredKind,
    watch: Watch | None,
    look: Look | None,
) -> LgeStack:
    check_choice(series, prefer)
    if isinstance(path, StudyFiles) or not is_nifti(path):
        from scarseg_infer.study.dicom.read import read_dicom

        with _opened(path) as opened:
            files = KeptFiles(opened, look)
            watched = files if watch is None else WatchedFiles(files, watch)
            stack = read_dicom(watched, series, prefer)
        check_picture(stack.pixels)
        return stack
    if series is not None:
        raise StudyError("a NIfTI file has no series to choose from", "Leave the series out")
    from scarseg_infer.study.nifti import read_nifti

    stack = read_nifti(path)
    check_picture(stack.pixels)
    return stack


def study_stack(
    study: str | Path | StudyFiles | LgeStack,
    series: str | int | None,
    prefer: PreferredKind,
    watch: Watch,
    look: Look | None = None,
) -> LgeStack:
    """Stack that :func:`read_study` reads, or a stack that a host made, if it can be one.

    Args:
        look: shown every file of a DICOM study.
    """
    if not isinstance(study, LgeStack):
        place = study if isinstance(study, StudyFiles) else as_path(study, "study")
        return _read(place, series, prefer, watch, look)
    check_stack(study)
    return study


def list_series(
    path: str | Path | StudyFiles, prefer: PreferredKind = "PSIR"
) -> list[SeriesVerdict]:
    """List what each series of a DICOM study is taken for, and which of them would be read.

    Args:
        path: a folder searched with all its subfolders for DICOM files, or a zip archive of
            such a folder, or the files themselves.
        prefer: as in :func:`read_study`.

    Raises:
        StudyError: the study is missing, unreadable, of an unsupported type, or mixes patients.
        UsageError: an argument is of the wrong kind.
    """
    place = path if isinstance(path, StudyFiles) else as_path(path, "study")
    check_choice(None, prefer)
    if not isinstance(place, StudyFiles) and is_nifti(place):
        raise StudyError("a NIfTI file has no series to list", "Pass a DICOM study")
    from scarseg_infer.study.dicom.read import list_dicom_series

    with _opened(place) as files:
        return list_dicom_series(files, prefer)


def is_nifti(path: Path) -> bool:
    try:
        return path.is_file() and path.name.lower().endswith(_NIFTI_SUFFIXES)
    except OSError as error:
        raise _unreadable(error) from error


@contextmanager
def _opened(path: Path | StudyFiles) -> Iterator[StudyFiles]:
    """The files of a folder or zip archive, or those that are given.

    Raises:
        StudyError: the path is neither, or cannot be read.
    """
    if isinstance(path, StudyFiles):
        yield path
        return
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
        is_zip = is_file and is_archive(path)
    except OSError as error:
        raise _unreadable(error) from error
    if is_folder:
        yield FolderFiles(path)
    elif not is_file:
        raise StudyError("the study does not exist", "Check its path")
    elif is_zip or path.name.lower().endswith(".zip"):
        with open_archive(path) as files:
            yield files
    else:
        raise StudyError(f"the study is {_what_is(path)}", _SUPPORTED)


def _unreadable(error: OSError) -> StudyError:
    return StudyError(f"the study cannot be read ({error.strerror})", "Check that you may read it")


def _what_is(path: Path) -> str:
    """A user's guess at what the file is, without its name."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return "a file that cannot be read"
    return "a single DICOM file" if head[128:] == b"DICM" else "a file of an unsupported type"
