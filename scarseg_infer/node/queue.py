"""What was received and what remains to be done with it."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from scarseg_infer.node.steps import Steps
from scarseg_infer.node.storage import Storage, remove, sync_folder, write_synced

Kind = Literal["image", "ecg"]
Received = Literal["new", "known", "conflict"]

OPEN: Final = "open"
"""Objects may still come, or the study waits to be processed."""
DONE: Final = "done"
FAILED: Final = "failed"


_NOT_NEEDED: Final = (
    "SELECT id FROM studies s WHERE (state != ? OR images = 0) AND objects > 0 "
    "AND last_received <= ? AND COALESCE(finished, 0) <= ? AND NOT EXISTS ("
    "  SELECT 1 FROM results r JOIN deliveries d ON d.result = r.sop_uid "
    "  WHERE r.study = s.id AND (d.sent IS NULL OR d.sent > ?))"
)
"""Studies to forget; see :meth:`Queue.forget`."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A received object and what its header says."""

    sop_uid: str
    study_uid: str
    kind: Kind
    patient: str
    """PatientID without surrounding space and letter case; empty where there is none."""
    issuer: str
    taken: str
    """Date and time of an ECG as DICOM writes them, so that the newest sorts last."""
    file: bytes
    """As a DICOM file."""
    start: int
    """Where in it the dataset starts, after preamble and file meta information."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study as it was when the queue was asked."""

    id: int
    patient: str
    issuer: str
    objects: int
    revision: int
    """Of the results made last; 0 before the first."""
    attempts: int
    complete_since: float
    inputs: str
    """Digest of what the last results were made from."""


