"""The quantities as FHIR R4: a bundle with DiagnosticReport, Observations and Device.

Plain JSON, so that nothing has to be installed for it. Codes, units and what is measured are those
of the DICOM SR. The patient is named by the identifier in the images alone: no Patient resource is
made, and none is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from scarseg_infer.write.dicom import codes
from scarseg_infer.write.dicom.codes import Code
from scarseg_infer.write.identity import Identity, identity_of
from scarseg_infer.write.measurements import (
    Measured,
    imaged_segments,
    of_segment,
    of_ventricle,
    site_of,
    title_of,
)
from scarseg_infer.write.summary import scar_sentence
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from scarseg_infer.result import ScarResult

Resource = dict[str, Any]

SYSTEMS: Final[Mapping[str, str]] = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    codes.PRIVATE_SCHEME: f"urn:oid:{codes.PRIVATE_SCHEME_OID}",
}
"""URI by which FHIR names each coding scheme."""
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_URI: Final = "urn:ietf:rfc:3986"
_STATUS: Final = "preliminary"
"""No person has looked at it."""
_DIGITS: Final = 6


def write_fhir(result: ScarResult, path: Path) -> None:
    """Write :func:`fhir_bundle` as ``path``.

    Raises:
        StudyError: the images are DICOM but have no UIDs to refer to.
        OSError: ``path`` cannot be written.
    """
    document = json.dumps(fhir_bundle(result), indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(document + "\n", encoding="utf-8")


def fhir_bundle(result: ScarResult) -> Resource:
    """A transaction that creates every resource once, however often it is posted.

    It holds a DiagnosticReport with an Observation of the left ventricle and one for each AHA
    segment that was imaged, and the Device that made them.
    """
    about = _about(identity_of(result.stack))
    device, device_name = _entry(_device(result))
    observations = [
        _entry(one | about | {"device": _reference(device_name)}) for one in _observations(result)
    ]
    report, _ = _entry(_report(result, [name for _, name in observations]) | about)
    entries = [report, *(one for one, _ in observations), device]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _entry(resource: Resource) -> tuple[Resource, str]:
    """Entry that creates a resource, unless its identifier is there, and the entry's full URL.

    Both are of one UUID, but not the same text: a server that replaces the URL by the address that
    it gave did so in the identifier, too, and made the resource anew when the bundle came again.
    """
    uuid = uuid4()
    url, identifier = f"urn:uuid:{uuid}", f"urn:oid:2.25.{uuid.int}"
    identifiers = [{"system": _URI, "value": identifier}, *resource.pop("identifier", [])]
    request = {
        "method": "POST",
        "url": resource["resourceType"],
        "ifNoneExist": f"identifier={_URI}|{identifier}",
    }
    resource = resource | {"identifier": identifiers}
    return {"fullUrl": url, "resource": resource, "request": request}, url


def _about(who: Identity | None) -> Resource:
    """Patient, date of the images and order, as references to what others keep."""
    if who is None:
        return {}
    found: Resource = {}
    if who.patient_id:
        identifier: Resource = {"value": who.patient_id}
        if who.issuer:
            identifier["assigner"] = {"display": who.issuer}
        found["subject"] = {"type": "Patient", "identifier": identifier}
    if (date := who.study_date) and _is_day(date):
        found["effectiveDateTime"] = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    if who.accession:
        kind = {"coding": [{"system": f"{_TERMINOLOGY}v2-0203", "code": "ACSN"}]}
        order = {"type": kind, "value": who.accession}
        found["basedOn"] = [{"type": "ServiceRequest", "identifier": order}]
    if who.removed:
        observed = f"{_TERMINOLOGY}v3-ObservationValue"
        found["meta"] = {"security": [{"system": observed, "code": "ANONYED"}]}
    return found


def _device(result: ScarResult) -> Resource:
    from scarseg_infer.write.dicom.device import MANUFACTURER, SERIAL_DIGITS, device_uid

    model = result.model
    return {
        "resourceType": "Device",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{device_uid(model.sha256)}"}],
        "manufacturer": MANUFACTURER,
        "serialNumber": model.sha256[:SERIAL_DIGITS],
        "deviceName": [{"name": f"{model.name} {model.version}", "type": "model-name"}],
        "version": [{"value": __version__}],
        "note": [
            {"text": RESEARCH_USE},
            {"text": f"Training data of the model: {model.training_data}"},
        ],
    }


def _report(result: ScarResult, observations: Iterable[str]) -> Resource:
    conclusion = f"{RESEARCH_USE} {scar_sentence(result)}"
    words = [conclusion, result.ecg.reason, *result.warnings]
    found: Resource = {
        "resourceType": "DiagnosticReport",
        "status": _STATUS,
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}v2-0074", "code": "RAD"}]}],
        "code": _concept(codes.REPORT),
        "issued": datetime.now(UTC).isoformat(timespec="seconds"),
        "result": [_reference(name) for name in observations],
        "conclusion": conclusion,
        "text": _narrative(words),
    }
    who = identity_of(result.stack)
    if who is not None:
        found["imagingStudy"] = [_study(who)]
    return found


def _observations(result: ScarResult) -> Iterable[Resource]:
    """First the left ventricle, then its segments; the first of what is measured is the value,
    all else are components."""
    reason: Resource = {"code": _concept(codes.ECG_REASON), "valueString": result.ecg.reason}
    values = sorted(of_ventricle(result), key=lambda one: one.name != codes.SCAR_SHARE)
    notes = [RESEARCH_USE, *result.warnings]
    yield _observation(codes.SCAR_SHARE, codes.LEFT_VENTRICLE, "", values, notes, [reason])
    for segment in imaged_segments(result):
        values = of_segment(segment)
        title = title_of(segment)
        yield _observation(
            codes.SEGMENT_BURDEN, site_of(segment), title, values, [RESEARCH_USE], []
        )


def _observation(
    what: Code,
    where: Code,
    title: str,
    measured: list[Measured],
    notes: Iterable[str],
    components: list[Resource],
) -> Resource:
    found: Resource = {
        "resourceType": "Observation",
        "status": _STATUS,
        "category": [
            {"coding": [{"system": f"{_TERMINOLOGY}observation-category", "code": "imaging"}]}
        ],
        "code": _concept(what),
        "bodySite": _concept(where, title),
        "note": [{"text": text} for text in notes],
    }
    if measured and measured[0].name == what:
        found["valueQuantity"] = _quantity(measured[0])
        measured = measured[1:]
    else:
        unknown = {"system": f"{_TERMINOLOGY}data-absent-reason", "code": "unknown"}
        found["dataAbsentReason"] = {"coding": [unknown]}
    others = [{"code": _concept(one.name), "valueQuantity": _quantity(one)} for one in measured]
    return found | {"component": others + components}


def _study(who: Identity) -> Resource:
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{who.study_uid}"}
    return {"type": "ImagingStudy", "identifier": identifier}


def _concept(code: Code, text: str = "") -> Resource:
    coding = {"system": SYSTEMS[code.scheme], "code": code.value, "display": code.meaning}
    return {"coding": [coding]} | ({"text": text} if text else {})


def _quantity(one: Measured) -> Resource:
    return {
        # Adding zero turns a negative zero into zero.
        "value": round(float(one.value), _DIGITS) + 0.0,
        "unit": one.unit.meaning,
        "system": SYSTEMS[one.unit.scheme],
        "code": one.unit.value,
    }


def _reference(name: str) -> Resource:
    return {"reference": name}


def _narrative(words: Iterable[str]) -> Resource:
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in words if text)
    div = f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'
    return {"status": "generated", "div": div}


def _is_day(date: str) -> bool:
    try:
        datetime.strptime(date, "%Y%m%d")
    except ValueError:
        return False
    return True
