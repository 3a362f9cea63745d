"""The node and DICOMweb: a real Orthanc at the other end, and servers that answer oddly."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from scarseg_infer.dicomweb import errors
from scarseg_infer.node import ecg_fetcher
from scarseg_infer.node.config import Config, read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicomweb.query import WebEcgQuery
from scarseg_infer.node.dicomweb.send import WebSender
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import SENT, Outbox
from scarseg_infer.node.queue.received import Arrival, Queue, Study
from scarseg_infer.node.queue.storage import Storage
from scarseg_runtime.errors import CancelledError, UsageError

JSON = "application/dicom+json"
PATIENT = "SECRET-ID-4711"


def table(url: str, *lines: str) -> str:
    return "\n".join(['name = "web"', f'url = "{url}"', *lines])


@pytest.fixture(scope="module")
def proxy(
    web_peers: ModuleType, orthanc_web: Any, free_ports: Callable[[int], list[int]]
) -> Iterator[Any]:
    found = web_peers.Proxy(*free_ports(1), orthanc_web.port)
    yield found
    found.close()


@pytest.fixture(scope="module")
def web_node(
    node_factory: ModuleType, orthanc_web: Any, proxy: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:  # fmt: skip
    """A node whose only peer is Orthanc's DICOMweb, behind a proxy that a test may let cut."""
    server = table(
        f"http://127.0.0.1:{proxy.port}/dicom-web", f'login_file = "{orthanc_web.login_file}"',
        'ecgs = "missing"',
    )  # fmt: skip
    node = node_factory.make_node(
        tmp_path_factory.mktemp("web-node"), servers=[server], study=node_factory.SOON_QUIET
    )
    node.start()
    yield node
    node.kill()


def results_of(orthanc: Any, study: list[pydicom.Dataset]) -> set[str]:
    """UIDs of the results in the archive."""
    uid = str(study[0].StudyInstanceUID)
    found = [
        one["MainDicomTags"]["SOPInstanceUID"]
        for modality in ("SEG", "SR")
        for one in orthanc.find("Instance", StudyInstanceUID=uid, Modality=modality)
    ]
    assert len(set(found)) == len(found)
    return set(found)


def made(node: Any, study: list[pydicom.Dataset]) -> set[str]:
    uid = str(study[0].StudyInstanceUID)
    query = f"SELECT sop_uid FROM results JOIN studies ON id = study WHERE uid = '{uid}'"
    return {sop_uid for (sop_uid,) in node.rows(query)}


def test_ecg_comes_from_orthanc_and_results_go_there(
    node_factory: ModuleType, ecg_factory: ModuleType, orthanc_web: Any, web_node: Any
) -> None:
    ecgs = [
        node_factory.demo_ecg(ecg_factory, patient, f"{day}103000")
        for patient, day in ((PATIENT, "20230101"), (PATIENT, "20240301"), ("SECRET-9", "20240302"))
    ]
    for ecg in ecgs:
        ecg.StudyDate, ecg.SeriesInstanceUID = ecg.AcquisitionDateTime[:8], generate_uid()
        orthanc_web.upload(node_factory.encoded(ecg))
    study = node_factory.demo_study(PATIENT)
    assert set(node_factory.send(web_node.port, study)) == {0}
    node_factory.wait_for(lambda: len(results_of(orthanc_web, study)) == 2)
    assert results_of(orthanc_web, study) == made(web_node, study)
    # The archive may have the results before the node has said so.
    (done,) = node_factory.wait_for(lambda: web_node.events("study_done"))
    assert done["ecg"] is True
    assert [event["outcome"] for event in web_node.events("ecg_query")] == ["found"]
    fetched = web_node.rows("SELECT sop_uid FROM objects WHERE kind = 'ecg'")
    assert fetched == [(str(ecgs[1].SOPInstanceUID),)]
    node_factory.wait_for(lambda: len(web_node.events("sent")) == 2)
    told = web_node.log.read_text() + web_node.get("/")[1] + web_node.get("/metrics")[1]
    for secret in ("SECRET", str(study[0].StudyInstanceUID), str(orthanc_web.port), "scar:seg"):
        assert secret not in told


def test_killed_while_storing_and_an_archive_that_was_down(
    node_factory: ModuleType, orthanc_web: Any, proxy: Any, web_node: Any
) -> None:
    """Orthanc has stored an object, and its answer never came: the same UIDs go out again."""
    study = node_factory.demo_study("KILLED-1")
    sent = len(web_node.events("sent"))
    proxy.limit = 400  # enough for each answer about ECGs, of which there are none
    proxy.held.clear()
    assert set(node_factory.send(web_node.port, study)) == {0}
    assert proxy.held.wait(60), "no answer to STOW-RS was cut"
    proxy.limit = 0
    node_factory.wait_for(lambda: results_of(orthanc_web, study))
    assert proxy.silent.wait(60), "no answer was held back"
    before = made(web_node, study)
    web_node.kill()
    assert results_of(orthanc_web, study) <= before
    orthanc_web.stop()
    web_node.start()
    proxy.limit = 1 << 40
    postponed = len(web_node.events("send_postponed"))
    node_factory.wait_for(lambda: len(web_node.events("send_postponed")) > postponed)
    assert web_node.events("send_postponed")[-1]["reason"] in (
        errors.CUT_SHORT, errors.NOT_REACHABLE,
    )  # fmt: skip
    orthanc_web.start()
    node_factory.wait_for(lambda: results_of(orthanc_web, study) == before)
    node_factory.wait_for(lambda: web_node.metric('deliveries{peer="web",state="pending"}') == 0)
    assert made(web_node, study) == before
    node_factory.wait_for(lambda: len(web_node.events("sent")) >= sent + 2)
    assert len(web_node.events("sent")) == sent + 2


