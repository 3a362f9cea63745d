"""A signal to stop does not wait for a study, and no study holds the others up for ever."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from scarseg_infer import EcgError, LgeStack, Segmenter
from scarseg_infer.node.config import Config, read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.http.api import arrival_in_file
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.received import Queue, Study
from scarseg_infer.node.queue.retention import forget
from scarseg_infer.node.queue.storage import Storage
from scarseg_infer.node.work import Worker
from scarseg_runtime.errors import OutputError


@pytest.fixture
def config(node_factory: ModuleType, tmp_path: Path) -> Config:
    node_factory.make_node(tmp_path, study="quiet_s = 0.1\nattempts = 2")
    found: Config = read_config(tmp_path / "node.toml")
    return found


@pytest.fixture
def storage(config: Config, node_factory: ModuleType) -> Storage:
    """One in which the demo study waits to be processed."""
    found = Storage(config.node.data)
    for dataset in node_factory.demo_study():
        arrival = arrival_in_file(node_factory.encoded(dataset))
        assert arrival is not None
        Queue(found).add(arrival)
    time.sleep(0.15)
    return found


def work(
    config: Config, storage: Storage, fetch: Callable[[Study], None] | None = None
) -> tuple[Worker, StringIO]:
    log = StringIO()
    segmenter = Segmenter.from_model(threads=1, background=True)
    return Worker(config, storage, segmenter, Counters(), Log(log), fetch), log


def test_stopped_study_stays_and_the_attempt_does_not_count(
    config: Config, storage: Storage
) -> None:
    """The signal comes while the archive is asked for an ECG, as often as attempts are allowed."""
    queue = Queue(storage)
    for _ in range(config.study.attempts + 1):
        stop = threading.Event()
        worker, log = work(config, storage, lambda _, stop=stop: stop.set())
        worker.run(stop)
        assert "study_broken_off" in log.getvalue()
        (study,) = queue.complete(0)
        assert study.attempts == 0
    assert not list((storage.root / "work").iterdir())
    worker, _ = work(config, storage)
    assert worker.step()
    assert queue.counts() == {"open": 0, "done": 1, "failed": 0}


def test_study_that_takes_too_long_fails_with_a_reason(config: Config, storage: Storage) -> None:
    short = replace(config, study=replace(config.study, timeout_s=0.001))
    worker, log = work(short, storage)
    assert worker.step()
    assert not worker.step()
    (row,) = Queue(storage).listing(5)
    assert row["state"] == "failed"
    assert "study.timeout_s" in row["why"]
    assert "study_failed" in log.getvalue()
    assert not list((storage.root / "work").iterdir())


def test_faults_of_the_machine_pass(
    config: Config, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for longer than attempts are allowed fails no study."""
    queue, waits = Queue(storage), []

    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full", "Make room")

    worker, log = work(config, storage)
    with monkeypatch.context() as patch:
        patch.setattr("scarseg_infer.node.work.write_all", full)
        for _ in range(config.study.attempts + 2):
            assert worker.step()
            assert not worker.step()  # postponed
            waits.append(json.loads(log.getvalue().splitlines()[-1])["seconds"])
            queue.after_restart()  # does not wait for that
            time.sleep(0.15)
    assert waits == [30, 60, 120, 240]
    assert worker.step()
    assert queue.counts() == {"open": 0, "done": 1, "failed": 0}


def test_rest_of_a_forgotten_study_fails_with_a_reason(
    config: Config, storage: Storage, node_factory: ModuleType
) -> None:
    worker, _ = work(config, storage)
    assert worker.step()
    files = [path.read_bytes() for path in (storage.root / "objects").glob("*/*")]
    assert forget(storage, 0) == 1
    for data, state in ((files[0], "failed"), *((file, "done") for file in files[1:])):
        arrival = arrival_in_file(data)
        assert arrival is not None
        Queue(storage).add(arrival)
        if data in (files[0], files[-1]):
            time.sleep(0.15)
            assert worker.step()
            (row,) = Queue(storage).listing(5)
            assert (row["state"], row["revision"]) == (state, 1)
            assert ("send the whole study" in row["why"]) is (state == "failed")


