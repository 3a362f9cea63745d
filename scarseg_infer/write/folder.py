"""Writing every output into one folder: all of them appear together, or none."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scarseg_infer.write.staging import exists_error, hidden_folder, place_of, publish, staging
from scarseg_runtime.errors import OutputError, UsageError
from scarseg_runtime.install import install_command

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

NAMES: Final = {
    "page": "report.html",
    "seg": "scar.dcm",
    "sr": "report-sr.dcm",
    "nifti": "scar.nii.gz",
    "json": "result.json",
    "csv": "segments.csv",
    "overlay": "overlay.png",
    "bullseye": "bullseye.png",
    "pdf": "report.pdf",
    "dicom-pdf": "report-pdf.dcm",
    "fhir": "fhir.json",
    "hl7": "oru.hl7",
}
"""File name of each output."""
_PDFS: Final = frozenset({"pdf", "dicom-pdf"})
ON_REQUEST: Final = _PDFS | {"fhir", "hl7"}
"""Outputs that repeat others: written where they are asked for by name."""
_DICOM: Final = frozenset({"seg", "sr", "dicom-pdf", "hl7"})
"""Outputs that refer to the source images or their patient, and so need DICOM ones."""
ALL: Final = "all"


def check_out(out: Path, *, overwrite: bool) -> None:
    """Check that results may go to folder ``out``; for failing before the expensive work.

    Raises:
        OutputError: it exists (and may not be replaced), is a file, holds other files, or its
            parent cannot be written.
    """
    try:
        kind = _kind(out)
        if stat.S_ISDIR(kind):
            _check_replaceable(out, overwrite)
        elif kind:
            raise OutputError("the output is an existing file", "Name a folder (out, -o)")
        # Parents are not made on trial: other threads may be at work in them.
        place = place_of(out)
        parent = next((parent for parent in place.parents if parent.exists()), place.parent)
        hidden_folder(place, parent).rmdir()
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(error) from error


def _kind(out: Path) -> int:
    """File type of what is there, 0 if nothing, by one look: between two, another writer's result
    may have been put in the place of an older one."""
    try:
        return out.stat().st_mode
    except FileNotFoundError:
        return out.lstat().st_mode if out.is_symlink() else 0


def check_only(only: Collection[str]) -> None:
    """Check that all names are outputs that can be made.

    Raises:
        UsageError: there is no output of a name.
        OutputError: what makes the PDFs is not installed.
    """
    if isinstance(only, str) or not isinstance(only, Collection):
        raise UsageError("the outputs wanted are not a list", 'Give names in one, as ["json"]')
    for name in only:
        if name not in NAMES and name != ALL:
            raise UsageError(f"there is no output {name!r}", f"Known: {', '.join([*NAMES, ALL])}")
    if not _PDFS.isdisjoint(_PDFS if ALL in only else only) and not can_make_pdf():
        raise OutputError(
            "the PDFs need the package reportlab, which is not installed",
            f"Install it with: {install_command('pdf')}; or ask for others",
        )


def can_make_pdf() -> bool:
    """Is there what makes the PDFs?"""
    try:
        return find_spec("reportlab") is not None
    except ValueError:  # a host has put None or a module without a spec in its place
        return False


def write_all(
    result: ScarResult, out: Path, *, overwrite: bool, only: Collection[str] = ()
) -> dict[str, Path]:
    """Write outputs of ``result`` into folder ``out``; parents are made where missing.

    Args:
        only: names of the outputs wanted, or ``all``; all but those of ON_REQUEST where empty.

    Files are written into a folder beside ``out`` which is then renamed to ``out``, so nobody
    ever sees half a result, and nothing is left behind on failure or interruption.

    Returns:
        The path of each output that was written, by name; DICOM objects and HL7 for DICOM input
        only.

    Raises:
        OutputError: see :func:`check_out`; also when the disk is full, and without ``overwrite``
            when somebody else has written results there meanwhile.
        UsageError: an unknown name in ``only``, or nothing of it can be made of this study.
    """
    check_only(only)
    if not wanted_files(result.stack.source, only):
        raise UsageError(
            f"of a study without DICOM images there is no {' or '.join(only)}",
            f"Ask for others: {', '.join(name for name in NAMES if name not in _DICOM)}",
        )
    check_out(out, overwrite=overwrite)
    try:
        with staging(out) as folder:
            files = _write_files(result, folder, only)
            publish(folder, out, NAMES.values(), overwrite=overwrite)
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(error) from error
    return {name: out / file for name, file in files.items()}


def wanted_files(source: str, only: Collection[str]) -> dict[str, str]:
    """File names by output of what is written of a result from a kind of ``source``."""
    return {
        name: file
        for name, file in NAMES.items()
        if (source == "dicom" or name not in _DICOM)
        and (name in only or ALL in only or (not only and name not in ON_REQUEST))
    }


def _write_files(result: ScarResult, folder: Path, only: Collection[str]) -> dict[str, str]:
    """Imports stand with what needs them: a host that wants one file waits for one writer."""
    files = wanted_files(result.stack.source, only)
    for group in (_write_dicom, _write_plain, _write_messages, _write_pictures):
        group(result, folder, files)
    if "json" in files:
        from scarseg_infer.write.json import write_json

        write_json(result, folder / files["json"], files)
    return files


def _write_dicom(result: ScarResult, folder: Path, files: Mapping[str, str]) -> None:
    if "seg" in files:
        from scarseg_infer.write.dicom.seg import write_seg

        write_seg(result, folder / files["seg"])
    if "sr" in files:
        from scarseg_infer.write.dicom.sr import write_sr

        write_sr(result, folder / files["sr"], folder / files["seg"] if "seg" in files else None)
    if "dicom-pdf" in files:
        from scarseg_infer.write.dicom.pdf import write_pdf

        write_pdf(result, folder / files["dicom-pdf"])


def _write_plain(result: ScarResult, folder: Path, files: Mapping[str, str]) -> None:
    if "nifti" in files:
        from scarseg_infer.write.nifti import write_nifti

        write_nifti(result, folder / files["nifti"])
    if "csv" in files:
        from scarseg_infer.write.csv import write_csv

        write_csv(result, folder / files["csv"])
    if "pdf" in files:
        from scarseg_infer.write.dicom.pdf import write_plain_pdf

        write_plain_pdf(result, folder / files["pdf"])


def _write_messages(result: ScarResult, folder: Path, files: Mapping[str, str]) -> None:
    if "fhir" in files:
        from scarseg_infer.write.fhir import write_fhir

        write_fhir(result, folder / files["fhir"])
    if "hl7" in files:
        from scarseg_infer.write.hl7.oru import write_oru

        write_oru(result, folder / files["hl7"])


def _write_pictures(result: ScarResult, folder: Path, files: Mapping[str, str]) -> None:
    from scarseg_infer.write.report.drawing import save_png

    if "overlay" in files:
        from scarseg_infer.write.report.overlay import overlay_image

        save_png(overlay_image(result), folder / files["overlay"])
    if "bullseye" in files:
        from scarseg_infer.write.report.bullseye import bullseye_image

        save_png(bullseye_image(result), folder / files["bullseye"])
    if "page" in files:
        from scarseg_infer.write.report.page import write_page

        write_page(result, folder / files["page"])


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Only a folder that holds nothing but our own outputs is ever replaced."""
    if os.path.ismount(out):
        raise OutputError(
            "the output folder is a mount point, which cannot be replaced as a whole",
            "Name a new folder inside it (out, -o)",
        )
    try:
        present = list(out.iterdir())
    except FileNotFoundError:  # somebody else is replacing it
        return
    if not present:
        return
    if not overwrite:
        raise exists_error()
    ours = set(NAMES.values())
    foreign = sum(entry.name not in ours or entry.is_dir() for entry in present)
    if foreign:
        raise OutputError(
            f"the output folder also holds things that are not results of this program ({foreign})",
            "Name another folder (out, -o); only a folder of results is ever replaced",
        )


def _cannot_write(error: OSError) -> OutputError:
    return OutputError(
        f"the results cannot be written ({error.strerror or type(error).__name__})",
        "Check that the disk is not full and that you may write there, or name another",
    )
