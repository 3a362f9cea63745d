"""Studies and ECGs that are named by an address, fetched for one run of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dicomweb_client.uri import URI, URIType

from scarseg_infer.dicomweb.client import DicomWeb
from scarseg_infer.dicomweb.errors import DicomWebError
from scarseg_infer.dicomweb.fetched import MAX_STUDY_BYTES, FetchedFiles
from scarseg_infer.dicomweb.server import WebServer, checked_url
from scarseg_infer.ecg.dicom import is_ecg
from scarseg_infer.ecg.in_study import EcgSearch
from scarseg_infer.ecg.record import MAX_ECG_BYTES, EcgRecord
from scarseg_infer.study.dicom.parse import PARSE_ERRORS, parse, text
from scarseg_infer.study.dicom.patient_id import is_exact, normal
from scarseg_infer.study.files import MAX_FILE_BYTES, StudyFiles
from scarseg_runtime.errors import CancelledError, EcgError, RunTimeoutError, StudyError, UsageError
from scarseg_runtime.log import LOG
from scarseg_runtime.run_control import RunControl

STUDY_S: Final = 3600.0
"""For a study: one that comes byte by byte holds nothing up for ever."""
ECG_S: Final = 300.0
MAX_ECGS_BYTES: Final = 64 << 20
"""Of all ECGs of an address, or of a patient's study."""
MAX_STUDIES: Final = 3
"""Newest studies with an ECG that are looked into, until one gives an ECG."""


@dataclass(frozen=True, slots=True)
class Address:
    """A study, a series or an object on a server."""

    server: WebServer
    study_uid: str
    series_uid: str | None
    sop_uid: str | None


@contextmanager
def fetched(
    study: str | Path | None, ecg: str | Path | None, options: argparse.Namespace
) -> Iterator[tuple[Path | StudyFiles, Path | EcgRecord | None]]:
    """Study and ECG with what is an address in place of what lies there, as long as one is inside.

    Where the study is an address, no ECG is named and the study holds none, the newest of the
    patient on the same server is taken; that there is none ends nothing.

    Args:
        options: has what :func:`add_options` adds.

    Raises:
        StudyError, EcgError: what is named could not be fetched.
        UsageError: an address or a file for the login makes no sense.
    """
    with ExitStack() as stack:
        taken: Path | StudyFiles
        record: Path | EcgRecord | None = ecg if isinstance(ecg, Path) else None
        place = address(study, options) if isinstance(study, str) else None
        ecg_place = address(ecg, options) if isinstance(ecg, str) else None
        if place:
            files = stack.enter_context(FetchedFiles())
            with_ecg = _fetch_study(place, files)
            taken = files
            if ecg is None and not with_ecg:
                record = _ecg_of_patient(place.server, files)
        else:
            taken = Path(study or "")
        if ecg_place:
            record = _fetch_ecg(ecg_place)
        yield taken, record


def address(url: str, options: argparse.Namespace) -> Address:
    """Server and UIDs that an address and the options name.

    Raises:
        UsageError: it is none of DICOMweb, or the files for it cannot be used.
    """
    try:
        uri = URI.from_string(checked_url(url))
        study_uid = uri.study_instance_uid
        if study_uid is None or uri.type is URIType.FRAME:
            raise ValueError("names no objects")
        if uri.suffix is not None:
            raise ValueError("names what is made of objects")
        base = checked_url(uri.base_url)
    except ValueError:  # the text of URI quotes it
        raise UsageError(
            "the address is not that of a study on a DICOMweb server",
            "Give https://server/…/studies/UID, also with /series/UID behind it, without login, "
            "query or anything else",
        ) from None
    if options.web_timeout is not None and not 0 < options.web_timeout <= STUDY_S:
        raise UsageError(f"--web-timeout must be above 0 and at most {STUDY_S:g} seconds")
    server = WebServer(
        base, options.token_file, options.login_file, options.ca_file, options.client_certificate,
        options.client_key,
    )  # fmt: skip
    if options.web_timeout is not None:
        server = replace(server, timeout_s=options.web_timeout)
    server.check()
    return Address(server, study_uid, uri.series_instance_uid, uri.sop_instance_uid)


