"""The four things that are asked of a DICOMweb server: which studies, which series, their objects,
and to store one.

dicomweb-client makes the searches and the addresses. It does not send objects: it writes them anew,
takes every answer with a charset behind its media type for a success, and parses XML of the server
without bounds.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from dicomweb_client.uri import URI
from dicomweb_client.web import DICOMwebClient
from requests import HTTPError, Response

from scarseg_infer.dicomweb.errors import CUT_SHORT, NOT_CONFIRMED, DicomWebError, refused
from scarseg_infer.dicomweb.multipart import boundary_of, parts
from scarseg_infer.dicomweb.server import WebServer
from scarseg_infer.dicomweb.session import (
    JSON_TYPES,
    MAX_ANSWER_BYTES,
    BoundedSession,
    media_type,
)
from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.study.dicom.time import newest_last
from scarseg_runtime.run_control import NO_LIMITS, RunControl

MAX_ANSWERS: Final = 1000
"""To one question."""
PAGE: Final = 100
"""Answers that are asked for at a time: some archives refuse to give more than 200."""
_CHUNK: Final = 1 << 16
_NOT_ACCEPTABLE: Final = 406
_PLAIN: Final = 'multipart/related; type="application/dicom"'
_ACCEPTED: Final = f"{_PLAIN}; transfer-syntax=*"
"""Objects as they are stored: nobody has to decode and change them on their way."""
_STUDY_UID, _SERIES_UID, _SOP_UID = "0020000D", "0020000E", "00081155"
_DATE, _TIME, _MODALITIES, _MODALITY = "00080020", "00080030", "00080061", "00080060"
_STORED, _FAILED, _REASON = "00081199", "00081198", "00081197"
_DUPLICATES: Final = (0x0111, 0xB00E)
"""An object of this UID is there (PS3.7, C.5.8; the DICOM service of Azure says B00E)."""


class DicomWeb:
    """A connection with a server; all that is done with it has the same limits.

    Args:
        control: limits of the whole.
        object_bytes: size of the largest object that is retrieved.
        all_bytes: of an answer with objects.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self,
        server: WebServer,
        control: RunControl = NO_LIMITS,
        *,
        object_bytes: int,
        all_bytes: int,
    ) -> None:
        self._url, self._control = server.url, control
        self._object_bytes, self._all_bytes = object_bytes, all_bytes
        self._session = BoundedSession(server, control)
        self._client = DICOMwebClient(server.url, session=self._session)
        # Its own retries sleep where nobody can wake them; the queue or the user tries again.
        self._client.set_http_retry_params(retry=False)

    def __enter__(self) -> DicomWeb:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    def ecg_studies(self, patient_id: str) -> list[str]:
        """UIDs of a patient's studies with an ECG, the newest first (QIDO-RS).

        Raises:
            DicomWebError, CancelledError, RunTimeoutError: no answer that can be used.
        """
        filters = {"PatientID": patient_id, "ModalitiesInStudy": "ECG"}
        answers = self._found(
            lambda offset: self._client.search_for_studies(
                search_filters=filters, fields=["StudyDate", "StudyTime"], limit=PAGE, offset=offset
            )
        )
        return ecg_studies_in(answers)

    def ecg_series(self, study_uid: str) -> list[str]:
        """UIDs of the series of a study that hold ECGs (QIDO-RS); raises as :meth:`ecg_studies`."""
        answers = self._found(
            lambda offset: self._client.search_for_series(
                study_uid, search_filters={"Modality": "ECG"}, limit=PAGE, offset=offset
            )
        )
        return ecg_series_in(answers)

    def objects(
        self, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
    ) -> Iterator[bytes | None]:
        """The objects of a study, of a series of it, or one of these, as DICOM files (WADO-RS).

        None stands for an object of more than ``object_bytes``. Be done with one before the next.

        Raises:
            DicomWebError, CancelledError, RunTimeoutError: not all have come.
        """
        url = str(URI(self._url, study_uid, series_uid, sop_uid))
        self._session.answer_bytes = self._all_bytes
        with self._watched(), self._retrieved(url) as response:
            chunks = response.iter_content(_CHUNK)
            if response.status_code == 204 or not media_type(response):
                return
            if media_type(response) == "application/dicom":
                yield _whole(chunks, self._object_bytes)
                return
            boundary = boundary_of(response.headers["Content-Type"])
            yield from parts(chunks, boundary, self._object_bytes)

    def store(self, file: bytes, sop_uid: str) -> None:
        """Store an object (STOW-RS). One that is there already counts as stored: the UID is ours.

        Args:
            file: the object as a DICOM file, sent as it is.
            sop_uid: its SOP instance UID.

        Raises:
            DicomWebError, CancelledError, RunTimeoutError: the server does not say that it has it.
        """
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._session.answer_bytes = MAX_ANSWER_BYTES
        with self._watched():
            response = self._session.post(
                f"{self._url}/studies",
                data=b"".join((head, file, f"\r\n--{boundary}--\r\n".encode())),
                headers={
                    "Content-Type": 'multipart/related; type="application/dicom"; '
                    f"boundary={boundary}",
                    "Accept": "application/dicom+json",
                },
            )
            with response:
                answer = response.content
        check_stored(response.status_code, media_type(response), answer, sop_uid)

    def _retrieved(self, url: str) -> Response:
        try:
            return self._session.get(url, headers={"Accept": _ACCEPTED})
        except DicomWebError as error:
            if error.status != _NOT_ACCEPTABLE:
                raise
        # Releases of dcm4chee refuse every transfer syntax (its issue 1715).
        return self._session.get(url, headers={"Accept": _PLAIN})

    def _found(self, ask: Callable[[int], Any]) -> list[dict[str, Any]]:
        """Items of an answer, page by page; ``ask`` gets the number of those that are here."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._page(ask, len(found))
            new = [item for item in page if item not in found]
            found += new
            more = len(page) == PAGE or self._session.warned
            # A server that knows no pages gives the same again.
            if not (more and new) or len(found) >= MAX_ANSWERS:
                return found[:MAX_ANSWERS]

    def _page(self, ask: Callable[[int], Any], offset: int) -> list[dict[str, Any]]:
        self._session.answer_bytes = MAX_ANSWER_BYTES
        with self._watched():
            try:
                answers = ask(offset)
            except HTTPError as error:  # the text has the address, and so the identifier, in it
                response = error.response
                raise refused(0 if response is None else response.status_code) from None
            except (ValueError, RecursionError):  # no JSON
                raise DicomWebError(CUT_SHORT) from None
        return listed(answers)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Ends what is inside when the limits are reached, and hears nothing of what it says."""
        with quiet_readers(), self._control.stopping(self._session.hang_up):
            yield


