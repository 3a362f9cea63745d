"""Philips and GE MUSE XML, HL7 aECG, SCP-ECG and EDF, through the library ``ecgdatakit``.

It reads from disk only and quotes file contents in its messages, so it gets a private copy of
what was checked here, and what goes wrong is said in our own words. Its units and scales are
checked in the tests against DICOM conversions, the files' own measurements and files written by
hand.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, Literal
from xml.etree.ElementTree import ParseError

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.guards.philips_sizes import check_philips
from scarseg_infer.ecg.guards.philips_xli import expanded_bytes
from scarseg_infer.ecg.guards.scp import check_scp
from scarseg_infer.ecg.guards.xml import check_xml, looks_like_xml
from scarseg_infer.ecg.lead_names import standard_lead, standard_leads
from scarseg_infer.ecg.private_copy import private_file
from scarseg_infer.ecg.record import MAX_ECG_BYTES, MV_PER_UNIT, EcgRecord, checked
from scarseg_infer.ecg.recording_time import recorded_at, without_zones
from scarseg_infer.host.quiet import quiet_readers
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import EcgError
from scarseg_runtime.install import install_command

OtherFormat = Literal["philips-xml", "muse-xml", "hl7-aecg", "scp-ecg", "edf"]

NAMES: Final[dict[OtherFormat, str]] = {
    "philips-xml": "Philips XML",
    "muse-xml": "GE MUSE XML",
    "hl7-aecg": "HL7 aECG",
    "scp-ecg": "SCP-ECG",
    "edf": "EDF",
}
_ROOTS: Final[dict[str, OtherFormat]] = {
    "restingecgdata": "philips-xml",
    "RestingECG": "muse-xml",
    "AnnotatedECG": "hl7-aecg",
}
_PARSERS: Final[dict[OtherFormat, tuple[str, str]]] = {
    "philips-xml": ("sierra_xml", "SierraXMLParser"),
    "muse-xml": ("ge_muse_xml", "GEMuseXMLParser"),
    "hl7-aecg": ("hl7_aecg", "HL7aECGParser"),
    "scp-ecg": ("scp_ecg", "SCPECGParser"),
    "edf": ("edf", "EDFParser"),
}
_EXPORT_AGAIN: Final = "Export the ECG again"
_STANDARD: Final = frozenset(lead.casefold() for lead in LEADS)
MAX_SCP_BYTES: Final = 1 << 20
"""Ten times a usual record."""
MAX_EXPANDED_BYTES: Final = 4 << 20
"""Of compressed leads: minutes of twelve at 500 Hz."""
_MAX_LEADS: Final = 256
_SECOND: Final = re.compile(r"(.+)_\d+")
_START_KEYS: Final = ("start_sample", "LeadTimeOffset", "LeadOffsetFirstSample")
"""Keys by which the library says that a lead begins later (SCP-ECG section 3; MUSE)."""

# What parsers of damaged files raise besides the library's own errors.
_PARSE_ERRORS: Final = (
    ParseError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    OSError,
    struct.error,
)


def other_format(head: bytes) -> Literal["xml", "scp-ecg", "edf"] | None:
    """Family that the first bytes of a file (at least 256) belong to, if any of these."""
    if looks_like_xml(head):
        return "xml"
    # SCP-ECG (EN 1064): after checksum and size of the record comes section 0, whose first
    # pointer is to itself, at byte 7.
    if len(head) >= 32 and head[8:10] == head[22:24] == b"\0\0" and head[28:32] == b"\7\0\0\0":
        return "scp-ecg"
    # EDF: version 0 in eight characters. BDF, its 24-bit variant, is recognised to be refused.
    return "edf" if head[:8] in (b"0       ", b"\xffBIOSEMI") else None


def read_ecg_other(data: bytes) -> EcgRecord:
    """Read an ECG that :func:`other_format` recognised.

    Args:
        data: the whole file.

    Raises:
        EcgError: ``ecgdatakit`` is not installed, or the file is of an unknown kind, damaged,
            hostile, too long, interrupted, or has leads that are not voltages.
    """
    if len(data) > MAX_ECG_BYTES:
        raise EcgError(
            f"the ECG file is larger than {MAX_ECG_BYTES >> 20} MB",
            "Give a resting ECG: cut 10 s to some minutes out of a long recording",
        )
    kind: OtherFormat
    family = other_format(data[:4096])
    if family == "xml":
        checked = check_xml(data)
        if checked.root not in _ROOTS:
            raise EcgError(
                "the XML file is not an ECG that can be read",
                "Give Philips (Sierra) XML, GE MUSE XML or HL7 aECG",
            )
        kind, data = _ROOTS[checked.root], checked.utf8
        if sum(map(expanded_bytes, checked.compressed)) > MAX_EXPANDED_BYTES:
            raise EcgError("the ECG expands to far more than a resting ECG", _EXPORT_AGAIN)
    elif family is None:
        raise EcgError("the ECG file is of an unknown kind", _EXPORT_AGAIN)
    else:
        kind = family
    if kind == "scp-ecg" and len(data) > MAX_SCP_BYTES:
        raise EcgError("the SCP-ECG file is too large for a resting ECG", "Give a resting ECG")
    if kind == "scp-ecg":
        check_scp(data)
    if kind == "philips-xml":
        check_philips(data)
    parsed, notes = _parse(kind, data)
    try:
        with np.errstate(all="ignore"):  # damaged scales; not finite samples are refused later
            return _record(kind, parsed, notes, data)
    except EcgError:
        raise
    except _PARSE_ERRORS as error:
        raise _damaged(kind) from error


def _parse(kind: OtherFormat, data: bytes) -> tuple[Any, tuple[str, ...]]:
    """The library's record and our own words for what it warned of."""
    module, name = _PARSERS[kind]
    try:
        parser = getattr(import_module(f"ecgdatakit.parsing.parsers.{module}"), name)()
        library_error = import_module("ecgdatakit.exceptions").ECGDataKitError
    except ImportError as error:
        raise EcgError(
            f"reading {NAMES[kind]} needs the package ecgdatakit, which is not installed",
            f"Install it with: {install_command('ecg-formats')}",
        ) from error
    with private_file(without_zones(data) if kind == "hl7-aecg" else data) as copy:
        try:
            with quiet_readers() as heard:
                parsed = parser.parse(copy)
        except (library_error, *_PARSE_ERRORS) as error:
            raise _damaged(kind) from error
    return parsed, _notes(heard)


