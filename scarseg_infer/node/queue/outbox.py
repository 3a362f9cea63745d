"""Results and where they still have to go.

A result's files are written once and recorded with the UIDs that are in them; only these files
are ever sent, so a repeated delivery repeats the same objects.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scarseg_infer.node.queue.received import DONE, OPEN, Study
from scarseg_infer.node.queue.storage import Storage, remove, sync_file, sync_folder

PENDING: Final = "pending"
SENT: Final = "sent"
REMOVED: Final = "removed"
"""The peer is no longer in the configuration; ``sent`` then says when that was noticed."""
GIVEN_UP: Final = "given up"
"""The peer did not take it in the time for that; ``sent`` then says when it ended."""
SUPERSEDED: Final = "superseded"
"""A newer result of the study was made before the peer took this one; ``sent`` then says when."""
RESULT_JSON: Final = "result.json"
"""Lies beside the objects of a result; for the HTTP interface, never sent."""
_SUPERSEDE: Final = (
    "UPDATE deliveries SET state = ?, sent = ? WHERE state NOT IN (?, ?) AND EXISTS ("
    "  SELECT 1 FROM results r JOIN results q ON q.study = r.study AND q.revision > r.revision "
    "  JOIN deliveries n ON n.result = q.sop_uid AND n.peer = deliveries.peer "
    "  WHERE r.sop_uid = deliveries.result)"
)
"""Closes what was never sent of results where the same peer gets a newer one."""
_MISSED: Final = (
    "INSERT OR IGNORE INTO deliveries "
    "SELECT DISTINCT n.result, old.peer, n.place, ?, 0, ?, ?, NULL, '' FROM deliveries old "
    "JOIN results r ON r.sop_uid = old.result JOIN studies s ON s.id = r.study "
    "JOIN results q ON q.study = s.id AND q.revision = s.revision AND q.revision > r.revision "
    "JOIN deliveries n ON n.result = q.sop_uid "
    "WHERE (q.sop_class = '') = (r.sop_class = '') AND old.state = ? AND old.peer IN "
)
"""The newest results, for peers that were not in the configuration when they were made: objects for
those who got objects, messages for those who got messages."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A file that was made, in the folder that is handed to :meth:`Outbox.publish`."""

    name: str
    """By which write/folder.py knows it."""
    file: str
    sop_uid: str
    """Of a DICOM object; of another file a UID of its own."""
    sop_class: str
    """"" of what is no DICOM object."""
    peers: tuple[str, ...] | None = None
    """Names of those who get it, where not all do."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object that one peer has not acknowledged yet."""

    study: int
    result: str
    """SOP instance UID."""
    name: str
    """As in :class:`ResultFile`."""
    sop_class: str
    path: Path
    attempts: int


