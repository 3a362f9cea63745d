"""Received objects and studies, and what remains to be done with them."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from scarseg_infer.node.queue.same_content import same_content
from scarseg_infer.node.queue.steps import Steps
from scarseg_infer.node.queue.storage import Storage, sync_folder, write_synced

Kind = Literal["image", "ecg"]
Received = Literal["new", "known", "conflict"]

OPEN: Final = "open"
"""Objects may still come, or the study waits to be processed."""
DONE: Final = "done"
FAILED: Final = "failed"

_HERE: Final = "SELECT * FROM objects WHERE sop_uid = ?"


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
    """Time at which an ECG was recorded, as the reader of ECGs has it, so that the newest sorts
    last; empty where that is unknown."""
    file: bytes
    """As a DICOM file."""
    start: int
    """Offset in it at which the dataset starts, after preamble and file meta information."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study as it was when the queue was asked."""

    id: int
    patient: str
    issuer: str
    objects: int
    changes: int
    """Counts what makes results out of date: objects of the study, and ECGs of its patient."""
    revision: int
    """Of the results made last; 0 before the first."""
    attempts: int
    complete_since: float
    inputs: str
    """Digest of what the last results were made from."""
    images_missing: int
    """Count of the images that were here once have been forgotten and not sent again."""


class Queue:
    """Objects and studies. All methods may be called from any thread.

    Times are seconds since 1970, as the node is restarted in between.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._steps = Steps(storage)

    def add(self, arrival: Arrival) -> Received:
        """Keep an object. When this returns it survives a crash and a loss of power.

        An ECG also opens the studies of its patient whose results were made without one. Where the
        same object is here already, its study is opened if it had failed: whoever sends it again
        wants to see it tried again. If it was done, or holds nothing but ECGs,
        it is kept for as long as a new one.

        Returns:
            ``known`` where the same object is here already, with its file; ``conflict``, and
            nothing is kept, where another one of the same UID is.

        Raises:
            OSError, sqlite3.Error: it was not kept.
        """
        digest = hashlib.sha256(memoryview(arrival.file)[arrival.start :]).hexdigest()
        while True:  # each round but the last saw what another thread has changed meanwhile
            if known := self._known(arrival, digest):
                return known
            if self._store(arrival, digest):
                return "new"

    def _known(self, arrival: Arrival, digest: str) -> Received | None:
        """Find the answer where an object of the UID is here; None where none is, or its file is
        gone."""
        while rows := self._storage.rows(_HERE, arrival.sop_uid):
            (seen,) = rows
            same = seen["sha256"] == digest or self._same(seen["file"], arrival)
            with self._storage.change() as database:
                here = database.execute(_HERE, (arrival.sop_uid,)).fetchone()
                if here != seen:  # forgotten while it was compared
                    continue
                if not (self._storage.root / here["file"]).is_file():
                    return None
                if not same:
                    return "conflict"
                _sent_again(database, here["study"])
            return "known"
        return None

    def _same(self, file: str, arrival: Arrival) -> bool:
        try:
            return same_content((self._storage.root / file).read_bytes(), arrival.file)
        except FileNotFoundError:
            return False

    def _store(self, arrival: Arrival, digest: str) -> bool:
        """Keep a new object, in the place of one that has lost its file; False, and nothing is
        kept, where one of its UID has come since."""
        root = self._storage.root
        part = root / "incoming" / secrets.token_hex(16)
        try:
            write_synced(part, arrival.file)
            with self._storage.change() as database:
                if here := database.execute(_HERE, (arrival.sop_uid,)).fetchone():
                    if (root / here["file"]).is_file():
                        return False
                    _drop(database, here)
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
                if arrival.kind == "ecg":
                    _open_for_ecg(database, arrival)
        finally:
            part.unlink(missing_ok=True)
        return True

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
                objects=row["objects"], changes=row["changes"], revision=row["revision"],
                attempts=row["attempts"], complete_since=moment, inputs=row["inputs"],
                images_missing=max(0, row["images_forgotten"] - row["images"]),
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
        """Files of the ECGs of the study and of its patient, the newest first.

        Two identifiers that are equal are of one patient unless they have different issuers. Where
        the study does not say whose its identifier is, and ECGs with it come from several issuers,
        nobody can tell which of them is meant: then only those in the study itself.
        """
        rows = self._storage.rows(
            "SELECT file, issuer, study FROM objects WHERE kind = 'ecg' AND (study = ? OR "
            "(patient = ? AND patient != '' AND (issuer = ? OR issuer = '' OR ? = ''))) "
            "ORDER BY taken DESC, received DESC",
            study.id, study.patient, study.issuer, study.issuer,
        )  # fmt: skip
        if not study.issuer and len({row["issuer"] for row in rows} - {""}) > 1:
            rows = [row for row in rows if row["study"] == study.id]
        return [self._storage.root / row["file"] for row in rows]

    def begin(self, study: Study) -> None:
        """Note the attempt before it starts: it may take the process with it."""
        with self._storage.change() as database:
            database.execute("UPDATE studies SET attempts = attempts + 1 WHERE id = ?", (study.id,))

    def not_tried(self, study: Study) -> None:
        """Take an attempt back that was broken off for no fault of the study's."""
        with self._storage.change() as database:
            database.execute(  # where something has changed since, it is forgotten already
                "UPDATE studies SET attempts = ? WHERE id = ? AND attempts = ?",
                (study.attempts, study.id, study.attempts + 1),
            )

    def again(self, study: Study) -> Study | None:
        """The study with the ECGs that came since the queue was asked for it; None where objects
        of its own have come, so that it is no longer complete."""
        (row,) = self._storage.rows("SELECT objects, changes FROM studies WHERE id = ?", study.id)
        return replace(study, changes=row["changes"]) if row["objects"] == study.objects else None

    def fail(self, study: Study, why: str) -> bool:
        """Give a study up until something of it comes, be it for the second time. Returns False
        where something has come in the meantime, and it stays open."""
        with self._storage.change() as database:
            failed = database.execute(
                "UPDATE studies SET state = ?, why = ?, finished = ? WHERE id = ? AND changes = ?",
                (FAILED, why, time.time(), study.id, study.changes),
            ).rowcount
        return bool(failed)

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

    def has_images(self, study_uid: str) -> bool:
        """True where images of a study are here now, and not only ECGs."""
        return bool(self._storage.rows("SELECT 1 FROM studies WHERE uid = ? AND images", study_uid))

    def counts(self) -> dict[str, int]:
        """Number of studies with images in each state."""
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
        down and clocks may have been set. Objects that have lost their file are no longer known,
        so that they are taken when they are sent again; returns how many."""
        gone = [
            row
            for row in self._storage.rows("SELECT sop_uid, study, kind, file FROM objects")
            if not (self._storage.root / row["file"]).is_file()
        ]
        with self._storage.change() as database:
            database.execute(
                "UPDATE studies SET last_received = ?, not_before = 0 WHERE state = ?",
                (time.time(), OPEN),
            )
            database.execute("UPDATE steps SET changed = MIN(changed, ?)", (time.time(),))
            for row in gone:
                _drop(database, row)
        return len(gone)


_OPENED: Final = (
    "state = ?, changes = changes + 1, attempts = 0, not_before = 0, last_received = ?, why = ''"
)
"""Sets a study, by its new state and the time, to wait for being processed."""


def _study_for(database: sqlite3.Connection, arrival: Arrival) -> int:
    """The study's row, with this object counted; a study that was finished is open again."""
    now, patient = time.time(), arrival.patient
    number = "SELECT id FROM studies WHERE uid = ?"
    # Asked first: an INSERT that finds the study here uses a number up all the same.
    if not database.execute(number, (arrival.study_uid,)).fetchone():
        database.execute(
            "INSERT INTO studies (uid, patient, issuer, state, objects, images, revision, "
            "attempts, first_received, last_received, not_before, inputs, why) "
            "VALUES (?, ?, ?, ?, 0, 0, 0, 0, ?, ?, 0, '', '')",
            (arrival.study_uid, patient, arrival.issuer, OPEN, now, now),
        )
    database.execute(  # the first object may have lacked what a later one says of the patient
        "UPDATE studies SET issuer = ?, patient = ? "
        "WHERE uid = ? AND issuer = '' AND patient IN ('', ?)",
        (arrival.issuer, patient, arrival.study_uid, patient),
    )
    database.execute(
        "UPDATE studies SET last_received = ?, objects = objects + 1, images = images + ? "
        "WHERE uid = ?",
        (now, int(arrival.kind == "image"), arrival.study_uid),
    )
    database.execute(  # of an ECG alone nothing can be made, also where images were here once
        f"UPDATE studies SET {_OPENED} WHERE uid = ? AND images > 0", (OPEN, now, arrival.study_uid)
    )
    return int(database.execute(number, (arrival.study_uid,)).fetchone()["id"])


