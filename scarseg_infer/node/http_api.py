"""Studies over HTTP, for hosts on this machine that speak no DICOM: POST /studies, GET /studies/N.

What is posted goes through the same queue as what comes by C-STORE, and its results go to the
same peers. Off unless ``status.api`` is set: no password protects it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from scarseg_infer.archive import open_archive
from scarseg_infer.dicom_parse import PARSE_ERRORS, text
from scarseg_infer.node.outbox import RESULT_JSON
from scarseg_infer.node.queue import Arrival, Queue
from scarseg_infer.node.receive import HEADER, IMAGE_CLASSES, arrival_of
from scarseg_infer.node.storage import Storage
from scarseg_infer.read_ecg_dicom import ECG_CLASSES
from scarseg_runtime.errors import StudyError

ZIP_TYPE: Final = "application/zip"
"""Required of a POST: no web page may send it to another site unasked, so none that a user of
this machine looks at can post studies."""
MAX_BODY_BYTES: Final = 1 << 30
_CHUNK: Final = 1 << 20

Answer = tuple[int, dict[str, Any]]


class StudyApi:
    """Answers as (HTTP status, JSON document)."""

    def __init__(self, storage: Storage, queue: Queue, has_room: Callable[[], bool]) -> None:
        self._storage, self._queue, self._has_room = storage, queue, has_room

    def post(self, kind: str, length: str | None, body: BufferedIOBase) -> Answer:
        """Take a zip of DICOM files; 202 with the number of each study in it.

        Args:
            kind: Content-Type.
            length: Content-Length.
        """
        if kind.partition(";")[0].strip().lower() != ZIP_TYPE:
            return 415, {"error": f"Send a zip of DICOM files as {ZIP_TYPE}."}
        if length is None or not length.isascii() or not length.isdigit():
            return 411, {"error": "Send Content-Length."}
        if int(length) > MAX_BODY_BYTES:
            return 413, {"error": f"At most {MAX_BODY_BYTES >> 20} MB are taken."}
        if not self._has_room():
            return 507, {"error": "The disk is nearly full."}
        path = self._storage.root / "incoming" / secrets.token_hex(16)
        try:
            if not _save(body, int(length), path):
                return 400, {"error": "The body ended early."}
            return self._take(path)
        except StudyError as error:
            return 422, {"error": str(error)}
        except (OSError, sqlite3.Error):
            return 507, {"error": "The study cannot be stored; nothing is promised for it."}
        finally:
            path.unlink(missing_ok=True)

    def _take(self, path: Path) -> Answer:
        studies: dict[str, int] = {}
        left_out = 0
        with open_archive(path) as files:
            for index in range(len(files)):
                data = files.read(index)
                arrival = arrival_in_file(data) if data else None
                if arrival is None or self._queue.add(arrival) == "conflict":
                    left_out += 1
                else:
                    studies[arrival.study_uid] = studies.get(arrival.study_uid, 0) + 1
        if not studies:
            return 422, {"error": "The zip holds no MR images or ECGs in DICOM."}
        numbers = [self._queue.number(uid) for uid in studies]
        listed = [
            {"id": number, "objects": count}
            for number, count in zip(numbers, studies.values(), strict=True)
        ]
        return 202, {"studies": listed, "files_left_out": left_out}

    def get(self, number: int) -> Answer:
        """State of a study and, once it is done, its result (see the schema of result.json)."""
        rows = self._storage.rows(
            "SELECT state, objects, revision, why FROM studies WHERE id = ?", number
        )
        if not rows:
            return 404, {"error": "There is no such study."}
        (row,) = rows
        deliveries = self._storage.rows(
            "SELECT r.name, r.sop_uid, d.peer, d.state FROM results r "
            "LEFT JOIN deliveries d ON d.result = r.sop_uid "
            "WHERE r.study = ? AND r.revision = ? ORDER BY d.peer, d.place",
            number, row["revision"],
        )  # fmt: skip
        file = self._storage.root / "results" / f"{number}-{row['revision']}" / RESULT_JSON
        result = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        return 200, {
            "id": number,
            "state": row["state"],
            "objects": row["objects"],
            "reason": row["why"] or None,
            "result": result,
            "deliveries": [dict(found) for found in deliveries],
        }


def arrival_in_file(data: bytes) -> Arrival | None:
    """A DICOM file as if it had come by C-STORE; None for anything but MR images and ECGs."""
    try:
        header = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=list(HEADER))
        sop_class = text(header, "SOPClassUID")
        if sop_class not in (*IMAGE_CLASSES, *ECG_CLASSES):
            return None
        return arrival_of(header, data, (sop_class, text(header, "SOPInstanceUID")))
    except PARSE_ERRORS:
        return None


def _save(body: BufferedIOBase, length: int, path: Path) -> bool:
    with path.open("wb") as file:
        while length:
            chunk = body.read(min(length, _CHUNK))
            if not chunk:
                return False
            file.write(chunk)
            length -= len(chunk)
    return True