def test_archive_that_does_not_answer_is_no_failed_attempt(
    config: Config, storage: Storage
) -> None:
    """The process ends while the archive is still being asked."""
    asked, over = threading.Event(), threading.Event()

    def fetch(_: Study) -> None:
        asked.set()
        over.wait(30)

    worker, _ = work(config, storage, fetch)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    assert asked.wait(30)
    stop.set()
    worker.abandon()
    (study,) = Queue(storage).complete(0)
    assert study.attempts == 0
    over.set()
    thread.join(30)


def test_ecg_of_the_study_itself_is_waited_for(
    config: Config, storage: Storage, node_factory: ModuleType, ecg_factory: ModuleType
) -> None:
    """An archive's objects make the study grow: it is processed once, when quiet again."""
    queue = Queue(storage)
    (image,) = {study.id for study in queue.complete(0)}
    ecg = node_factory.demo_ecg(ecg_factory, "SECRET-ID-4711", "20240301103000")
    ecg.StudyInstanceUID = storage.rows("SELECT uid FROM studies")[0]["uid"]
    arrival = arrival_in_file(node_factory.encoded(ecg))
    assert arrival is not None
    runs: list[str] = []

    def fetch(study: Study) -> None:
        runs.append(queue.add(arrival))

    worker, log = work(config, storage, fetch)
    assert worker.step()
    assert "study_grew" in log.getvalue()
    assert "study_done" not in log.getvalue()
    time.sleep(0.15)
    assert worker.step()
    assert log.getvalue().count("study_done") == 1
    assert runs == ["new", "known"]
    assert queue.counts() == {"open": 0, "done": 1, "failed": 0}
    assert image == queue.number(str(arrival.study_uid))


def test_time_limit_holds_for_all_ecgs_together(
    config: Config, storage: Storage, node_factory: ModuleType, ecg_factory: ModuleType
) -> None:
    (study,) = Queue(storage).complete(0)
    for number in range(4):
        ecg = node_factory.demo_ecg(ecg_factory, study.patient, f"2024030110300{number}")
        arrival = arrival_in_file(node_factory.encoded(ecg))
        assert arrival is not None
        Queue(storage).add(arrival)
    given: list[float] = []

    class Unfit:
        def run(self, stack: LgeStack, record: object, *, cancel: object, timeout_s: float) -> None:
            given.append(timeout_s)
            time.sleep(3.0)
            raise EcgError("not fit")

    short = replace(config, study=replace(config.study, timeout_s=5.0))
    log = StringIO()
    worker = Worker(short, storage, Unfit(), Counters(), Log(log))  # type: ignore[arg-type]
    assert worker.step()
    assert "study.timeout_s" in log.getvalue()
    assert len(given) == 2 and given[1] < 2.0


@pytest.mark.serial
def test_node_stops_at_once_and_goes_on_later(node_factory: ModuleType, tmp_path: Path) -> None:
    """SIGTERM amid a backlog: an orderly exit, nothing tried in vain, all done after a restart."""
    node = node_factory.make_node(tmp_path, study="quiet_s = 2")
    node.start()
    count = 5
    images: list[Any] = []
    for number in range(count):
        images += node_factory.demo_study(f"BACKLOG-{number}")
    try:
        assert set(node_factory.send(node.port, images)) == {0}
        node_factory.wait_for(lambda: node.events("study_done"))
        start = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - start < 10
        left = node.rows("SELECT attempts FROM studies WHERE state = 'open'")
        assert left, "there was time for all: send more studies"
        assert set(left) == {(0,)}
        node.start()
        node_factory.wait_for(lambda: len(node.events("study_done")) == count)
        assert node.stop() == 0
    finally:
        node.kill()


def test_a_thread_of_a_connection_does_not_keep_the_node_from_ending() -> None:
    """Those of pynetdicom that read a connection are no daemons."""
    script = (
        "import threading, scarseg_infer.node.main as node\n"
        "node.main = lambda: threading.Thread(target=threading.Event().wait).start() or 3\n"
        "print('said'); node.run()"
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True)
    assert (done.returncode, done.stdout) == (3, b"said\n")
    closed = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, script]
    assert subprocess.run(closed, timeout=60, check=False).returncode == 3
