"""HL7 v2: what two independent parsers read in the message is what the result says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scarseg_infer.result import ScarResult
from scarseg_infer.study.read import read_study
from scarseg_infer.write.hl7.escape import components, escaped, segment
from scarseg_infer.write.hl7.oru import oru_message
from scarseg_infer.write.measurements import (
    imaged_segments,
    of_segment,
    of_ventricle,
    site_of,
)
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.errors import StudyError

HEADER = {
    "PatientID": "P|7^&~\\", "PatientName": "Müller^Ann^Kathrin^Dr.^PhD",
    "IssuerOfPatientID": "HOSP&1", "AccessionNumber": "ACC|9", "StudyDate": "20240304",
    "StudyTime": "103000.5", "PatientBirthDate": "19600102", "PatientSex": "F",
    "ReferringPhysicianName": "House^Greg^^Prof.", "SpecificCharacterSet": "ISO_IR 192",
}  # fmt: skip


@pytest.fixture
def make(
    make_result: Callable[..., ScarResult], dicom_factory: ModuleType, tmp_path: Path
) -> Callable[..., ScarResult]:
    """A result of a small DICOM study whose headers hold what is given."""

    def build(**header: str) -> ScarResult:
        pixels = dicom_factory.noise(6, 56, 64)
        dicom_factory.write(tmp_path / "study", dicom_factory.series(pixels, **header))
        return make_result(read_study(tmp_path / "study"))

    return build


def parts(message: Any, text: Any) -> str:
    """A field or component without escapes, as python-hl7 reads it."""
    return str(message.unescape(str(text)))


def test_the_standard_is_kept(make: Callable[..., ScarResult]) -> None:
    """By hl7apy's tables of HL7 v2.5.1: structure, cardinalities and data types."""
    message = parse_message(oru_message(make(**HEADER)), validation_level=VALIDATION_LEVEL.STRICT)
    assert message.validate()
    assert (message.name, message.version) == ("ORU_R01", "2.5.1")
    result = message.oru_r01_patient_result
    assert len(result) == 1
    assert len(result.oru_r01_order_observation.oru_r01_observation) > 60


def test_numbers_codes_and_units_are_those_of_the_sr(make: Callable[..., ScarResult]) -> None:
    result = make(**HEADER)
    message = hl7.parse(oru_message(result))
    expected = {"1": ("87878005", of_ventricle(result))}
    for one in imaged_segments(result):
        expected[str(one.number + 1)] = (site_of(one).value, of_segment(one))
    assert len(expected) == 18
    sites, found = {}, {}
    for obx in message.segments("OBX"):
        sub, code, kind = str(obx[4]), str(obx[3][0][0]), str(obx[2])
        if code == "363698007":
            sites[sub] = str(obx[5][0][0])
        elif kind == "NM":
            unit = parts(message, obx[6][0][0])
            scheme = str(obx[3][0][2])
            found.setdefault(sub, []).append((scheme, code, float(str(obx[5])), unit))
        assert str(obx[11]) == "P"
    for sub, (site, measured) in expected.items():
        assert sites[sub] == site
        wanted = [(one.name.scheme, one.name.value, pytest.approx(one.value, abs=1e-6),
                   one.unit.value) for one in measured]  # fmt: skip
        assert found[sub] == wanted
    numbered = [int(str(obx[1])) for obx in message.segments("OBX")]
    assert numbered == list(range(1, len(numbered) + 1))


def test_patient_and_order(make: Callable[..., ScarResult]) -> None:
    result = make(**HEADER)
    message = hl7.parse(oru_message(result))
    (pid,), (obr,) = message.segments("PID"), message.segments("OBR")
    assert parts(message, pid[3][0][0]) == "P|7^&~\\"
    assert parts(message, pid[3][0][3]) == "HOSP&1"
    # Family, given, middle, suffix, prefix.
    assert [parts(message, part) for part in pid[5][0]] == [
        "Müller",
        "Ann",
        "Kathrin",
        "PhD",
        "Dr.",
    ]
    assert (str(pid[7]), str(pid[8])) == ("19600102", "F")
    assert parts(message, obr[3]) == parts(message, obr[18]) == "ACC|9"
    assert str(obr[7]) == "20240304103000"
    assert [parts(message, part) for part in obr[16][0]] == ["", "House", "Greg", "", "", "Prof."]
    assert str(obr[25]) == "P"
    texts = {parts(message, obx[5]) for obx in message.segments("OBX")}
    study = str(result.stack.datasets[0].StudyInstanceUID)
    assert {RESEARCH_USE, "one warning", "for a test", study} <= texts


