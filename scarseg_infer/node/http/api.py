"""Studies over HTTP, for hosts on this machine that speak no DICOM.

What is posted goes through the same queue as what comes by C-STORE, and its results go to the
same peers. Off unless ``status.api`` is set: no password protects it. A host in a shell::

    curl -H 'Content-Type: application/zip' --data-binary @study.zip http://127.0.0.1:8104/studies
    curl http://127.0.0.1:8104/studies/1               # until "state" is "done" or "failed"
    curl -o scar.dcm http://127.0.0.1:8104/studies/1/seg

``openapi.json`` beside this file says all that can be asked and answered.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from scarseg_infer.node.dicom.receive import (
    HEADER,
    IMAGE_CLASSES,
    NO_STUDY_UID,
    arrival_in_file,
    is_usable_uid,
    sop_uids,
)
from scarseg_infer.node.http.answer import Answer, Request, Routes, document, problem
from scarseg_infer.node.queue.outbox import RESULT_JSON
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.same_content import same_content
from scarseg_infer.node.queue.storage import Storage
from scarseg_infer.study.archive import ArchiveFiles, open_archive
from scarseg_infer.study.dicom.foreign import different_images
from scarseg_infer.study.dicom.header import looks_like_dicom, read_headers
from scarseg_infer.study.dicom.parse import PARSE_ERRORS, parse, sop_class_of
from scarseg_infer.study.files import MAX_FILE_BYTES, file_label
from scarseg_runtime.errors import StudyError

ZIP_TYPE: Final = "application/zip"
"""Required of a POST: no web page may send it to another site unasked, so none that a user of
this machine looks at can post studies."""
MAX_BODY_BYTES: Final = 1 << 30
_CHUNK: Final = 1 << 20
_DIGITS: Final = 18
"""As many fit into a number of SQLite."""
_KINDS: Final = {
    "seg": "application/dicom", "sr": "application/dicom", "dicom-pdf": "application/dicom",
    "pdf": "application/pdf", "fhir": "application/fhir+json",
}  # fmt: skip
_ENDINGS: Final = {"pdf": "pdf", "fhir": "json"}
"""Of the names of files, where not dcm."""
_KEPT_IN: Final = {"pdf": "dicom-pdf"}
"""Files that lie inside another one."""
_FULL: Final = "The disk is nearly full."


class StudyApi:
    """Handlers behind :meth:`routes`.

    Args:
        has_room: is there room on the disk for so many bytes?
        object_bytes: size of an object that is taken.
    """

    def __init__(
        self,
        storage: Storage,
        queue: Queue,
        has_room: Callable[[int], bool],
        object_bytes: int,
    ) -> None:
        self._storage, self._queue, self._has_room = storage, queue, has_room
        self._object_bytes = object_bytes
        self._unpacking = threading.Lock()

    def routes(self) -> Routes:
        """Paths of the studies."""
        return {
            "/studies": {"POST": self._post},
            "/studies/{id}": {"GET": self._get},
            "/studies/{id}/{name}": {"GET": self._get_file},
        }

    def _post(self, request: Request) -> Answer:
        """Take a zip of DICOM files; 202 with the number of each study with images in it."""
        length = announced_length(request.headers)
        if isinstance(length, Answer):
            return length
        path = self._storage.root / "incoming" / secrets.token_hex(16)
        try:
            return self._save(request.body, length, path) or self._take(path)
        except StudyError as error:
            return problem(422, str(error))
        except (TimeoutError, ConnectionError):  # of the body; the others are of the disk
            raise
        except (OSError, sqlite3.Error):
            return problem(507, "The study cannot be stored; nothing is promised for it.")
        finally:
            path.unlink(missing_ok=True)

    def _save(self, body: Callable[[], BufferedIOBase], length: int, path: Path) -> Answer | None:
        """Write what comes to a file; an answer where that is not all that was announced."""
        if not self._has_room(length):
            return problem(507, _FULL)
        stream = body()
        with path.open("wb") as file:
            while length:
                chunk = stream.read1(min(length, _CHUNK))
                if not chunk:
                    return problem(400, "The body ended early.")
                if not self._has_room(0):
                    return problem(507, _FULL)
                file.write(chunk)
                length -= len(chunk)
        return None

    def _take(self, path: Path) -> Answer:
        # One at a time: files are unpacked in memory. All are looked at before the first is kept,
        # so that a damaged archive, or one that does not fit, leaves nothing behind.
        with self._unpacking, open_archive(path) as files:
            found = self._look(files)
            if isinstance(found, Answer):
                return found
            wanted, size = found
            if not wanted:
                return problem(422, "The zip holds no MR images or ECGs in DICOM.")
            if not self._has_room(size):
                return problem(507, _FULL)
            taken = self._add(files, wanted)
            if not taken:
                return problem(409, "Other objects with the UIDs of these are here already.")
            others = len(files) - len(wanted)
        # ECGs mostly are a study of their own, which nobody has to ask for: nothing is made of it.
        objects = Counter(arrival.study_uid for arrival in taken)
        with_images = {arrival.study_uid for arrival in taken if arrival.kind == "image"}
        listed = [
            {"id": self._queue.number(uid), "objects": count}
            for uid, count in objects.items()
            if uid in with_images or self._queue.has_images(uid)
        ]
        headers = {"Location": f"/studies/{listed[0]['id']}"} if len(listed) == 1 else {}
        told = {
            "studies": listed,
            "ecgs": sum(arrival.kind == "ecg" for arrival in taken),
            "files_left_out": others,
            "conflicts": len(wanted) - len(taken),
        }
        return document(202, told, **headers)

    def _look(self, files: ArchiveFiles) -> tuple[list[int], int] | Answer:
        """Numbers of the images and ECGs, and their bytes; an answer where one cannot be taken, as
        the others would pass for the whole study. Raises StudyError for two with one UID."""
        limit = min(self._object_bytes, MAX_FILE_BYTES)
        wanted, size = [], 0
        lacking: dict[bool, int] = {}
        seen: dict[str, int] = {}
        for number in range(len(files)):
            content = files.read(number)  # None beyond MAX_FILE_BYTES
            arrival = arrival_in_file(files.head(number) if content is None else content)
            if arrival and (content is None or len(content) > limit):
                return problem(413, f"Objects of at most {limit >> 20} MB are taken.")
            if not arrival and content is not None and _is_image(content):
                why = why_not_taken(content, number, file_label(number, files))
                return problem(
                    422, f"{why[0].upper()}{why[1:]}: it is an MR image, without which the others "
                    "would pass for the whole study. Export it again.",
                )  # fmt: skip
            if arrival and content is not None:
                first = seen.setdefault(arrival.sop_uid, number)
                if first != number and not _alike(files.read(first), content):
                    raise different_images(file_label(first, files), file_label(number, files))
                if arrival.kind == "image":
                    lacking[arrival.study_uid.startswith(NO_STUDY_UID)] = number
                wanted.append(number)
                size += len(content)
        if len(lacking) > 1:  # two studies, of which each would pass for a whole one
            label = file_label(lacking[True], files)
            return problem(422, f"{label} lacks StudyInstanceUID, which others have.")
        return wanted, size

    def _add(self, files: ArchiveFiles, wanted: list[int]) -> list[Arrival]:
        """Put files into the queue and return them; not those whose UIDs others have. Raises
        OSError, sqlite3.Error."""
        found = []
        for index in wanted:
            arrival = arrival_in_file(files.read(index))
            if arrival and self._queue.add(arrival) != "conflict":
                found.append(replace(arrival, file=b""))  # not a gigabyte in memory
        return found

    def _get(self, request: Request) -> Answer:
        """State of a study and, once it is done, its result (see the schema of result.json)."""
        row = self._row(*request.values)
        if row is None:
            return problem(404, "There is no such study.")
        number, revision = row["id"], row["revision"]
        made = self._storage.rows(
            "SELECT name, sop_uid, file FROM results WHERE study = ? AND revision = ?",
            number, revision,
        )  # fmt: skip
        deliveries = self._storage.rows(
            "SELECT r.name, r.sop_uid, d.peer, d.state, NULLIF(d.why, '') AS why FROM deliveries d "
            "JOIN results r ON d.result = r.sop_uid "
            "WHERE r.study = ? AND r.revision = ? ORDER BY d.peer, d.place",
            number, revision,
        )  # fmt: skip
        here = {found["name"] for found in made if (self._storage.root / found["file"]).is_file()}
        return document(200, {
            "id": number,
            "state": row["state"],
            "objects": row["objects"],
            "revision": revision,
            "reason": row["why"] or None,
            "result": self._result(number, revision),
            "files": [
                {"path": f"/studies/{number}/{name}", "media_type": kind}
                for name, kind in _KINDS.items()
                if _KEPT_IN.get(name, name) in here
            ],
            "deliveries": [dict(found) for found in deliveries],
        })  # fmt: skip

    def _result(self, number: int, revision: int) -> Any:
        file = self._storage.root / "results" / f"{number}-{revision}" / RESULT_JSON
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _get_file(self, request: Request) -> Answer:
        """A file of the last result."""
        digits, name = request.values
        row = self._row(digits)
        found = row and self._storage.rows(
            "SELECT file FROM results WHERE study = ? AND revision = ? AND name = ?",
            row["id"], row["revision"], _KEPT_IN.get(name, name),
        )  # fmt: skip
        if row is None or not found or name not in _KINDS:
            return problem(404, "There is no such file of a result.")
        try:
            data = (self._storage.root / found[0]["file"]).read_bytes()
        except FileNotFoundError:  # deleted after study.keep_days
            return problem(404, "There is no such file of a result.")
        ending = _ENDINGS.get(name, "dcm")
        disposition = f'attachment; filename="study-{row["id"]}-{name}.{ending}"'
        body = embedded_pdf(data) if name == "pdf" else data
        return Answer(200, body, _KINDS[name], {"Content-Disposition": disposition})

    def _row(self, digits: str) -> sqlite3.Row | None:
        if not (digits.isascii() and digits.isdigit()) or len(digits) > _DIGITS or digits[0] == "0":
            return None
        rows = self._storage.rows(
            "SELECT id, state, objects, revision, why FROM studies "
            "WHERE id = ? AND (images > 0 OR images_forgotten > 0)",  # and not only ECGs
            int(digits),
        )
        return rows[0] if rows else None


def announced_length(headers: Message) -> int | Answer:
    """Length of the zip that follows, or the answer why it is not wanted."""
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != ZIP_TYPE:
        return problem(415, f"Send a zip of DICOM files as {ZIP_TYPE}.")
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        return problem(415, "Send the zip without Content-Encoding.")
    lengths = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or not lengths:
        # Both at once may be an attempt to smuggle a request (RFC 9112, 6.3).
        return problem(400 if lengths else 411, "Send Content-Length, not Transfer-Encoding.")
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        return problem(400, "Content-Length is no number of bytes.")
    if len(lengths[0]) > _DIGITS or int(lengths[0]) > MAX_BODY_BYTES:
        return problem(413, f"At most {MAX_BODY_BYTES >> 20} MB are taken.")
    return int(lengths[0])


def _is_image(data: bytes) -> bool:
    """True for a DICOM file whose meta information calls it an MR image."""
    return looks_like_dicom(data) and sop_class_of(data) in IMAGE_CLASSES


def why_not_taken(data: bytes, number: int, label: str) -> str:
    """Fault of an image that is not taken: in the words of the reader of studies, else its UID."""
    try:
        read_headers(data, number, label)
        header = parse(data, HEADER)
    except StudyError as error:
        return error.what
    except PARSE_ERRORS:
        return f"{label} is damaged"
    sop_class, sop_uid = sop_uids(header)
    fault = "StudyInstanceUID" if is_usable_uid(sop_uid) else "SOPInstanceUID"
    fault = fault if sop_class in IMAGE_CLASSES else "SOPClassUID"
    return f"{label} lacks {fault}, or has something else there"


def _alike(first: bytes | None, second: bytes) -> bool:
    return first is not None and (first == second or same_content(first, second))


def embedded_pdf(data: bytes) -> bytes:
    """The document in an Encapsulated PDF object that we wrote, without the byte that made its
    length even (PS3.3, C.24.2)."""
    found = dcmread(BytesIO(data))
    content = bytes(found.EncapsulatedDocument)
    return content[: int(found.get("EncapsulatedDocumentLength", len(content)))]