def test_a_token_is_changed_while_the_node_runs(
    node_factory: ModuleType, orthanc_token: Any, tmp_path: Path
) -> None:
    """At a real archive: results wait while it refuses the old token, and go out with the new."""
    token = tmp_path / "token"
    token.write_text(orthanc_token.accepted.read_text())
    server = table(orthanc_token.url, f'token_file = "{token}"', 'ecgs = "missing"')
    node = node_factory.make_node(
        tmp_path / "node", servers=[server], study=node_factory.SOON_QUIET
    )
    node.start()
    try:
        first, second = (node_factory.demo_study(patient) for patient in ("TOKEN-1", "TOKEN-2"))
        assert set(node_factory.send(node.port, first)) == {0}
        node_factory.wait_for(lambda: len(results_of(orthanc_token, first)) == 2)
        orthanc_token.accepted.write_text("t0ken-2")
        assert set(node_factory.send(node.port, second)) == {0}
        refused = node_factory.wait_for(lambda: node.events("send_postponed"))
        assert {event["reason"] for event in refused} == {"status 403"}
        assert results_of(orthanc_token, second) == set()
        new = tmp_path / "new"
        new.write_text("t0ken-2")
        new.replace(token)
        node_factory.wait_for(lambda: len(results_of(orthanc_token, second)) == 2)
        assert results_of(orthanc_token, second) == made(node, second)
        assert "t0ken" not in node.log.read_text()
        assert node.stop() == 0
    finally:
        node.kill()


@pytest.fixture
def configured(node_factory: ModuleType, tmp_path: Path) -> Callable[..., Config]:
    """Configuration of a node with one server."""

    def make(url: str, *lines: str) -> Config:
        send = "retry_s = 0.1\nretry_max_s = 0.1"
        node_factory.make_node(tmp_path, servers=[table(url, *lines)], send=send)
        return read_config(tmp_path / "node.toml")

    return make


def test_a_result_is_sent_until_the_server_says_that_it_has_it(
    web_server: Callable[..., Any], web_peers: ModuleType, configured: Callable[..., Config],
    storage: Storage, publish: Callable[..., bool], arrival: Callable[..., Arrival],
    tmp_path: Path,
) -> None:  # fmt: skip
    """Whatever it says before, the same bytes come again; a new token counts without a restart."""
    token = tmp_path / "token"
    token.write_text("old")
    confirmed = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["9.1"]}}]}}
    good = web_peers.answer("200 OK", json.dumps(confirmed).encode(), JSON)
    answers = [
        good[:-30], web_peers.answer("200 OK", b"<html>", "text/html"), b"",
        web_peers.answer("302 Found", b"", "", "Location: http://127.0.0.1:9/"), good,
    ]  # fmt: skip

    def script(asked: Any) -> list[bytes]:
        if asked.header("Authorization") != "Bearer new":
            token.write_text("new")
            return [web_peers.answer("401 Unauthorized")]
        return [answers.pop(0)]

    server = web_server(script)
    config = configured(server.url, f'token_file = "{token}"')
    Queue(storage).add(arrival("1.1"))
    assert publish("9.1", peers=("web",))
    said, outbox, stop = StringIO(), Outbox(storage), threading.Event()
    sender = WebSender(config, config.dicomweb[0], outbox, Counters(), Log(said))
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        for _ in range(600):
            if outbox.counts() == {("web", SENT): 1}:
                break
            threading.Event().wait(0.05)
    finally:
        stop.set()
        thread.join(30)
    events = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [event.get("reason") for event in events] == [
        "status 401", errors.CUT_SHORT, errors.NOT_CONFIRMED, errors.CUT_SHORT,
        errors.REDIRECTED, None,
    ]  # fmt: skip
    assert events[-1]["event"] == "sent"
    bodies = [asked.body.partition(b"\r\n\r\n")[2][:3] for asked in server.asked]
    assert bodies == [b"seg"] * 6


@pytest.fixture
def waiting(node_factory: ModuleType, storage: Storage) -> tuple[Queue, Study]:
    """A queue with one image of the patient, which is a complete study."""
    queue = Queue(storage)
    found = node_factory.arrival_in_file(node_factory.encoded(node_factory.demo_study(PATIENT)[0]))
    assert found is not None
    queue.add(found)
    (study,) = queue.complete(0)
    return queue, study