class Queue:
    """Objects and studies. All methods may be called from any thread.

    Times are seconds since 1970, as the node is restarted in between.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._steps = Steps(storage)

    def add(self, arrival: Arrival) -> Received:
        """Keep an object. When this returns it survives a crash and a loss of power.

        Returns:
            ``known`` where the same object is here already; ``conflict``, and nothing is kept,
            where another one of the same UID is.

        Raises:
            OSError, sqlite3.Error: it was not kept.
        """
        digest = hashlib.sha256(memoryview(arrival.file)[arrival.start :]).hexdigest()
        if known := self._compare(arrival.sop_uid, digest):
            return known
        root = self._storage.root
        part = root / "incoming" / secrets.token_hex(16)
        try:
            write_synced(part, arrival.file)
            with self._storage.change() as database:
                if known := self._compare(arrival.sop_uid, digest):  # came twice at a time
                    return known
                study = _study_for(database, arrival)
                name = hashlib.sha256(arrival.sop_uid.encode()).hexdigest()[:32]
                path = root / "objects" / str(study) / f"{name}.dcm"
                if not path.parent.is_dir():
                    path.parent.mkdir(mode=0o700)
                    sync_folder(path.parent.parent)
                part.rename(path)
                sync_folder(path.parent)
                file = self._storage.relative(path)
                _insert_object(database, study, arrival, file, digest)
        finally:
            part.unlink(missing_ok=True)
        return "new"

    def _compare(self, sop_uid: str, digest: str) -> Received | None:
        rows = self._storage.rows("SELECT sha256 FROM objects WHERE sop_uid = ?", sop_uid)
        if not rows:
            return None
        return "known" if rows[0]["sha256"] == digest else "conflict"

    def complete(self, quiet_s: float, step_wait_s: float = 0.0) -> list[Study]:
        """Studies with images that are complete and not postponed, oldest first.

        Args:
            quiet_s: time without a new object that completes a study; less where its steps say so.
            step_wait_s: time without any news after which a step in progress is forgotten.
        """
        now = time.time()
        rows = self._storage.rows(
            "SELECT * FROM studies WHERE state = ? AND images > 0 AND not_before <= ? "
            "ORDER BY first_received",
            OPEN, now,
        )  # fmt: skip
        since = [(row, self._steps.complete_since(row, quiet_s, step_wait_s)) for row in rows]
        return [
            Study(
                id=row["id"], patient=row["patient"], issuer=row["issuer"],
                objects=row["objects"], revision=row["revision"], attempts=row["attempts"],
                complete_since=moment, inputs=row["inputs"],
            )
            for row, moment in since if moment <= now
        ]  # fmt: skip

    def images(self, study: Study) -> list[Path]:
        """Files of the images of a study."""
        rows = self._storage.rows(
            "SELECT file FROM objects WHERE study = ? AND kind = 'image' ORDER BY sop_uid", study.id
        )
        return [self._storage.root / row["file"] for row in rows]

    def ecgs(self, study: Study) -> list[Path]:
        """Files of the ECGs of the study and of its patient, the newest first."""
        rows = self._storage.rows(
            "SELECT file FROM objects WHERE kind = 'ecg' AND (study = ? OR "
            "(patient = ? AND patient != '' AND (issuer = ? OR issuer = '' OR ? = ''))) "
            "ORDER BY taken DESC, received DESC",
            study.id, study.patient, study.issuer, study.issuer,
        )  # fmt: skip
        return [self._storage.root / row["file"] for row in rows]

    def begin(self, study: Study) -> None:
        """Note the attempt before it starts: it may take the process with it."""
        with self._storage.change() as database:
            database.execute("UPDATE studies SET attempts = attempts + 1 WHERE id = ?", (study.id,))

    def not_tried(self, study: Study) -> None:
        """Take an attempt back that was broken off for no fault of the study's."""
        with self._storage.change() as database:
            database.execute(  # where objects have come since, it is forgotten already
                "UPDATE studies SET attempts = ? WHERE id = ? AND attempts = ?",
                (study.attempts, study.id, study.attempts + 1),
            )

    def grew(self, study: Study) -> bool:
        """Have objects of the study come since the queue was asked for it?"""
        rows = self._storage.rows("SELECT objects FROM studies WHERE id = ?", study.id)
        return int(rows[0]["objects"]) != study.objects

    def fail(self, study: Study, why: str) -> None:
        """Give a study up until new objects of it come."""
        with self._storage.change() as database:
            database.execute(
                "UPDATE studies SET state = ?, why = ?, finished = ? WHERE id = ? AND objects = ?",
                (FAILED, why, time.time(), study.id, study.objects),
            )

    def postpone(self, study: Study, seconds: float, why: str) -> None:
        """Try a study again after some time."""
        with self._storage.change() as database:
            database.execute(
                "UPDATE studies SET not_before = ?, why = ? WHERE id = ?",
                (time.time() + seconds, why, study.id),
            )

    def number(self, study_uid: str) -> int:
        """The node's own number of a study that has objects here."""
        return int(self._storage.rows("SELECT id FROM studies WHERE uid = ?", study_uid)[0]["id"])

    def counts(self) -> dict[str, int]:
        """How many studies with images are in each state."""
        rows = self._storage.rows(
            "SELECT state, COUNT(*) AS n FROM studies WHERE images > 0 GROUP BY state"
        )
        return {OPEN: 0, DONE: 0, FAILED: 0} | {row["state"]: row["n"] for row in rows}

    def listing(self, limit: int) -> list[sqlite3.Row]:
        """The studies that changed last, for the status page."""
        return self._storage.rows(
            "SELECT id, state, objects, revision, attempts, last_received, finished, why "
            "FROM studies WHERE images > 0 ORDER BY last_received DESC LIMIT ?", limit,
        )  # fmt: skip

    def after_restart(self) -> int:
        """Let the quiet time of open studies begin anew, as nobody could send while the node was
        down and clocks may have been set. Returns how many objects have lost their file."""
        with self._storage.change() as database:
            database.execute(
                "UPDATE studies SET last_received = ? WHERE state = ?", (time.time(), OPEN)
            )
        rows = self._storage.rows("SELECT file FROM objects")
        return sum(not (self._storage.root / row["file"]).is_file() for row in rows)

    def forget(self, keep_s: float) -> int:
        """Delete objects and results that nobody needs any more; returns how many studies.

        A study goes when it is done or failed, or holds nothing but ECGs, no result of it has
        still to be sent, and nothing has happened to it for ``keep_s``. Its row stays, so that
        numbers are never used twice and the same images need no new results.
        """
        before = time.time() - keep_s
        rows = self._storage.rows(_NOT_NEEDED, OPEN, before, before, before)
        return sum([self._forget_one(row["id"], before) for row in rows])

    def _forget_one(self, study: int, before: float) -> bool:
        root = self._storage.root
        with self._storage.alone():  # or an object that comes now would go with the folder
            # One may have come while others were deleted.
            if not self._storage.rows(
                f"{_NOT_NEEDED} AND id = ?", OPEN, before, before, before, study
            ):
                return False
            with self._storage.change() as database:
                database.execute("DELETE FROM objects WHERE study = ?", (study,))
                database.execute(  # or they would be opened again when the peer comes back
                    "DELETE FROM deliveries WHERE state = 'removed' "
                    "AND result IN (SELECT sop_uid FROM results WHERE study = ?)",
                    (study,),
                )
                database.execute(
                    "UPDATE studies SET objects = 0, images = 0 WHERE id = ?", (study,)
                )
            for entry in [root / "objects" / str(study), *(root / "results").glob(f"{study}-*")]:
                if entry.exists():
                    remove(entry)
        return True


def _study_for(database: sqlite3.Connection, arrival: Arrival) -> int:
    """The study's row, with this object counted; a study that was finished is open again."""
    now = time.time()
    database.execute(
        "INSERT INTO studies (uid, patient, issuer, state, objects, images, revision, attempts, "
        "first_received, last_received, not_before, inputs, why) "
        "VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?, 0, '', '') ON CONFLICT (uid) DO NOTHING",
        (arrival.study_uid, arrival.patient, arrival.issuer, OPEN, now, now),
    )
    database.execute(
        "UPDATE studies SET state = ?, objects = objects + 1, images = images + ?, "
        "attempts = 0, not_before = 0, last_received = ? WHERE uid = ?",
        (OPEN, int(arrival.kind == "image"), now, arrival.study_uid),
    )
    found = database.execute("SELECT id FROM studies WHERE uid = ?", (arrival.study_uid,))
    return int(found.fetchone()["id"])


def _insert_object(
    database: sqlite3.Connection, study: int, arrival: Arrival, file: str, digest: str
) -> None:
    database.execute(
        "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            arrival.sop_uid, study, arrival.kind, arrival.patient, arrival.issuer, arrival.taken,
            file, digest, len(arrival.file), time.time(),
        ),
    )  # fmt: skip