_OF_THE_ECGS_PATIENT: Final = (
    "WHERE state = ? AND images > 0 AND patient = ? AND patient != '' "
    "AND (issuer = ? OR issuer = '' OR ? = '') AND uid != ?"
)


def _open_for_ecg(database: sqlite3.Connection, arrival: Arrival) -> None:
    """Studies of the ECG's patient that have no result with an ECG get the chance of one: what is
    being made without it does not count, what was made is made again."""
    patient = (arrival.patient, arrival.issuer, arrival.issuer, arrival.study_uid)
    database.execute(
        f"UPDATE studies SET changes = changes + 1, attempts = 0 {_OF_THE_ECGS_PATIENT}",
        (OPEN, *patient),
    )
    database.execute(
        f"UPDATE studies SET {_OPENED} {_OF_THE_ECGS_PATIENT} AND NOT with_ecg",
        (OPEN, time.time(), DONE, *patient),
    )


def _sent_again(database: sqlite3.Connection, study: int) -> None:
    """An object of the study was sent that is here already: a study that had failed is open again,
    one that is done, or holds nothing but ECGs, is kept as long as if it had just come. Part of
    what is being sent would else be acknowledged and forgotten, and the rest not be taken for the
    study; or the ECG be gone when its patient's images come."""
    now = time.time()
    database.execute(
        f"UPDATE studies SET {_OPENED}, images_forgotten = 0 "
        "WHERE id = ? AND state = ? AND images > 0",
        (OPEN, now, study, FAILED),
    )
    database.execute(
        "UPDATE studies SET last_received = ? WHERE id = ? AND (state = ? OR images = 0)",
        (now, study, DONE),
    )


def _drop(database: sqlite3.Connection, row: sqlite3.Row) -> None:
    """An object that has lost its file is no longer known; its study is not whole without it."""
    database.execute("DELETE FROM objects WHERE sop_uid = ?", (row["sop_uid"],))
    database.execute(
        "UPDATE studies SET objects = objects - 1, images = images - ?, "
        "images_forgotten = MAX(images_forgotten, images) WHERE id = ?",
        (row["kind"] == "image", row["study"]),
    )


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
