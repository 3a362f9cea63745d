"""A signal to stop does not wait for a study, and no study holds the others up for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest

from scarseg_infer import Segmenter
from scarseg_infer.node.config import Config, read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue import Queue, Study
from scarseg_infer.node.receive import arrival_of
from scarseg_infer.node.storage import Storage
from scarseg_infer.node.work import Worker


@pytest.fixture
def config(node_factory: ModuleType, tmp_path: Path) -> Config:
    node_factory.make_node(tmp_path, study="quiet_s = 0.1\nattempts = 2")
    found: Config = read_config(tmp_path / "node.toml")
    return found


@pytest.fixture
def storage(config: Config, node_factory: ModuleType) -> Storage:
    """One in which the demo study waits to be processed."""
    found = Storage(config.data)
    for dataset in node_factory.demo_study():
        data = node_factory.encoded(dataset)
        header = pydicom.dcmread(BytesIO(data))
        announced = (str(header.SOPClassUID), str(header.SOPInstanceUID))
        arrival = arrival_of(header, data, announced)
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
