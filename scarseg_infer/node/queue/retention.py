"""Deleting what nobody needs any more."""

from __future__ import annotations

import time
from typing import Final

from scarseg_infer.node.queue.received import OPEN
from scarseg_infer.node.queue.storage import Storage, remove

_NOT_NEEDED: Final = (
    "SELECT id FROM studies s WHERE (state != ? OR images = 0) AND (objects > 0 OR patient != '') "
    "AND last_received <= ? AND COALESCE(finished, 0) <= ? AND NOT EXISTS ("
    "  SELECT 1 FROM results r JOIN deliveries d ON d.result = r.sop_uid "
    "  WHERE r.study = s.id AND (d.sent IS NULL OR d.sent > ?))"
)
"""Studies to forget; see :func:`forget`."""
_WITHOUT_THE_PATIENT: Final = (
    # A peer that did not take the last results gets new ones when the study is sent again.
    "UPDATE studies SET inputs = '' WHERE id = ? AND EXISTS (SELECT 1 FROM results r "
    "JOIN deliveries d ON d.result = r.sop_uid WHERE r.study = studies.id "
    "AND r.revision = studies.revision AND d.state != 'sent')",
    "DELETE FROM objects WHERE study = ?",
    "DELETE FROM deliveries WHERE result IN (SELECT sop_uid FROM results WHERE study = ?)",
    "DELETE FROM results WHERE study = ?",
    "UPDATE studies SET images_forgotten = MAX(images_forgotten, images), objects = 0, images = 0, "
    "patient = '', issuer = '' WHERE id = ?",
)


def forget(storage: Storage, keep_s: float) -> int:
    """Delete objects and results that nobody needs any more; returns how many studies.

    A study goes when it is done or failed, or holds nothing but ECGs, no result of it has still to
    be sent, and nothing has happened to it for ``keep_s``. Of its row number, UID, how many images
    it had and what its results were made from stay: numbers are never used twice, the same images
    need no new results, and fewer of them are not taken for the study.

    Raises:
        OSError, sqlite3.Error: the disk fails.
    """
    before = time.time() - keep_s
    rows = storage.rows(_NOT_NEEDED, OPEN, before, before, before)
    return sum([_forget_one(storage, row["id"], before) for row in rows])


def _forget_one(storage: Storage, study: int, before: float) -> bool:
    with storage.alone():  # or an object that comes now would go with the folder
        # One may have come while others were deleted.
        if not storage.rows(f"{_NOT_NEEDED} AND id = ?", OPEN, before, before, before, study):
            return False
        with storage.change() as database:
            for statement in _WITHOUT_THE_PATIENT:
                database.execute(statement, (study,))
        results = (storage.root / "results").glob(f"{study}-*")
        for entry in [storage.root / "objects" / str(study), *results]:
            if entry.exists():
                remove(entry)
    return True