def test_comments_have_sub_identifiers_of_their_own(make: Callable[..., ScarResult]) -> None:
    message = hl7.parse(oru_message(make(PatientIdentityRemoved="YES")))
    names = [(str(obx[3][0][0]), str(obx[4])) for obx in message.segments("OBX")]
    assert len(set(names)) == len(names)
    texts = [str(obx[5]) for obx in message.segments("OBX")]
    assert texts[0] == RESEARCH_USE and "The identity of the patient was removed." in texts


def test_header_of_the_message(make: Callable[..., ScarResult]) -> None:
    result = make(**HEADER)
    one, other = (hl7.parse(oru_message(result)) for _ in range(2))
    assert str(one["MSH"][0][9]) == "ORU^R01^ORU_R01"
    assert (str(one["MSH"][0][12]), str(one["MSH"][0][18])) == ("2.5.1", "UNICODE UTF-8")
    controls = {str(message["MSH"][0][10]) for message in (one, other)}
    assert len(controls) == 2 and all(len(control) == 20 for control in controls)


def test_an_unknown_patient_stays_unknown(make: Callable[..., ScarResult]) -> None:
    result = make(PatientID="", PatientName="", StudyDate="", StudyTime="", PatientBirthDate="",
                  PatientSex="X", AccessionNumber="")  # fmt: skip
    lines = oru_message(result).split("\r")
    assert lines[1] == "PID|1"
    assert lines[2].startswith("OBR|1|||126000^Imaging Measurement Report^DCM||||||")


def test_letters_that_nobody_knows_are_left_out(
    make_result: Callable[..., ScarResult], dicom_factory: ModuleType, tmp_path: Path
) -> None:
    """A source without a character set that holds bytes beyond ASCII."""
    datasets = dicom_factory.series(dicom_factory.noise(6, 56, 64), PatientID="P-1")
    for dataset in datasets:
        dataset.pop("SpecificCharacterSet", None)
        dataset.PatientName = b"M\xfcller^Ann"
    dicom_factory.write(tmp_path / "study", datasets)
    lines = oru_message(make_result(read_study(tmp_path / "study"))).split("\r")
    assert lines[1].startswith("PID|1||P-1") and "ller" not in lines[1]


def test_a_study_that_is_no_dicom_is_refused(
    make_result: Callable[..., ScarResult], make_stack: Callable[..., Any]
) -> None:
    with pytest.raises(StudyError, match="no DICOM images"):
        oru_message(make_result(make_stack()))


@settings(max_examples=30)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
@example(["|", "^~\\&", "\\F\\", "\r\n\x1c\x0b", "\x85"])
def test_any_text_stays_in_its_place(texts: list[str]) -> None:
    """python-hl7 finds as many segments, fields and components as were written, with the texts."""
    line = segment("ZZZ", *(components("a", text, "z") for text in texts), "end")
    message = hl7.parse(f"MSH|^~\\&|A\r{line}\r")
    assert [str(one[0]) for one in message] == ["MSH", "ZZZ"]
    fields = message.segment("ZZZ")
    assert len(fields) == len(texts) + 2
    ends = str.maketrans(dict.fromkeys("\x85\u2028\u2029", " "))
    for field, text in zip(list(fields)[1:-1], texts, strict=True):
        assert [message.unescape(str(part)) for part in field[0]] == [
            "a",
            text.translate(ends),
            "z",
        ]


@given(st.text())
def test_escapes_are_plain_text(text: str) -> None:
    found = escaped(text)
    assert not set("|^~&\r\n\x0b\x1c") & set(found)
    assert found.count("\\") % 2 == 0