def _damaged(kind: OtherFormat) -> EcgError:
    return EcgError(
        f"the {NAMES[kind]} file is damaged, cut short or of a variant that cannot be read",
        "Export or copy the ECG again, in another format if need be",
    )


def _notes(heard: Sequence[str]) -> tuple[str, ...]:
    """Tell users what they should know of the library's warnings, which may quote the file."""
    notes = set()
    for message in heard:
        if re.search(r"CRC|checksum", message, re.IGNORECASE):
            notes.add("The ECG samples do not match the checksums in the file.")
        elif "truncated" in message:
            notes.add("The ECG file is cut short: what is there was read.")
        elif re.search(r"rhythm series found|sets in the rhythm|Additional rhythm", message):
            notes.add("The ECG file holds several recordings: the first was read.")
    return tuple(sorted(notes))


def _record(kind: OtherFormat, parsed: Any, notes: tuple[str, ...], data: bytes) -> EcgRecord:
    if kind == "edf":
        _refuse_gaps(parsed)
    leads = _usable_leads(parsed.leads)
    signals_mv = np.stack([_millivolts(lead) for lead in leads], axis=1)
    recorded, date_only, doubts = recorded_at(kind, data)
    found = EcgRecord(
        signals_mv=signals_mv,
        rate_hz=_rate_hz(parsed, leads[0]),
        lead_names=tuple(lead.label for lead in leads),
        recorded=recorded,
        date_only=date_only,
        source=kind,
        warnings=(*notes, *doubts),
        # A plain EDF has free text there, usually a name, and no identifier of its own.
        patient_id=None if parsed.source_format == "edf" else parsed.patient.patient_id or None,
    )
    return checked(found)


