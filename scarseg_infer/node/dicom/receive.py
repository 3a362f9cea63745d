"""Receiving objects: what is acknowledged with 0x0000 is on the disk."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import threading
from typing import Any, Final

from pydicom import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from scarseg_infer.ecg.dicom import ECG_CLASSES, recorded_at
from scarseg_infer.node.config import Config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.incoming_limits import PDU_BYTES
from scarseg_infer.node.dicom.mpps import REPORTS, SERVICES, StepReceiver
from scarseg_infer.node.dicom.pynetdicom_parts import MOST_UID, take_long_uids
from scarseg_infer.node.dicom.rejection import CALLED_AE, CALLING_AE, reason
from scarseg_infer.node.dicom.server import CONNECTIONS_PER_ASSOCIATION, REQUEST_S, NodeServer
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.received import Arrival, Kind, Queue
from scarseg_infer.node.queue.steps import Steps
from scarseg_infer.node.queue.storage import Storage
from scarseg_infer.study.dicom.charset import settle_character_set
from scarseg_infer.study.dicom.frames import ENHANCED_CLASSES
from scarseg_infer.study.dicom.header import looks_like_dicom
from scarseg_infer.study.dicom.parse import PARSE_ERRORS, parse, salvage, text
from scarseg_infer.study.dicom.patient_id import normal
from scarseg_runtime.errors import UsageError

IMAGE_CLASSES: Final = (MRImageStorage, *ENHANCED_CLASSES)
UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
"""Not the deflated one: nothing bounds what a small object may inflate to."""
COMPRESSED: Final = (
    JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless,
    HTJ2KLosslessRPCL, RLELossless,
    JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K,
)  # fmt: skip
"""Transfer syntaxes of files that are read. These come after the others, so that a sender that can
choose sends plain, and those with loss last: images that have lost something already come in no
other."""

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
CONFLICT: Final = 0xC001
"""Another object of the same UID is here (one of the values that PS3.4, B.2.3 leaves to us)."""

_META_LENGTH: Final = b"DICM\2\0\0\0UL\4\0"
"""Bytes behind the preamble; then come 4 bytes with the length of the rest of the meta
information (PS3.10, 7.1)."""
_META_START: Final = 128 + len(_META_LENGTH) + 4
NO_STUDY_UID: Final = "without UID: "
"""Begins what stands for the UID of a study that has none."""
_REJECTIONS: Final = {CALLING_AE: "calling_ae", CALLED_AE: "called_ae"}
"""Names of refused associations in log and metrics."""

HEADER: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID",
    "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "TimezoneOffsetFromUTC",
    "SpecificCharacterSet", "StudyDate", "StudyID", "FrameOfReferenceUID",
    "SeriesInstanceUID",
)  # fmt: skip
"""All that is read of an object when it comes."""


class Receiver:
    """The SCP of storage, verification and procedure steps, from :meth:`start` to :meth:`stop`.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self, config: Config, storage: Storage, queue: Queue, counters: Counters, log: Log
    ) -> None:
        self._config, self._storage, self._queue = config, storage, queue
        self._counters, self._log = counters, log
        self._server: NodeServer | None = None
        self._thread: threading.Thread | None = None
        self._steps = StepReceiver(Steps(storage), IMAGE_CLASSES, self.has_room, counters, log)
        self._ae = _entity(config)

    def start(self) -> None:
        """Listen. Raises UsageError where the address cannot be had."""
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_ACCEPTED, self._accepted),
            *self._steps.handlers(),
        ]
        try:
            self._server = NodeServer(self._ae, self._config, handlers, self._refused)
        except OSError as error:
            raise UsageError(
                f"node.address and node.port cannot be listened on ({error.strerror})",
                "Check that the port is free and the address is one of this machine",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="accept", daemon=True
        )
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take no new connections, let running associations end, then abort them."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        server.wait_until_idle(seconds)
        for association in server.active_associations:
            association.abort()

    @property
    def listening(self) -> bool:
        """Is the thread alive that accepts connections?"""
        return self._thread is not None and self._thread.is_alive()

    @property
    def associations(self) -> int:
        """Open ones."""
        return len(self._server.active_associations) if self._server else 0

    def has_room(self, for_bytes: int = 0) -> bool:
        """Is there more room on the disk than has to stay free, and for so much besides?"""
        try:
            return self._storage.free_bytes() - for_bytes >= self._config.limits.min_free_bytes
        except OSError:
            return False

    def _store(self, event: evt.Event) -> int:
        status = self._status(event)
        self._counters.add("objects_received_total", status=f"0x{status:04X}")
        return status

    def _status(self, event: evt.Event) -> int:
        if not self.has_room():
            self._log.write("store_refused", reason="disk nearly full")
            return OUT_OF_RESOURCES
        try:
            arrival = arrival_from(event)
        except PARSE_ERRORS:
            self._log.write("store_refused", reason="not readable")
            return CANNOT_UNDERSTAND
        if arrival is None:
            self._log.write("store_refused", reason="UIDs are missing or differ from the request")
            return MISMATCH
        try:
            received = self._queue.add(arrival)
        except (OSError, sqlite3.Error) as error:
            self._log.write("store_refused", reason=f"not written: {type(error).__name__}")
            return OUT_OF_RESOURCES
        if received == "conflict":
            self._log.write("store_refused", reason="another object of this UID is here")
            return CONFLICT
        return SUCCESS

    def _echo(self, _: evt.Event) -> int:
        self._counters.add("echoes_total")
        return SUCCESS

    def _accepted(self, _: evt.Event) -> None:
        self._counters.add("associations_accepted_total")

    def _rejected(self, event: evt.Event) -> None:
        why = _REJECTIONS.get(reason(event.assoc), "association")
        self._refused(why, event.assoc.requestor.address)

    def _refused(self, why: str, address: str | None = None) -> None:
        """Tell it; an IP address is of a machine, and an AE title could hold anything."""
        self._counters.add("connections_refused_total", reason=why)
        told = {} if address is None else {"address": address}
        self._log.write("connection_refused", reason=why, **told)