def asked_for_ecg(config: Config, queue: Queue, study: Study, *, room: bool = True,
                  stop: threading.Event | None = None) -> str:  # fmt: skip
    said = StringIO()
    query = WebEcgQuery(
        config, config.dicomweb[0], queue, Counters(), Log(said), lambda _: room,
        stop or threading.Event(),
    )  # fmt: skip
    query.fetch(study)
    assert PATIENT not in said.getvalue()
    return str(json.loads(said.getvalue().splitlines()[-1])["outcome"])


def archive_of(web_peers: ModuleType, files: list[bytes], cut: int = 0) -> Callable[[Any], list]:
    """A server with one study of one series, which does not look at what it is asked."""
    uids = {"0020000D": {"Value": ["1.2"]}, "0020000E": {"Value": ["1.3"]}}
    listed = web_peers.answer("200 OK", json.dumps([uids]).encode(), JSON)
    objects = web_peers.answer("200 OK", web_peers.multipart(files), web_peers.MULTIPART)

    def script(asked: Any) -> list[bytes]:
        is_query = asked.target.partition("?")[0].endswith(("studies", "series"))
        return [listed] if is_query else [objects[: len(objects) - cut]]

    return script


def test_ecgs_of_others_damaged_ones_and_halves_are_not_taken(
    node_factory: ModuleType, ecg_factory: ModuleType, web_server: Callable[..., Any],
    web_peers: ModuleType, configured: Callable[..., Config], waiting: tuple[Queue, Study],
) -> None:  # fmt: skip
    queue, study = waiting
    mine, other = (
        node_factory.encoded(node_factory.demo_ecg(ecg_factory, patient))
        for patient in (PATIENT, "SOMEBODY-ELSE")
    )

    def outcome(files: list[bytes], cut: int = 0, **more: Any) -> str:
        server = web_server(archive_of(web_peers, files, cut))
        return asked_for_ecg(configured(server.url, 'ecgs = "missing"'), queue, study, **more)

    assert outcome([other]) == ecg_fetcher.NONE
    assert outcome([b"garbage", mine[:200]]) == ecg_fetcher.NONE
    assert outcome([mine], cut=len(mine) // 2) == errors.CUT_SHORT
    assert outcome([mine], room=False) == "disk nearly full"
    assert queue.ecgs(study) == []
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(CancelledError):
        outcome([mine], stop=stopped)
    assert outcome([other, mine, other]) == ecg_fetcher.FOUND
    assert [path.read_bytes() for path in queue.ecgs(study)] == [mine]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (['url = "archive/dicom-web"'], "dicomweb[1].url must be an address"),
        (['url = "https://u:p@a/b"'], "dicomweb[1].url must not hold a login"),
        (['url = "http://archive/x"', 'token_file = "token"'], "dicomweb[1]: a token or login"),
        (['url = "https://a"', 'token_file = "none"'], "dicomweb[1]: the token file"),
        (['url = "https://a"', 'ca = "token"'], "dicomweb[1]: the CA file"),
        (['url = "https://a"', 'ecgs = "often"'], "dicomweb[1].ecgs must be one of: never"),
        (['url = "https://a"', "results = false"], "dicomweb[1].results is false"),
        (['url = "https://a"', "timeout_s = 0"], "dicomweb[1].timeout_s must be"),
        (['url = "https://a"', "time_out = 9"], "dicomweb[1].time_out is not known"),
        (['url = "https://a"', "[[dicomweb]]", 'name = "web"', 'url = "https://b"'],
         "dicomweb[2].name is that of another peer"),
        (['url = "https://a"', 'ecgs = "always"', "[ecg_query]", 'ae_title = "A"', 'host = "a"',
          "port = 1"], "dicomweb[1].ecgs asks for ECGs, but another"),
        ([], "dicomweb[1].url is missing"),
    ],
)  # fmt: skip
def test_the_key_that_is_wrong_is_named(
    node_factory: ModuleType, tmp_path: Path, lines: list[str], named: str
) -> None:
    (tmp_path / "token").write_text("t")
    node_factory.make_node(tmp_path, servers=["\n".join(['name = "web"', *lines])])
    with pytest.raises(UsageError) as failure:
        read_config(tmp_path / "node.toml")
    assert str(failure.value).startswith(named)


def test_check_does_what_the_start_does(
    node_factory: ModuleType, tmp_path: Path, configured: Callable[..., Config]
) -> None:
    (tmp_path / "token").write_text("t0ken")
    config = configured("https://archive.example/x", 'token_file = "token"', 'ecgs = "always"')
    assert config.receivers == ["web"] and config.warning is None and "1 peer" in config.summary
    (tmp_path / "token").unlink()
    command = [sys.executable, "-m", "scarseg_infer.node.main"]
    for words in (["--check"], []):
        done = subprocess.run(
            [*command, *words, str(tmp_path / "node.toml")], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "dicomweb[1]: the token file cannot be used" in done.stderr
        assert "t0ken" not in done.stderr
