"""The MRD header → the few facts about a measurement that its images do not repeat.

Elements are found by name, wherever the vendor's own stand between them: the package's schema
refuses a header with one element that it does not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydicom import Dataset

from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.mrd.xml import Element, name_of, root_of
from scarseg_infer.study.dicom.time import acquisition_time

_DATE: Final = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
_TIME: Final = re.compile(r"(\d{2}):?(\d{2}):?(\d{2})(\.\d{1,6})?\d*(Z|[+-]\d{2}:\d{2})?")
_NO_DATE: Final = "The dates in the MRD header are not dates: when the image was taken is unknown."
NO_HEADER: Final = (
    "The scanner sent no MRD header: when the image was taken, and of whom, is unknown."
)
_UNREADABLE: Final = (
    "The MRD header is not XML that can be read: when the image was taken, and of whom, is unknown."
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Facts about one measurement. Texts are "" and values missing where the header has none.

    Attributes:
        description, protocol, sequence: names that staff and vendor gave it: never shown or logged.
        frame_uid: FrameOfReferenceUID.
        patient_id: for the comparison with the ECG's alone: never shown, logged or written.
        acquired: local time of the series, else of the study; 0:00 where only a date is known.
        date_only: True where only a date is known.
        inversion_times_ms, echo_times_ms: one for each contrast, or one for all.
        warnings: sentences about what is missing or odd.
    """

    description: str = field(default="", repr=False)
    protocol: str = field(default="", repr=False)
    sequence: str = field(default="", repr=False)
    frame_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    acquired: datetime | None = None
    date_only: bool = False
    inversion_times_ms: tuple[float, ...] = ()
    echo_times_ms: tuple[float, ...] = ()
    warnings: tuple[str, ...] = (NO_HEADER,)


def read_header(xml: bytes) -> Measurement:
    """Read an MRD header. One that cannot be read gives a measurement that says so: a scan is not
    lost for it."""
    root = root_of(xml)
    if root is None or name_of(root) != "ismrmrdHeader":
        return Measurement(warnings=(_UNREADABLE,))
    about = _children(root, "measurementInformation")
    study = _children(root, "studyInformation")
    sequence = _child(root, "sequenceParameters")
    acquired, date_only, warnings = _moment(about, study)
    return Measurement(
        description=about.get("seriesDescription", ""),
        protocol=about.get("protocolName", ""),
        sequence=about.get("sequenceName", ""),
        frame_uid=about.get("frameOfReferenceUID", ""),
        patient_id=_children(root, "subjectInformation").get("patientID", ""),
        acquired=acquired,
        date_only=date_only,
        inversion_times_ms=_numbers(sequence, "TI"),
        echo_times_ms=_numbers(sequence, "TE"),
        warnings=warnings,
    )


def _child(parent: Element, name: str) -> Element | None:
    return next((one for one in parent if name_of(one) == name), None)


def _children(root: Element, name: str) -> dict[str, str]:
    """Texts of the children of an element, by name."""
    parent = _child(root, name)
    return {name_of(one): (one.text or "").strip() for one in (() if parent is None else parent)}


def _numbers(parent: Element | None, name: str) -> tuple[float, ...]:
    found = []
    for one in () if parent is None else parent:
        if name_of(one) == name:
            try:
                found.append(float(one.text or ""))
            except ValueError:
                return ()
    return tuple(found)


def _moment(
    about: dict[str, str], study: dict[str, str]
) -> tuple[datetime | None, bool, tuple[str, ...]]:
    """Time by the rules that DICOM headers are read by: the series' date before the study's."""
    dataset = Dataset()
    written = []
    with quiet_readers():
        for level, found, name in (("Series", about, "series"), ("Study", study, "study")):
            written.append(found.get(f"{name}Date", ""))
            day, clock = _DATE.match(written[-1]), _TIME.match(found.get(f"{name}Time", ""))
            if day:
                setattr(dataset, f"{level}Date", "".join(day.groups()))
            if clock:
                *parts, zone = clock.groups()
                setattr(dataset, f"{level}Time", "".join(part or "" for part in parts))
                if zone and "TimezoneOffsetFromUTC" not in dataset:
                    dataset.TimezoneOffsetFromUTC = zone.replace("Z", "+0000").replace(":", "")
        acquired, date_only, warnings = acquisition_time([dataset])
    if acquired is None and not warnings and any(written):
        warnings = (_NO_DATE,)
    return acquired, date_only, warnings