def _entity(config: Config) -> AE:
    take_long_uids()
    ae = AE(ae_title=config.node.ae_title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(config.callers.ae_titles)
    # The server counts; this is what its connections never come to.
    ae.maximum_associations = config.limits.associations * CONNECTIONS_PER_ASSOCIATION
    ae.maximum_pdu_size = PDU_BYTES
    ae.network_timeout = config.limits.idle_s
    ae.acse_timeout = min(REQUEST_S, config.limits.idle_s)
    ae.dimse_timeout = config.limits.idle_s
    for uid in (Verification, *SERVICES):
        ae.add_supported_context(uid, list(UNCOMPRESSED))
    for uid in REPORTS:
        ae.add_supported_context(uid, list(UNCOMPRESSED), scu_role=True, scp_role=True)
    # What cannot be decoded here is not accepted, so that a sender that can send it plain does.
    readable = [uid for uid in COMPRESSED if get_decoder(uid).is_available]
    for uid in IMAGE_CLASSES:
        ae.add_supported_context(uid, [*UNCOMPRESSED, *readable])
    for uid in ECG_CLASSES:
        ae.add_supported_context(uid, list(UNCOMPRESSED))
    return ae


def arrival_from(event: evt.Event) -> Arrival | None:
    """Object that came, or None where the UIDs in it are not those that were announced.

    Raises one of PARSE_ERRORS where the header cannot be read.
    """
    data = event.encoded_dataset()
    return arrival_of(parse(data, HEADER), data, _announced(event))


def _announced(event: evt.Event) -> tuple[str, str]:
    request: Any = event.request
    uids = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
    return str(uids[0] or "").strip("\0 "), str(uids[1] or "").strip("\0 ")


def is_usable_uid(uid: str) -> bool:
    """Is it a line of ASCII? Some devices write components with leading zeros, and anonymisers
    letters, blanks or more than 64 characters: PS3.5, 9.1 forbids it, and every reader takes it."""
    return re.fullmatch(rf"[ -~]{{1,{MOST_UID}}}", uid, re.ASCII) is not None and bool(uid.strip())


def arrival_of(header: Dataset, data: bytes, announced: tuple[str, str]) -> Arrival | None:
    """Parts of an object that the queue keeps; None where UIDs are missing or differ.

    Args:
        header: read from ``data``.
        data: the object as a DICOM file.
        announced: its SOP class and instance UID as the sender said.
    """
    settle_character_set(header)
    sop_class, sop_uid = sop_uids(header)
    study_uid = text(header, "StudyInstanceUID") or _study_without_uid(header)
    if (sop_class, sop_uid) != announced or not is_usable_uid(sop_uid) or not study_uid:
        return None
    kind: Kind = "ecg" if sop_class in ECG_CLASSES else "image"
    taken = recorded_at(header)[0] if kind == "ecg" else None
    return Arrival(
        sop_uid=sop_uid,
        study_uid=study_uid,
        kind=kind,
        patient=normal(text(header, "PatientID")),
        issuer=text(header, "IssuerOfPatientID").strip().casefold(),
        taken=f"{taken:%Y%m%d%H%M%S.%f}" if taken else "",
        file=data,
        start=_dataset_start(data),
    )


def _study_without_uid(header: Dataset) -> str:
    """Stand-in for the UID of a study that has none, as the command line reads such: its patient
    and day, or else its frame of reference or series. Empty where nothing tells it from others."""
    known = [text(header, keyword) for keyword in ("PatientID", "StudyDate", "StudyID")]
    if not (known[0] and known[1]):
        known = [text(header, "FrameOfReferenceUID") or text(header, "SeriesInstanceUID")]
    if not known[0]:
        return ""
    return NO_STUDY_UID + hashlib.sha256(repr(known).encode()).hexdigest()


def arrival_in_file(data: bytes | None) -> Arrival | None:
    """A DICOM file as if it had come by C-STORE; None for anything but MR images and ECGs.

    Of a file that does not parse as a whole its header counts: whoever reads the study knows
    whether it is a slice that is missed.
    """
    if not data or not looks_like_dicom(data):
        return None
    try:
        header: Dataset = parse(data, HEADER)
    except PARSE_ERRORS:
        header = salvage(data, HEADER)
    try:
        announced = sop_uids(header)
        if announced[0] not in (*IMAGE_CLASSES, *ECG_CLASSES):
            return None
        return arrival_of(header, data, announced)
    except PARSE_ERRORS:
        return None


def sop_uids(header: Dataset) -> tuple[str, str]:
    """SOP class and instance UID of an object; of the file meta information where the dataset
    lacks them, as some exports do."""
    meta = getattr(header, "file_meta", Dataset())
    return (
        text(header, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"),
        text(header, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID"),
    )


def _dataset_start(data: bytes) -> int:
    """Behind the meta information, which differs between senders of one object; 0, so the whole
    file, where it does not begin with its own length, or with one that leaves nothing."""
    if data[128 : _META_START - 4] != _META_LENGTH:
        return 0
    start = _META_START + int.from_bytes(data[_META_START - 4 : _META_START], "little")
    return start if start < len(data) else 0
