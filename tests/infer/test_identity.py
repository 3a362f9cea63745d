"""Two patients are never mixed up silently, and no identifier is ever shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_infer.ecg.evidence import check_identity
from scarseg_infer.ecg.record import EcgRecord
from scarseg_runtime.errors import EcgError


def ecg(patient_id: str | None) -> EcgRecord:
    return EcgRecord(np.zeros((2, 1)), 500.0, ("I",), patient_id=patient_id)


@pytest.mark.parametrize(
    ("mri", "other"),
    [("4711", "4711"), (" 4711 ", "4711"), ("Ab-1", "aB-1"), ("4711\0", "4711\0")],
)
def test_the_same_patient_passes(mri: str, other: str) -> None:
    assert check_identity(mri, ecg(other), allow_mismatch=False) is None


@pytest.mark.parametrize(
    "nothing",
    [None, "", "  ", "---", "?", "ANONYMOUS", "anonymous^patient", "N/A", "0", "00000", "XXXX",
     "9999999", "Unknown", "de-identified"],
)  # fmt: skip
def test_without_two_identifiers_there_is_nothing_to_compare(nothing: str | None) -> None:
    assert check_identity(nothing, ecg("4711"), allow_mismatch=False) is None
    assert check_identity("4711", ecg(nothing), allow_mismatch=False) is None
    assert check_identity(nothing, ecg(nothing), allow_mismatch=False) is None


@pytest.mark.parametrize(("mri", "other"), [("4711", "4712"), ("0123", "123"), ("000", "001")])
def test_different_patients_are_refused_unless_allowed(mri: str, other: str) -> None:
    with pytest.raises(EcgError, match="--allow-identity-mismatch") as caught:
        check_identity(mri, ecg(other), allow_mismatch=False)
    warning = check_identity(mri, ecg(other), allow_mismatch=True)
    assert warning is not None
    for text in (str(caught.value), warning):
        assert mri not in text
        assert other not in text


@given(mri=st.text(max_size=20), other=st.text(max_size=20))
def test_order_does_not_matter(mri: str, other: str) -> None:
    one = check_identity(mri, ecg(other), allow_mismatch=True)
    assert one == check_identity(other, ecg(mri), allow_mismatch=True)
    assert check_identity(mri, ecg(mri), allow_mismatch=False) is None


def test_the_identifier_is_not_in_the_record_as_text() -> None:
    assert "4711" not in repr(ecg("SECRET-4711"))
    assert "4711" not in str(ecg("SECRET-4711"))
