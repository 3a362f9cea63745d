"""Every code that we write is one of DICOM's own tables, under the meaning given there."""

from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts

from scarseg_infer.write.dicom import codes
from scarseg_infer.write.dicom.codes import AHA_SEGMENTS, PRIVATE_SCHEME, Code, code_item
from scarseg_runtime.atlas import SEGMENT_NAMES

CODES = [
    code
    for value in vars(codes).values()
    for code in (value if isinstance(value, tuple) and not isinstance(value, Code) else [value])
    if isinstance(code, Code)
]
NOT_IN_THE_TABLES = {
    # Any UCUM expression is allowed; pydicom lists some.
    ("UCUM", "mL"), ("UCUM", "g"), ("UCUM", "{pixels}"), ("UCUM", "{-1:1}"),
    # Whole schemes that pydicom leaves out: TID 1500 row 11, CID 5000.
    ("UMLS", "C0034375"), ("RFC5646", "en-US"),
}  # fmt: skip


def in_tables(code: Code) -> bool:
    """True where pydicom's tables have this code with this meaning under any keyword."""
    entries = [entry.get(code.value) for entry in concepts.get(code.scheme, {}).values()]
    return any(entry is not None and entry[0] == code.meaning for entry in entries)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.meaning.replace(" ", "-"))
def test_code_is_in_the_tables(code: Code) -> None:
    if code.scheme == PRIVATE_SCHEME:
        assert len(code.value) <= 16 and code.value.isupper()
    else:
        assert in_tables(code) != ((code.scheme, code.value) in NOT_IN_THE_TABLES)
    assert len(code.meaning) <= 64


def test_no_two_codes_are_the_same() -> None:
    assert len({(code.scheme, code.value) for code in CODES}) == len(CODES)


def test_segments_are_the_17_segment_model_in_order() -> None:
    model = {
        code
        for keyword in cid_concepts[3717]["SCT"]
        for code, (_, groups) in concepts["SCT"][keyword].items()
        if 3717 in groups
    }
    assert {code.value for code in AHA_SEGMENTS} == model
    assert len(AHA_SEGMENTS) == 17
    for code, name in zip(AHA_SEGMENTS, SEGMENT_NAMES, strict=True):
        assert all(word in code.meaning.lower() for word in name.split())


def test_item() -> None:
    item = code_item(codes.SCAR_TISSUE)
    assert (item.CodeValue, item.CodingSchemeDesignator) == ("12402003", "SCT")
    assert item.CodeMeaning == "Scar tissue"
