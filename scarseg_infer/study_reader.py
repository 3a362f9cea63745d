"""Any supported MRI study → one LGE stack: a DICOM folder, a zip of one, or a NIfTI file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from scarseg_infer.stack import LgeStack
from scarseg_runtime.errors import StudyError

_NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
_SUPPORTED: Final = "Pass a folder of DICOM files, a zip of one, or a NIfTI file (.nii, .nii.gz)"


def read_study(path: str | Path) -> LgeStack:
    """Read the LGE short-axis stack of a study.

    Args:
        path: a folder searched with all its subfolders for DICOM files, a zip archive of such
            a folder, or a NIfTI file (.nii, .nii.gz).

    Raises:
        StudyError: the study is missing, unreadable, of an unsupported type, or not one
            short-axis LGE stack of one patient.
    """
    path = Path(path)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
        is_zip = is_file and zipfile.is_zipfile(path)
    except OSError as error:
        raise StudyError(
            f"the study cannot be read ({error.strerror})", "Check that you may read it"
        ) from error
    if is_folder:
        return _read_folder(path)
    if not is_file:
        raise StudyError("the study does not exist", "Check its path")
    name = path.name.lower()
    if name.endswith(_NIFTI_SUFFIXES):
        from scarseg_infer.read_nifti import read_nifti

        return read_nifti(path)
    if is_zip or name.endswith(".zip"):
        return _read_zip(path)
    raise StudyError(f"the study is {_what_is(path)}", _SUPPORTED)


def _read_folder(path: Path) -> LgeStack:
    from scarseg_infer.read_dicom import read_dicom
    from scarseg_infer.study_files import FolderFiles

    return read_dicom(FolderFiles(path))


def _read_zip(path: Path) -> LgeStack:
    from scarseg_infer.archive import open_archive
    from scarseg_infer.read_dicom import read_dicom

    with open_archive(path) as files:
        return read_dicom(files)


def _what_is(path: Path) -> str:
    """A user's guess at what the file is, without its name."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return "a file that cannot be read"
    return "a single DICOM file" if head[128:] == b"DICM" else "a file of an unsupported type"
