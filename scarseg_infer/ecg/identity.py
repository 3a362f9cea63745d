"""Do MRI and ECG belong to the same patient, as far as their files tell?"""

from __future__ import annotations

from scarseg_infer.ecg.record import EcgRecord
from scarseg_runtime.errors import EcgError


def check_identity(
    mri_patient_id: str | None, record: EcgRecord, *, allow_mismatch: bool
) -> str | None:
    """Compare the patient identifiers of MRI and ECG, which are never quoted.

    They are compared without surrounding space and letter case. Leading zeros count: in some
    hospitals 0123 and 123 are two patients.

    Args:
        mri_patient_id: PatientID of the MRI; None or blank where it has none.
        record: the ECG.
        allow_mismatch: go on, with a warning, where they differ.

    Returns:
        A warning where they differ and that was allowed, else None: they agree, or at least one
        file has no identifier (one without any letter or digit, such as ``---``, is none).

    Raises:
        EcgError: both have one and they differ.
    """
    mri, ecg = _normal(mri_patient_id), _normal(record.patient_id)
    if not mri or not ecg or mri == ecg:
        return None
    if allow_mismatch:
        return "ECG and MRI carry different patient identifiers: this was allowed by the user."
    raise EcgError(
        "ECG and MRI carry different patient identifiers",
        "Check that both files are of this patient; if they are, pass --allow-identity-mismatch",
    )


def _normal(patient_id: str | None) -> str:
    text = (patient_id or "").strip().casefold()
    return text if any(character.isalnum() for character in text) else ""
