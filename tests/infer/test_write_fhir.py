"""FHIR: what an independent model of R4B reads in the bundle is what the result and the SR say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import generate_uid

from scarseg_infer.result import ScarResult
from scarseg_infer.study.read import read_study
from scarseg_infer.write.dicom.codes import AHA_SEGMENTS, PRIVATE_SCHEME, PRIVATE_SCHEME_OID
from scarseg_infer.write.dicom.sr import write_sr
from scarseg_infer.write.fhir import SYSTEMS, fhir_bundle
from scarseg_infer.write.words import RESEARCH_USE

HEADER = {
    "PatientID": "P|7^&", "PatientName": "Müller^Ann-Kathrin^^Dr.^PhD", "IssuerOfPatientID": "HOSP",
    "AccessionNumber": "ACC-9", "StudyDate": "20240304", "StudyTime": "103000",
    "SpecificCharacterSet": "ISO_IR 192",
}  # fmt: skip
SCHEMES = {uri: scheme for scheme, uri in SYSTEMS.items()}


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


def checked(result: ScarResult) -> Bundle:
    """The bundle as the independent model reads it from JSON text."""
    text = json.dumps(fhir_bundle(result), allow_nan=False)
    found = Bundle.model_validate_json(text)
    assert isinstance(found, Bundle)
    return found


def of_kind(bundle: Bundle, kind: str) -> list[Any]:
    found = [entry.resource for entry in bundle.entry]
    return [one for one in found if one.get_resource_type() == kind]


def key(concept: Any) -> tuple[str, str]:
    (coding,) = concept.coding
    return SCHEMES[coding.system], coding.code


def numbers(observation: Any) -> dict[tuple[str, str], tuple[float, str]]:
    """Value and unit by code, those of components too."""
    parts = [observation, *observation.component]
    return {
        key(part.code): (float(part.valueQuantity.value), part.valueQuantity.code)
        for part in parts
        if part.valueQuantity is not None
    }


def in_report(path: Path) -> dict[str, dict[tuple[str, str], tuple[float, str]]]:
    """The same of the DICOM SR, by code of the finding site."""
    found = {}

    def code(item: Dataset, keyword: str) -> tuple[str, str]:
        (one,) = item[keyword].value
        return one.CodingSchemeDesignator, one.CodeValue

    def walk(item: Dataset) -> None:
        children = item.get("ContentSequence", [])
        site, values = "", {}
        for child in children:
            name = code(child, "ConceptNameCodeSequence") if "ConceptNameCodeSequence" in child \
                else ("", "")  # fmt: skip
            if name == ("SCT", "363698007"):
                site = code(child, "ConceptCodeSequence")[1]
            if child.ValueType == "NUM" and site:
                (measured,) = child.MeasuredValueSequence
                unit = code(measured, "MeasurementUnitsCodeSequence")[1]
                values[name] = (float(measured.NumericValue), unit)
            walk(child)
        if site:
            found[site] = values

    walk(pydicom.dcmread(path))
    return found


def test_numbers_codes_and_units_are_those_of_the_sr(
    make: Callable[..., ScarResult], tmp_path: Path
) -> None:
    result = make(**HEADER)
    write_sr(result, tmp_path / "report.dcm")
    expected = in_report(tmp_path / "report.dcm")
    assert len(expected) == 1 + len(AHA_SEGMENTS)
    observations = of_kind(checked(result), "Observation")
    assert [key(one.bodySite)[1] for one in observations] == [*expected]
    for one in observations:
        found, wanted = numbers(one), expected[key(one.bodySite)[1]]
        assert found.keys() == wanted.keys() and len(wanted) >= 3
        for code, (value, unit) in wanted.items():
            assert found[code] == (pytest.approx(value, abs=1e-6), unit)
    whole = observations[0]
    assert key(whole.code) == (PRIVATE_SCHEME, "SCARPERCENT")
    assert float(whole.valueQuantity.value) == pytest.approx(
        result.quantities.scar_percent_of_lv_mass, abs=1e-6
    )
    assert observations[7].bodySite.text == "AHA 7 mid anterior"
    reasons = [one.valueString for one in whole.component if one.valueString]
    assert reasons == [result.ecg.reason]


def test_report_and_references(make: Callable[..., ScarResult]) -> None:
    result = make(**HEADER)
    bundle = checked(result)
    (report,), (device,) = of_kind(bundle, "DiagnosticReport"), of_kind(bundle, "Device")
    observations = of_kind(bundle, "Observation")
    names = [entry.fullUrl for entry in bundle.entry]
    assert len(set(names)) == len(names) == 2 + len(observations)
    for entry in bundle.entry:
        kind = entry.resource.get_resource_type()
        assert (entry.request.method, entry.request.url) == ("POST", kind)
        identifier = f"urn:oid:2.25.{UUID(entry.fullUrl).int}"
        assert entry.request.ifNoneExist == f"identifier=urn:ietf:rfc:3986|{identifier}"
        assert entry.resource.identifier[0].value == identifier
    of_observations = [entry.fullUrl for entry in bundle.entry if entry.resource in observations]
    assert [one.reference for one in report.result] == of_observations
    assert {one.device.reference for one in observations} == {names[-1]}
    assert {report.status, *(one.status for one in observations)} == {"preliminary"}
    assert report.conclusion.startswith(RESEARCH_USE)
    assert RESEARCH_USE in report.text.div and "one warning" in report.text.div
    assert all(RESEARCH_USE in [note.text for note in one.note] for one in observations)
    assert RESEARCH_USE in [note.text for note in device.note]
    study = result.stack.datasets[0].StudyInstanceUID
    assert report.imagingStudy[0].identifier.value == f"urn:oid:{study}"


def test_the_patient_is_who_the_images_say(make: Callable[..., ScarResult]) -> None:
    result = make(**HEADER)
    bundle = checked(result)
    for one in (*of_kind(bundle, "DiagnosticReport"), *of_kind(bundle, "Observation")):
        assert one.subject.identifier.value == "P|7^&"
        assert one.subject.identifier.assigner.display == "HOSP"
        assert one.effectiveDateTime.isoformat() == "2024-03-04"
        (order,) = one.basedOn
        assert order.identifier.value == "ACC-9"
        assert one.meta is None
    assert "Müller" not in json.dumps(fhir_bundle(result), ensure_ascii=False)


def test_nothing_is_made_up_of_a_study_without_identity(make: Callable[..., ScarResult]) -> None:
    bundle = checked(
        make(PatientID="", PatientIdentityRemoved="YES", StudyDate="20241340", AccessionNumber="")
    )
    for one in (*of_kind(bundle, "DiagnosticReport"), *of_kind(bundle, "Observation")):
        assert (one.subject, one.effectiveDateTime, one.basedOn) == (None, None, None)
        assert [label.code for label in one.meta.security] == ["ANONYED"]


def test_a_study_that_is_no_dicom_has_no_patient(
    make_result: Callable[..., ScarResult], make_stack: Callable[..., Any]
) -> None:
    bundle = checked(make_result(make_stack(), ecg=False))
    (report,) = of_kind(bundle, "DiagnosticReport")
    assert (report.subject, report.imagingStudy, report.effectiveDateTime) == (None, None, None)
    assert (PRIVATE_SCHEME, "ECGGAP") not in numbers(of_kind(bundle, "Observation")[0])


def test_a_heart_that_was_not_found_has_no_share_of_scar(
    make_result: Callable[..., ScarResult], make_stack: Callable[..., Any]
) -> None:
    (whole,) = of_kind(checked(make_result(make_stack(), lv=False)), "Observation")
    assert whole.valueQuantity is None
    assert whole.dataAbsentReason.coding[0].code == "unknown"
    assert numbers(whole)["SCT", "118565006"] == (0.0, "mL")


def test_any_header_gives_a_valid_bundle(make: Callable[..., ScarResult]) -> None:
    """Also where the texts are no DICOM, as they may come of a file that is damaged."""
    result = make(**HEADER)
    first = result.stack.datasets[0]

    @settings(max_examples=12)
    @given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=16))
    def check(identifier: str, issuer: str, accession: str) -> None:
        for keyword, value in (
            ("PatientID", identifier), ("IssuerOfPatientID", issuer),
            ("AccessionNumber", accession),
        ):  # fmt: skip
            first[keyword]._value = value
        said = of_kind(checked(result), "DiagnosticReport")[0].subject
        known = identifier.strip() and identifier.strip().isprintable()
        assert (said.identifier.value if said else "") == (identifier.strip() if known else "")

    check()


def test_the_oid_of_our_codes_is_what_pydicom_makes_of_their_name() -> None:
    assert generate_uid(entropy_srcs=[PRIVATE_SCHEME]) == PRIVATE_SCHEME_OID
    assert all(math.isfinite(len(uri)) and ":" in uri for uri in SYSTEMS.values())
