"""Kills, peers that are down, and studies that take the process with them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace
from pydicom.uid import SegmentationStorage
from pynetdicom import AE, evt

from scarseg_infer import Segmenter
from scarseg_infer.node.config import read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.storage import Storage
from scarseg_infer.node.work import Worker

SOAK = Path(__file__).resolve().parents[2] / "bench" / "node_soak.py"


@pytest.fixture(scope="module")
def node_soak(node_factory: ModuleType, ecg_factory: ModuleType) -> ModuleType:
    """The module of the long runs; see its text for how to run more of this."""
    spec = importlib.util.spec_from_file_location("node_soak", SOAK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_kills_at_random_points(node_soak: ModuleType, tmp_path: Path) -> None:
    report = node_soak.kill_loop(tmp_path, kills=5, studies=2, seed=3, longest_s=1.0)
    assert report["broken"] == []
    assert report["restarts"] >= 1
    assert report["acknowledged"] == 2 * 10 + 1
    # One SEG and one SR of each study, whatever the node itself counts.
    assert report["objects_at_peer"] == report["objects_expected_at_peer"] == 2 * 2
    assert report["revisions"] == {1: 2}


def told_why(node: Any) -> dict[str, str | None]:
    """Reasons that were in the way of the SEG of study 1, by peer."""
    deliveries = json.loads(node.get("/studies/1")[1])["deliveries"]
    return {found["peer"]: found["why"] for found in deliveries if found["name"] == "seg"}


def test_peer_that_takes_no_reports(node_factory: ModuleType, tmp_path: Path) -> None:
    """The log says of which study it did not take what."""
    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(SegmentationStorage)
    (port,) = node_factory.free_ports(1)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)]
    )
    node = node_factory.make_node(
        tmp_path, [node_factory.peer_table(port)], study=node_factory.SOON_QUIET
    )
    node.start()
    try:
        assert set(node_factory.send(node.port, node_factory.demo_study())) == {0}
        event = node_factory.wait_for(lambda: node.events("send_postponed"))[0]
        assert event["reason"] == "class not accepted"
        assert (event["study"], event["object"]) == (1, "sr")
    finally:
        node.kill()
        server.shutdown()


def test_peer_that_is_down_for_a_while(node_factory: ModuleType, tmp_path: Path) -> None:
    """First nobody listens, then the peer is out of space, then it takes the objects: once. A
    second peer is not held up by the first."""
    down, up = (node_factory.Archive(port) for port in node_factory.free_ports(2))
    peers = [node_factory.peer_table(down.port), node_factory.peer_table(up.port, "OTHER")]
    node = node_factory.make_node(tmp_path, [*peers], api=True, study=node_factory.SOON_QUIET)
    up.start()
    node.start()
    try:
        assert set(node_factory.send(node.port, node_factory.demo_study())) == {0}
        node_factory.wait_for(lambda: len(up.objects) == 2)
        node_factory.wait_for(lambda: node.events("send_postponed"))
        down.status = 0xA700
        down.start()
        full = node_factory.wait_for(  # in any order: the first may have been tried before it came
            lambda: (
                (
                    found := {
                        (e["study"], e["object"], e["objects"])
                        for e in node.events("send_postponed")
                        if e["reason"] == "status 0xA700"
                    }
                )
                and len(found) > 1
                and found
            )
        )
        assert full == {(1, "seg", 1), (1, "sr", 1)}
        node_factory.wait_for(lambda: told_why(node) == {"archive": "status 0xA700", "other": None})
        assert node.metric('deliveries{peer="archive",state="pending"}') == 2
        page = node.get("/")[1]
        assert "Objects to be sent: 2" in page and "status 0xA700" in page
        node.kill()  # what waits is still there after a restart
        node_factory.wait_for(down.answered)
        down.status = 0
        node.start()
        node_factory.wait_for(lambda: len(down.objects) == 2)
        assert {o.SOPInstanceUID for o in down.objects} == {o.SOPInstanceUID for o in up.objects}
        node_factory.wait_for(lambda: node.metric('deliveries{peer="archive",state="sent"}') == 2)
        assert len(up.objects) == len(down.objects) == 2
        assert told_why(node) == {"archive": None, "other": None}
        events = node_factory.wait_for(lambda: (e := node.events("sent"))[3:] and e)
        sent = sorted((e["peer"], e["study"], e["object"]) for e in events)
        assert sent == [(peer, 1, name) for peer in ("archive", "other") for name in ("seg", "sr")]
        second = subprocess.run(
            [sys.executable, "-m", "scarseg_infer.node.main", tmp_path / "node.toml"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert second.returncode == 2
        assert "another node" in second.stderr
    finally:
        node.kill()
        down.stop()
        up.stop()


def test_only_the_newest_result_reaches_a_peer_that_was_down(
    node_factory: ModuleType, ecg_factory: ModuleType, tmp_path: Path
) -> None:
    """A late ECG makes the study anew while nobody takes the first result."""
    archive = node_factory.Archive(*node_factory.free_ports(1))
    node = node_factory.make_node(
        tmp_path, [node_factory.peer_table(archive.port)], study=node_factory.SOON_QUIET
    )
    node.start()
    try:
        study = node_factory.demo_study("LATE-ECG")
        assert set(node_factory.send(node.port, study)) == {0}
        node_factory.wait_for(lambda: node.events("send_postponed"))
        ecg = node_factory.demo_ecg(ecg_factory, "LATE-ECG")
        assert node_factory.send(node.port, [ecg]) == [0]
        node_factory.wait_for(lambda: len(node.events("study_done")) == 2)
        assert [event["ecg"] for event in node.events("study_done")] == [False, True]
        assert node.metric('deliveries{peer="archive",state="superseded"}') == 2
        archive.start()
        node_factory.wait_for(lambda: node.metric('deliveries{peer="archive",state="sent"}') == 2)
        node.kill()
        node.start()  # opens nothing again
        assert node.metric('deliveries{peer="archive",state="pending"}') == 0
        wanted = {uid for (uid,) in node.rows("SELECT sop_uid FROM results WHERE revision = 2")}
        assert {str(item.SOPInstanceUID) for item in archive.objects} == wanted
        archive.stop()
    finally:
        node.kill()


def test_peer_removed_from_the_configuration(node_factory: ModuleType, tmp_path: Path) -> None:
    """Objects that wait for it are closed at the next start; with keep_days = 0 the study goes."""
    (port,) = node_factory.free_ports(1)
    node = node_factory.make_node(
        tmp_path, [node_factory.peer_table(port)], study="quiet_s = 0.2\nkeep_days = 0"
    )
    node.start()
    try:
        assert set(node_factory.send(node.port, node_factory.demo_study())) == {0}
        node_factory.wait_for(lambda: node.events("send_postponed"))
        node.kill()
        file = tmp_path / "node.toml"
        file.write_text(file.read_text().partition("[[peers]]")[0])
        node.start()
        (event,) = node_factory.wait_for(lambda: node.events("deliveries_removed"))
        assert (event["peer"], event["objects"]) == ("archive", 2)
        (told,) = node.events("configuration_warning")
        assert "nobody gets the results" in told["reason"]
        assert node.metric('deliveries_removed_total{peer="archive"}') == 2
        data = tmp_path / "data"
        node_factory.wait_for(lambda: not list((data / "objects").iterdir()))
        node_factory.wait_for(lambda: not list((data / "results").iterdir()))
        assert node.rows("SELECT * FROM deliveries") == []
    finally:
        node.kill()


def test_study_that_breaks_the_process_is_given_up(
    node_factory: ModuleType, tmp_path: Path
) -> None:
    """A study at which the process died as often as allowed is not tried once more."""
    node_factory.make_node(tmp_path, study="quiet_s = 0.1\nattempts = 3")
    config = read_config(tmp_path / "node.toml")
    storage, log = Storage(config.node.data), StringIO()
    queue = Queue(storage)
    queue.add(Arrival("1.1", "1.2", "image", "p", "", "", b"data", 0))
    segmenter = Segmenter.from_model(threads=1, background=True)
    longer = replace(config, study=replace(config.study, quiet_s=3600))
    assert not Worker(longer, storage, segmenter, Counters(), Log(log)).step()  # not yet quiet
    worker = Worker(config, storage, segmenter, Counters(), Log(log))
    time.sleep(0.15)
    for _ in range(3):
        (study,) = queue.complete(0.1)
        queue.begin(study)  # and then the process is gone
    assert worker.step()
    assert not worker.step()
    assert queue.counts() == {"open": 0, "done": 0, "failed": 1}
    assert "study_failed" in log.getvalue()


def test_what_is_no_dicom_image_fails_with_a_reason(
    node_factory: ModuleType, tmp_path: Path
) -> None:
    node_factory.make_node(tmp_path, study="quiet_s = 0.1")
    config = read_config(tmp_path / "node.toml")
    storage = Storage(config.node.data)
    queue = Queue(storage)
    queue.add(Arrival("1.1", "1.2", "image", "p", "", "", b"data", 0))
    time.sleep(0.15)
    segmenter = Segmenter.from_model(threads=1, background=True)
    assert Worker(config, storage, segmenter, Counters(), Log(StringIO())).step()
    (row,) = queue.listing(5)
    assert row["state"] == "failed"
    assert row["why"]
    assert not list((storage.root / "work").iterdir())