def listed(answers: Any) -> list[dict[str, Any]]:
    """The items of an answer to a search. Raises DicomWebError where it is no list of some."""
    if not isinstance(answers, list) or len(answers) > MAX_ANSWERS:
        raise DicomWebError(CUT_SHORT)
    return [item for item in answers if isinstance(item, dict)]


def ecg_studies_in(answers: list[dict[str, Any]]) -> list[str]:
    """UIDs of the studies with an ECG among answers in DICOM JSON (PS3.18, F), newest first."""
    # A server that ignores the modality gives all studies, perhaps with what is in each.
    found = [
        (newest_last(_text(item, _DATE), _text(item, _TIME)), _text(item, _STUDY_UID))
        for item in answers
        if not (told := _text(item, _MODALITIES)) or "ECG" in told.split("\\")
    ]
    found.sort(key=lambda item: item[0], reverse=True)
    return [uid for _, uid in found if _is_uid(uid)]


def ecg_series_in(answers: list[dict[str, Any]]) -> list[str]:
    """UIDs of the series with ECGs among answers in DICOM JSON."""
    # A server that ignores the modality answers with all series.
    uids = [_text(item, _SERIES_UID) for item in answers if _text(item, _MODALITY) in ("ECG", "")]
    return [uid for uid in uids if _is_uid(uid)]


def _whole(chunks: Iterator[bytes], limit: int) -> bytes | None:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def check_stored(status: int, kind: str, answer: bytes, sop_uid: str) -> None:
    """Look for our object in the answer to STOW-RS (PS3.18, 10.5.3). Raises DicomWebError."""
    try:
        told = json.loads(answer) if kind in JSON_TYPES else None
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, list) and len(told) == 1:
        (told,) = told
    if any(reason in _DUPLICATES for reason in _reasons(told, sop_uid)):
        return
    if status not in (200, 202):
        raise refused(status)
    if _reasons(told, sop_uid):
        raise DicomWebError(f"failure reason 0x{_reasons(told, sop_uid)[0]:04X}")
    if sop_uid not in [_text(item, _SOP_UID) for item in _items(told, _STORED)]:
        raise DicomWebError(NOT_CONFIRMED)


def _reasons(answer: Any, sop_uid: str) -> list[int]:
    """Reasons for which our object was not stored; 0x0110, processing failure, where none is said
    that is one."""
    found = []
    for item in _items(answer, _FAILED):
        if _text(item, _SOP_UID) in (sop_uid, ""):
            reason = (_values(item, _REASON) or [None])[0]
            known = isinstance(reason, int) and 0 < reason <= 0xFFFF
            found.append(int(reason) if known else 0x0110)
    return found


def _values(item: Any, tag: str) -> list[Any]:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _items(item: Any, tag: str) -> list[dict[str, Any]]:
    return [one for one in _values(item, tag) if isinstance(one, dict)]


def _text(item: Any, tag: str) -> str:
    return "\\".join(one.strip() for one in _values(item, tag) if isinstance(one, str))


def _is_uid(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)*", text, re.ASCII) is not None and len(text) <= 64
