"""Messages about studies beside their objects: which steps of an examination run, and which
objects a finished one has made. Kept on disk; nothing but UIDs, states and times."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from scarseg_infer.node.queue.storage import Storage

IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
DISCONTINUED: Final = "DISCONTINUED"
STATES: Final = (IN_PROGRESS, COMPLETED, DISCONTINUED)
"""Of a performed procedure step (PS3.3, C.4.14)."""


@dataclass(frozen=True, slots=True)
class Step:
    """A performed procedure step, or a notification that objects are available."""

    uid: str
    state: str
    studies: Collection[str] = field(default=())
    """Study instance UIDs; none where the step makes no MR images."""
    images: Collection[str] = field(default=())
    """SOP instance UIDs of the MR images it has made."""


class Steps:
    """Steps and when they make a study complete. All methods may be called from any thread.

    Methods raise sqlite3.Error where the disk fails.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def add(self, step: Step) -> bool:
        """Keep a new step; False, and nothing is changed, where one of its UID is here."""
        with self._storage.change() as database:
            added = database.execute(
                "INSERT INTO steps VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (step.uid, step.state, time.time()),
            ).rowcount
            if added:
                database.executemany(
                    "INSERT OR IGNORE INTO step_studies VALUES (?, ?)",
                    [(step.uid, study) for study in step.studies],
                )
                _set_images(database, step.uid, step.images)
        return bool(added)

    def state(self, uid: str) -> str | None:
        """State of a step; None where it is not known."""
        rows = self._storage.rows("SELECT state FROM steps WHERE uid = ?", uid)
        return str(rows[0]["state"]) if rows else None

    def update(self, uid: str, state: str, images: Iterable[str] | None) -> bool:
        """Change a step in progress; False, and nothing is changed, where it is not (any more).

        Args:
            images: replace those that it had; None leaves them.
        """
        with self._storage.change() as database:
            changed = database.execute(
                "UPDATE steps SET state = ?, changed = ? WHERE uid = ? AND state = ?",
                (state, time.time(), uid, IN_PROGRESS),
            ).rowcount
            if changed and images is not None:
                database.execute("DELETE FROM step_images WHERE step = ?", (uid,))
                _set_images(database, uid, images)
        return bool(changed)

    def complete_since(self, study: sqlite3.Row, quiet_s: float, wait_s: float) -> float:
        """From when on a study counts as complete, if nothing more is heard of it.

        Args:
            study: its row.
            quiet_s: silence that completes a study of which no step is known to run.
            wait_s: silence after which a step in progress is taken for forgotten.
        """
        last = float(study["last_received"])
        rows = self._storage.rows(
            "SELECT state, MAX(changed) AS changed FROM steps JOIN step_studies ON uid = step "
            "WHERE study_uid = ? GROUP BY state",
            study["uid"],
        )
        changed = {row["state"]: float(row["changed"]) for row in rows}
        silent = last + quiet_s
        if IN_PROGRESS in changed:
            return max(silent, max(last, changed[IN_PROGRESS]) + wait_s)
        if COMPLETED in changed and self._all_here(study):
            return min(silent, max(last, changed[COMPLETED]))
        return silent

    def _all_here(self, study: sqlite3.Row) -> bool:
        """Are all images here that finished steps of the study have made, and no others? Others
        are of a step of which we are not told, so silence alone can say when it has ended."""
        told = (
            "SELECT i.sop_uid FROM step_images i JOIN steps p ON p.uid = i.step "
            "JOIN step_studies s ON s.step = i.step WHERE s.study_uid = ? AND p.state = ?"
        )
        (row,) = self._storage.rows(
            f"SELECT EXISTS ({told}) "
            f"AND NOT EXISTS ({told} AND i.sop_uid NOT IN (SELECT sop_uid FROM objects)) "
            "AND NOT EXISTS (SELECT 1 FROM objects WHERE study = ? AND kind = 'image' "
            f"AND sop_uid NOT IN ({told})) AS here",
            *(study["uid"], COMPLETED) * 2, study["id"], study["uid"], COMPLETED,
        )  # fmt: skip
        return bool(row["here"])

    def forget(self, keep_s: float) -> None:
        """Delete steps that are older and of whose studies nothing is here."""
        with self._storage.change() as database:
            old = database.execute(
                "SELECT uid FROM steps WHERE changed <= ? AND NOT EXISTS ("
                "  SELECT 1 FROM step_studies JOIN studies s ON s.uid = study_uid "
                "  WHERE step = steps.uid AND s.objects > 0)",
                (time.time() - keep_s,),
            ).fetchall()
            for where in ("step_images WHERE step", "step_studies WHERE step", "steps WHERE uid"):
                database.executemany(f"DELETE FROM {where} = ?", [(row["uid"],) for row in old])


def _set_images(database: sqlite3.Connection, uid: str, images: Iterable[str]) -> None:
    database.executemany(
        "INSERT OR IGNORE INTO step_images VALUES (?, ?)", [(uid, image) for image in images]
    )
