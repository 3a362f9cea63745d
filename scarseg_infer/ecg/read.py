"""Any supported ECG file → one ECG record; what a file is, its content says, not its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scarseg_infer.arguments import as_path
from scarseg_infer.ecg.record import MAX_ECG_BYTES, EcgRecord
from scarseg_runtime.errors import EcgError

_HEAD_BYTES: Final = 4096
_ECG_CLASSES: Final = b"1.2.840.10008.5.1.4.1.1.9.1."
"""Beginning of the UIDs of the ECG waveform classes (PS3.4 B.5)."""

_FORMATS: Final = "Give WFDB, DICOM, Philips or GE MUSE XML, HL7 aECG, SCP-ECG or EDF"
_PICTURE: Final = "a picture of an ECG, which holds no samples"
_FOREIGN: Final = (
    (b"%PDF-", "a PDF, a picture of an ECG that holds no samples to be read"),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"II*\0", _PICTURE),
    (b"MM\0*", _PICTURE),
    (b"PK\3\4", "an archive (zip): unpack it"),
    (b"\x1f\x8b", "compressed (gzip): unpack it"),
    (b"ISHNE", "in the ISHNE format of Holter recorders, which is not supported"),
    (b"ANN  1.0", "a list of beats (ISHNE) without an ECG"),
    (b"\xffBIOSEMI", "BDF, which is not supported"),
    (b"MATLAB 5.0", "a MATLAB file, which is read with its WFDB header (.hea) beside it alone"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
    (b"ALIVE\0\0\0", "in a vendor's own format (Kardia), which is not supported"),
)
"""First bytes of files that people give for an ECG, and what they are."""


def read_ecg(path: str | Path) -> EcgRecord:
    """Read a resting ECG.

    Args:
        path: a DICOM ECG waveform, Philips (Sierra) XML, GE MUSE XML, HL7 aECG, SCP-ECG or EDF
            file; or a WFDB record by its header (``.hea``), a data file beside it (``.dat``) or
            its name, which is the header's path without its suffix.

    Returns:
        The record in mV, as it stands in the file. Signals that are not voltages (respiration)
        are left out.

    Raises:
        EcgError: the file is missing, damaged, hostile, in an unsupported format, too long, or a
            lead is not a voltage; or what reads this format is not installed.
        UsageError: ``path`` is not a path.
    """
    path = as_path(path, "ECG")
    head = _head(path)
    if _is_dicom(head):
        from scarseg_infer.ecg.dicom import read_ecg_dicom

        return read_ecg_dicom(_content(path))
    from scarseg_infer.ecg.vendor import other_format, read_ecg_other

    header = path.with_suffix(".hea") if path.name else path
    for begins, what in _FOREIGN:
        if head.startswith(begins) and not header.is_file():  # .mat of PhysioNet
            raise EcgError(f"the ECG file is {what}", _FORMATS)
    if other_format(head):
        return read_ecg_other(_content(path))
    from scarseg_infer.ecg.wfdb.read import read_wfdb

    return read_wfdb(path)


def _head(path: Path) -> bytes:
    """First bytes of the file; none where there is no file, such as for a WFDB record name."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise EcgError("the ECG cannot be read", "Check the file's permissions") from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ECG_BYTES + 1)
    except OSError as error:
        raise EcgError("the ECG cannot be read", "Check the file's permissions") from error
    if len(content) > MAX_ECG_BYTES:
        raise EcgError(
            f"the ECG file is larger than {MAX_ECG_BYTES >> 20} MB",
            "Give a resting ECG: cut 10 s to some minutes out of a long recording",
        )
    return content


def _is_dicom(head: bytes) -> bool:
    # Old exports lack the preamble, and then only the class of the object tells.
    return head[128:132] == b"DICM" or _ECG_CLASSES in head
