"""Numbers of a DICOM ECG that change its samples: one that cannot be read is never left out."""

from __future__ import annotations

from pydicom import Dataset

from scarseg_infer.study.dicom.parse import is_no_number, number
from scarseg_runtime.errors import EcgError


def stated_number(item: Dataset, keyword: str) -> float | None:
    """The number that an attribute states; None where it is absent or empty.

    Raises:
        EcgError: something else stands there, such as a number with a decimal comma.
    """
    if is_no_number(item, keyword):
        raise EcgError(f"the DICOM ECG has a {keyword} that is no number", "Export the ECG again")
    return number(item, keyword)