def _fetch_study(place: Address, files: FetchedFiles) -> bool:
    """Keep all objects; is there an ECG among them?"""
    found = False
    try:
        with DicomWeb(
            place.server, RunControl(None, STUDY_S),
            object_bytes=MAX_FILE_BYTES, all_bytes=MAX_STUDY_BYTES,
        ) as web:  # fmt: skip
            for data in web.objects(place.study_uid, place.series_uid, place.sop_uid):
                files.add(data)
                found = found or (data is not None and is_ecg(data))
    except DicomWebError as error:
        raise StudyError(f"the study cannot be fetched: {error.what}", error.advice) from None
    except RunTimeoutError:
        raise StudyError(
            f"the study cannot be fetched: it took longer than {STUDY_S:g} s",
            "Give the address of the LGE series in place of the study's",
        ) from None
    if not len(files):
        raise StudyError("the server has no objects of the study", "Check its address")
    return found


def _fetch_ecg(place: Address) -> EcgRecord:
    """The newest ECG that can be used of all at an address."""
    search = EcgSearch()
    try:
        with _for_ecgs(place.server) as web:
            for data in web.objects(place.study_uid, place.series_uid, place.sop_uid):
                if data is not None:
                    search.look(data)
    except DicomWebError as error:
        raise EcgError(f"the ECG cannot be fetched: {error.what}", error.advice) from None
    except RunTimeoutError:
        raise EcgError(
            f"the ECG cannot be fetched: it took longer than {ECG_S:g} s",
            "Give the address of the ECG's series",
        ) from None
    record, warnings = search.found()
    if record is None:
        raise EcgError(
            "no 12-lead ECG that can be read is at the address of the ECG",
            "Give that of a study or series with one in DICOM",
        )
    return replace(record, warnings=(*warnings, *record.warnings))


def _ecg_of_patient(server: WebServer, files: StudyFiles) -> EcgRecord | None:
    """The newest ECG of the patient of a study, or None, and a warning that says why."""
    patient_id = _patient_id(files)
    try:
        if not is_exact(patient_id):
            why = "the study has no patient identifier that can be asked for"
        elif record := _newest(server, patient_id):
            return record
        else:
            why = "the server has no ECG of the patient"
    except DicomWebError as error:
        why = f"the server was asked for one in vain ({error.what})"
    except CancelledError:
        why = f"the server was asked for one for {ECG_S:g} s in vain"
    LOG.warning("No ECG was used: %s.", why)
    return None


def _newest(server: WebServer, patient_id: str) -> EcgRecord | None:
    with _for_ecgs(server) as web:
        for study_uid in web.ecg_studies(patient_id)[:MAX_STUDIES]:
            search = EcgSearch()
            for series_uid in web.ecg_series(study_uid):
                for data in web.objects(study_uid, series_uid):
                    # A server that ignores the identifier gives ECGs of others.
                    if data is not None and normal(_header_id(data)) == normal(patient_id):
                        search.look(data)
            record, warnings = search.found()
            if record:
                said = "No ECG was named; the newest of the patient on the server was used."
                return replace(record, warnings=(said, *warnings, *record.warnings))
    return None


def _for_ecgs(server: WebServer) -> DicomWeb:
    return DicomWeb(
        server, RunControl(None, ECG_S), object_bytes=MAX_ECG_BYTES, all_bytes=MAX_ECGS_BYTES
    )


def _patient_id(files: StudyFiles) -> str:
    """Identifier in the first file that has one."""
    for index in range(len(files)):
        data = files.read(index)
        if data is not None and (found := _header_id(data)):
            return found
    return ""


def _header_id(data: bytes) -> str:
    try:
        return text(parse(data, ["PatientID"]), "PatientID").strip()
    except PARSE_ERRORS:
        return ""
