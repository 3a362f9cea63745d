"""Writing every output into one folder: all of them appear together, or none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scarseg_infer.result import ScarResult
from scarseg_runtime.errors import OutputError

NAMES: Final = {
    "seg": "scar.dcm",
    "nifti": "scar.nii.gz",
    "json": "result.json",
    "overlay": "overlay.png",
    "bullseye": "bullseye.png",
}
"""File name of each output."""


def check_out(out: Path, *, overwrite: bool) -> None:
    """Whether results may go to folder ``out``; for failing before the expensive work.

    Raises:
        OutputError: it exists (and may not be replaced), is a file, holds other files, or its
            parent cannot be written.
    """
    try:
        if out.is_dir():
            _check_replaceable(out, overwrite)
        elif out.exists() or out.is_symlink():
            raise OutputError("the output is an existing file", "Name a folder with -o")
        with _staging(out):
            pass
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(error) from error


def write_all(result: ScarResult, out: Path, *, overwrite: bool) -> dict[str, Path]:
    """Write every output of ``result`` into folder ``out``; parents are made where missing.

    Files are written into a folder beside ``out`` which is then renamed to ``out``, so nobody
    ever sees half a result, and nothing is left behind on failure or interruption.

    Returns:
        The path of each output that was written, by name; ``seg`` for DICOM input only.

    Raises:
        OutputError: see :func:`check_out`; also when the disk is full.
    """
    check_out(out, overwrite=overwrite)
    try:
        with _staging(out) as folder:
            files = _write_files(result, folder)
            _publish(folder, out)
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(error) from error
    return {name: out / file for name, file in files.items()}


def _write_files(result: ScarResult, folder: Path) -> dict[str, str]:
    from scarseg_infer.bullseye import bullseye_image
    from scarseg_infer.overlay import overlay_image
    from scarseg_infer.write_json import write_json
    from scarseg_infer.write_nifti import write_nifti
    from scarseg_infer.write_seg import write_seg

    files = {n: f for n, f in NAMES.items() if n != "seg" or result.stack.source == "dicom"}
    if "seg" in files:
        write_seg(result, folder / files["seg"])
    write_nifti(result, folder / files["nifti"])
    overlay_image(result).save(folder / files["overlay"], optimize=True)
    bullseye_image(result).save(folder / files["bullseye"], optimize=True)
    write_json(result, folder / files["json"], files)
    return files


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """An empty folder on the same file system as ``out``, gone afterwards unless renamed.

    Parents of ``out`` that had to be made for it go too, unless something is in them.
    """
    out = out.absolute()
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".partial", dir=out.parent))
        folder.chmod(0o755)  # mkdtemp makes it private, results are as readable as any folder
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()


def _publish(folder: Path, out: Path) -> None:
    """Rename ``folder`` to ``out``; an old result there steps aside first and is then removed."""
    if not out.exists():
        folder.rename(out)
        return
    old = folder.with_name(folder.name + ".old")
    out.rename(old)
    try:
        folder.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(out: Path, overwrite: bool) -> None:
    """Only a folder that holds nothing but our own outputs is ever replaced."""
    present = {entry.name for entry in out.iterdir()}
    if not present:
        return
    if not overwrite:
        raise OutputError(
            "the output folder exists", "Name another with -o, or replace it with --overwrite"
        )
    foreign = present - set(NAMES.values())
    if foreign:
        raise OutputError(
            f"the output folder holds {len(foreign)} files that are not results of this program",
            "Name another folder with -o; only a folder of results is ever replaced",
        )


def _cannot_write(error: OSError) -> OutputError:
    return OutputError(
        f"the results cannot be written ({error.strerror or type(error).__name__})",
        "Check that the disk is not full and that you may write there, or name another with -o",
    )
