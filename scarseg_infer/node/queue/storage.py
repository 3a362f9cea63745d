"""Files and database of the node on disk, in such a way that what is committed stays.

DATA/queue.sqlite3   what was received, made and sent
DATA/incoming/       objects being received; nothing in it has been acknowledged
DATA/objects/N/      received objects of study N
DATA/results/N-R/    results of study N, revision R
DATA/work/           what is being processed; nothing in it is needed after a restart
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from scarseg_infer.node.queue.clock import ClockWatch
from scarseg_runtime.errors import OutputError, UsageError

_OBJECTS_AND_RESULTS: Final = """
CREATE TABLE studies (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE,
    patient TEXT NOT NULL, issuer TEXT NOT NULL,
    state TEXT NOT NULL, objects INTEGER NOT NULL, images INTEGER NOT NULL,
    revision INTEGER NOT NULL, attempts INTEGER NOT NULL,
    first_received REAL NOT NULL, last_received REAL NOT NULL, not_before REAL NOT NULL,
    finished REAL, inputs TEXT NOT NULL, why TEXT NOT NULL);
CREATE INDEX studies_by_state ON studies (state, last_received);
CREATE TABLE objects (
    sop_uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES studies (id),
    kind TEXT NOT NULL, patient TEXT NOT NULL, issuer TEXT NOT NULL, taken TEXT NOT NULL,
    file TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, received REAL NOT NULL);
CREATE INDEX objects_by_study ON objects (study);
CREATE INDEX objects_by_patient ON objects (patient, kind);
CREATE TABLE results (
    sop_uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES studies (id),
    revision INTEGER NOT NULL, name TEXT NOT NULL, sop_class TEXT NOT NULL, file TEXT NOT NULL);
CREATE INDEX results_by_study ON results (study);
CREATE TABLE deliveries (
    result TEXT NOT NULL REFERENCES results (sop_uid), peer TEXT NOT NULL,
    place INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
    created REAL NOT NULL, next_at REAL NOT NULL, sent REAL, why TEXT NOT NULL,
    PRIMARY KEY (result, peer));
CREATE INDEX deliveries_by_state ON deliveries (state, peer, next_at);
"""
_STEPS: Final = """
CREATE TABLE steps (uid TEXT PRIMARY KEY, state TEXT NOT NULL, changed REAL NOT NULL);
CREATE TABLE step_studies (
    step TEXT NOT NULL REFERENCES steps (uid), study_uid TEXT NOT NULL,
    PRIMARY KEY (step, study_uid));
CREATE INDEX step_studies_by_study ON step_studies (study_uid);
CREATE TABLE step_images (
    step TEXT NOT NULL REFERENCES steps (uid), sop_uid TEXT NOT NULL, PRIMARY KEY (step, sop_uid));
"""
_CHANGES: Final = """
ALTER TABLE studies ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE studies ADD COLUMN with_ecg INTEGER NOT NULL DEFAULT 0;
ALTER TABLE studies ADD COLUMN images_forgotten INTEGER NOT NULL DEFAULT 0;
CREATE INDEX studies_by_patient ON studies (patient);
UPDATE studies SET with_ecg = 1 WHERE state = 'done';  -- perhaps: such are not made again
DELETE FROM deliveries WHERE result IN (
    SELECT sop_uid FROM results JOIN studies ON id = study WHERE objects = 0);
DELETE FROM results WHERE study IN (SELECT id FROM studies WHERE objects = 0);
UPDATE studies SET patient = '', issuer = '' WHERE objects = 0;
"""
_SCHEMAS: Final = (_OBJECTS_AND_RESULTS, _STEPS, _CHANGES)
"""Statements that each version of the database adds to the one before."""
SCHEMA_VERSION: Final = len(_SCHEMAS)


class Storage:
    """The data folder of one node: its database, and files that survive a loss of power.

    One connection serves all threads, one at a time: the work is writing to disk, which does not
    get faster with more of them.

    Args:
        root: the data folder; made if missing, for this user only.

    Raises:
        OutputError: it cannot be made or written.
        UsageError: the database was made by a newer version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._clock = ClockWatch()
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("incoming", "objects", "results", "work"):
                (root / name).mkdir(exist_ok=True, mode=0o700)
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"the data folder cannot be used ({type(error).__name__})",
                "Check node.data in the configuration, who owns the folder and the disk",
            ) from error
        # Folders made just before a crash may not be on the disk yet.
        for folder in (root, root / "objects", root / "results"):
            sync_folder(folder)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.root / "queue.sqlite3", check_same_thread=False, isolation_level=None, timeout=30
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # in WAL, NORMAL may lose the last commits
        connection.execute("PRAGMA secure_delete=ON")  # identifiers that were deleted are gone
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise UsageError("the data folder is of a newer version", "Use that version")
        for added in range(version, SCHEMA_VERSION):
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMAS[added]} PRAGMA user_version={added + 1}; COMMIT;"
            )
        return connection

    def close(self) -> None:
        """Close the database; no other method may be called afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on leaving it is on the disk, on any exception it never was."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._clock.follow(self._connection)
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other thread changes database or files while inside."""
        with self._lock:
            yield

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a SELECT."""
        with self._lock:
            if self._clock.stepped_s() and not self._connection.in_transaction:
                with self.change():
                    pass
            return self._connection.execute(query, values).fetchall()

    def free_bytes(self) -> int:
        """Bytes left on the disk for this user. Raises OSError."""
        return shutil.disk_usage(self.root).free

    def remove_leftovers(self) -> int:
        """Delete files that no committed row speaks of, left by a crash; how many there were.

        Nothing of it was acknowledged or sent, so nobody misses it. Only before the threads start.
        """
        found = 0
        for name in ("incoming", "work"):
            for entry in (self.root / name).iterdir():
                remove(entry)
                found += 1
        known = {row["file"] for row in self.rows("SELECT file FROM objects")}
        for path in (self.root / "objects").glob("*/*"):
            if self.relative(path) not in known:
                path.unlink()
                found += 1
        kept = {Path(row["file"]).parent.name for row in self.rows("SELECT file FROM results")}
        for entry in (self.root / "results").iterdir():
            if entry.name not in kept:
                remove(entry)
                found += 1
        return found

    def relative(self, path: Path) -> str:
        """Name by which rows of the database call a file."""
        return path.relative_to(self.root).as_posix()


def write_synced(path: Path, data: bytes) -> None:
    """Write a file that is on the disk when this returns; its name is so after sync_folder."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Put a file that was written by others onto the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder onto the disk; Windows does that by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(entry: Path) -> None:
    """Delete a file, or a folder with all in it."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()