def _usable_leads(leads: Sequence[Any]) -> list[Any]:
    """The standard leads. Of a damaged file other names may be any text in it, a patient's too."""
    if len(leads) > _MAX_LEADS:
        raise EcgError("the ECG file holds too many signals", "Give a resting ECG of 12 leads")
    names = standard_leads([lead.label for lead in leads])
    for lead, name in zip(leads, names, strict=True):
        lead.label = name
    standard = [lead for lead in leads if lead.label.casefold() in _STANDARD]
    for lead in standard:
        if _unit(lead) not in MV_PER_UNIT:
            raise EcgError(f"lead {lead.label} of the ECG is in no unit of voltage", _EXPORT_AGAIN)
    _refuse_twice(leads, standard)
    if not standard:
        raise EcgError("the ECG file holds none of the 12 leads", "Use a 12-lead ECG")
    clocks = {(lead.sampling_rate, len(lead.samples)) for lead in standard}
    if len(clocks) > 1 or any(not rate > 0 for rate, _ in clocks):
        raise EcgError("the leads of the ECG differ in rate or length", _EXPORT_AGAIN)
    starts = {tuple(_start(lead, key) for key in _START_KEYS) for lead in standard}
    if len(starts) > 1:
        raise EcgError(
            "the leads of the ECG were not recorded at the same time",
            "Export the simultaneous recording of all leads",
        )
    return standard


def _refuse_twice(leads: Sequence[Any], standard: Sequence[Any]) -> None:
    """The library calls a second V1 "V1_2": which of the two is meant nobody knows."""
    names = {lead.label.casefold() for lead in standard}
    for lead in leads:
        match = _SECOND.fullmatch(lead.label)
        first = match and standard_lead(match[1])
        if first and first.casefold() in names:
            raise EcgError(f"the ECG has two leads named {first}", _EXPORT_AGAIN)


def _start(lead: Any, key: str) -> float | str:
    """Start that an annotation gives, whichever way its number is written."""
    stated = lead.annotations.get(key) or 0.0
    try:
        return float(stated)
    except (TypeError, ValueError):
        return str(stated)


def _unit(lead: Any) -> str:
    return str(lead.resolution_unit if lead.is_raw else lead.units).casefold()


def _millivolts(lead: Any) -> NDArray[np.float64]:
    """Samples [n] of a lead whose unit is a voltage."""
    samples = np.asarray(lead.samples, dtype=np.float64)
    if lead.is_raw:
        samples = samples * lead.resolution + lead.offset
    return samples * MV_PER_UNIT[_unit(lead)]


def _rate_hz(parsed: Any, lead: Any) -> float:
    """The library rounds rates to whole numbers; the exact one where it keeps it."""
    extra = parsed.raw_metadata
    rate = extra.get("rhythm_time", {}).get("sampling_rate_exact")
    exact = extra.get("exact_sampling_rates", {})
    rate = rate or next((exact[label] for label in exact if standard_lead(label) == lead.label), 0)
    if interval_us := extra.get("rhythm_sample_interval_us"):
        rate = 1e6 / interval_us
    return float(rate or lead.sampling_rate)


def _refuse_gaps(parsed: Any) -> None:
    """EDF+D may pause between its data records; joined, the pauses would look like beats."""
    onsets = np.array(parsed.raw_metadata.get("record_onsets", ()), dtype=np.float64)
    step = parsed.raw_metadata["record_duration"]
    if len(onsets) > 1 and not np.allclose(np.diff(onsets), step, atol=1e-3):
        raise EcgError("the ECG was interrupted", "Export one uninterrupted stretch of it")