class Outbox:
    """Results and deliveries. All methods may be called from any thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def publish(
        self,
        study: Study,
        folder: Path,
        files: Sequence[ResultFile],
        peers: Sequence[str],
        inputs: str,
        *,
        with_ecg: bool,
    ) -> bool:
        """Take over results and mark the study done, in one step.

        What has not been sent of the study's earlier results is dropped in the same step, or it
        might arrive after the newer one and pass for it; also the rest of a result of which a peer
        has some objects already. Only an object that is being sent at this moment may still go out.

        Args:
            study: as it was when its objects were read.
            folder: holds the files; moved away.
            files: in the order in which they are to be sent.
            peers: names of those who get each file that does not name its own.
            inputs: digest of what the results were made from.
            with_ecg: did they have an ECG?

        Returns:
            False, and the results are dropped, where something has come in the meantime.

        Raises:
            OSError, sqlite3.Error: nothing was recorded.
        """
        revision = study.revision + 1
        final = self._storage.root / "results" / f"{study.id}-{revision}"
        for path in folder.iterdir():
            sync_file(path)
        sync_folder(folder)
        if final.exists():  # of a publication that was never recorded
            remove(final)
        folder.rename(final)
        sync_folder(final.parent)
        now = time.time()
        with self._storage.change() as database:
            done = database.execute(
                "UPDATE studies SET state = ?, revision = ?, inputs = ?, with_ecg = ?, "
                "finished = ?, why = '' WHERE id = ? AND changes = ? AND state = ?",
                (DONE, revision, inputs, with_ecg, now, study.id, study.changes, OPEN),
            ).rowcount
            if done:
                self._record(database, study, final, files, peers, now)
                database.execute(
                    f"{_SUPERSEDE} AND result IN (SELECT sop_uid FROM results WHERE study = ?)",
                    (SUPERSEDED, now, SENT, SUPERSEDED, study.id),
                )
        if not done:
            remove(final)
        return bool(done)

    def _record(
        self,
        database: sqlite3.Connection,
        study: Study,
        folder: Path,
        files: Sequence[ResultFile],
        peers: Sequence[str],
        now: float,
    ) -> None:
        """Rows of the results in ``folder`` and of their deliveries, in the step of the caller."""
        for place, item in enumerate(files):
            file = self._storage.relative(folder / item.file)
            database.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)",
                (item.sop_uid, study.id, study.revision + 1, item.name, item.sop_class, file),
            )
            for peer in peers if item.peers is None else item.peers:
                database.execute(
                    "INSERT INTO deliveries VALUES (?, ?, ?, ?, 0, ?, ?, NULL, '')",
                    (item.sop_uid, peer, place, PENDING, now, now),
                )

    def unchanged(self, study: Study, *, with_ecg: bool) -> bool:
        """Mark a study done whose new objects do not matter: its results stay as they are.

        Returns False where something has come in the meantime.
        """
        with self._storage.change() as database:
            done = database.execute(
                "UPDATE studies SET state = ?, with_ecg = ?, finished = ?, why = '' "
                "WHERE id = ? AND changes = ?",
                (DONE, with_ecg, time.time(), study.id, study.changes),
            ).rowcount
        return bool(done)

    def due(self, peer: str) -> list[Delivery]:
        """Deliveries that should go to a peer now, results of one study together and in order."""
        rows = self._storage.rows(
            "SELECT r.study, r.sop_uid, r.name, r.sop_class, r.file, d.attempts FROM deliveries d "
            "JOIN results r ON r.sop_uid = d.result "
            "WHERE d.state = ? AND d.peer = ? AND d.next_at <= ? "
            "ORDER BY d.created, r.study, d.place LIMIT 100",
            PENDING, peer, time.time(),
        )  # fmt: skip
        return [
            Delivery(
                row["study"], row["sop_uid"], row["name"], row["sop_class"],
                self._storage.root / row["file"], row["attempts"],
            )
            for row in rows
        ]  # fmt: skip

    def waits(self, delivery: Delivery, peer: str) -> bool:
        """Has it still to be sent, or did a newer result come since :meth:`due` was asked?"""
        rows = self._storage.rows(
            "SELECT 1 FROM deliveries WHERE result = ? AND peer = ? AND state = ?",
            delivery.result, peer, PENDING,
        )  # fmt: skip
        return bool(rows)

    def sent(self, delivery: Delivery, peer: str) -> None:
        """The peer has acknowledged it."""
        with self._storage.change() as database:
            database.execute(
                "UPDATE deliveries SET state = ?, sent = ?, attempts = attempts + 1, why = '' "
                "WHERE result = ? AND peer = ?",
                (SENT, time.time(), delivery.result, peer),
            )

    def refused(self, delivery: Delivery, peer: str, seconds: float, why: str) -> None:
        """Try this object again after some time."""
        with self._storage.change() as database:
            database.execute(
                "UPDATE deliveries SET attempts = attempts + 1, next_at = ?, why = ? "
                "WHERE result = ? AND peer = ?",
                (time.time() + seconds, why, delivery.result, peer),
            )

    def after_restart(self, peers: Sequence[str]) -> dict[str, int]:
        """Bring waiting deliveries forward, and take up again those that were given up: what was in
        their way may be gone.

        Those to peers that are no longer in the configuration are closed, so that their studies
        can be forgotten; they are opened again where the peer is back in time, or the newest
        results are sent in their place, which were made while it was not there.

        Returns:
            How many were closed, by the name of the peer.
        """
        marks, now = ", ".join("?" for _ in peers), time.time()
        with self._storage.change() as database:
            database.execute(f"{_MISSED} ({marks})", (PENDING, now, now, REMOVED, *peers))
            database.execute(_SUPERSEDE, (SUPERSEDED, now, SENT, SUPERSEDED))
            database.execute(
                "UPDATE deliveries SET state = ?, sent = NULL "
                f"WHERE state IN (?, ?) AND peer IN ({marks})",
                (PENDING, REMOVED, GIVEN_UP, *peers),
            )
            database.execute("UPDATE deliveries SET next_at = ? WHERE state = ?", (now, PENDING))
            gone = database.execute(
                "SELECT peer, COUNT(*) AS n FROM deliveries "
                f"WHERE state = ? AND peer NOT IN ({marks}) GROUP BY peer",
                (PENDING, *peers),
            ).fetchall()
            database.execute(
                "UPDATE deliveries SET state = ?, sent = ? "
                f"WHERE state = ? AND peer NOT IN ({marks})",
                (REMOVED, now, PENDING, *peers),
            )
        return {row["peer"]: row["n"] for row in gone}

    def give_up(self, after_s: float) -> dict[str, int]:
        """Close deliveries that have waited for longer; how many, by the name of the peer."""
        now = time.time()
        with self._storage.change() as database:
            late = database.execute(
                "SELECT peer, COUNT(*) AS n FROM deliveries WHERE state = ? AND created <= ? "
                "GROUP BY peer",
                (PENDING, now - after_s),
            ).fetchall()
            database.execute(
                "UPDATE deliveries SET state = ?, sent = ? WHERE state = ? AND created <= ?",
                (GIVEN_UP, now, PENDING, now - after_s),
            )
        return {row["peer"]: row["n"] for row in late}

    def counts(self) -> dict[tuple[str, str], int]:
        """Number of deliveries by peer and state."""
        rows = self._storage.rows(
            "SELECT peer, state, COUNT(*) AS n FROM deliveries GROUP BY peer, state"
        )
        return {(row["peer"], row["state"]): row["n"] for row in rows}

    def waiting(self, limit: int) -> list[sqlite3.Row]:
        """Waiting deliveries, by peer and by what was in its way last time, for the status page."""
        return self._storage.rows(
            "SELECT peer, why, COUNT(*) AS objects, MIN(created) AS first, MIN(next_at) AS next_at "
            "FROM deliveries WHERE state = ? GROUP BY peer, why ORDER BY peer, why LIMIT ?",
            PENDING, limit,
        )  # fmt: skip

    def oldest_pending_s(self) -> float:
        """Age of the delivery that waits longest; 0 where none does."""
        (row,) = self._storage.rows(
            "SELECT MIN(created) AS first FROM deliveries WHERE state = ?", PENDING
        )
        return 0.0 if row["first"] is None else max(0.0, time.time() - row["first"])
