"""Log and status page tell which way a peer failed, in words of ours."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace
from pydicom.uid import SegmentationStorage
from pynetdicom import AE

from scarseg_infer.node.config import Config, read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom import client
from scarseg_infer.node.dicom.client import Client, NoAssociationError
from scarseg_infer.node.dicom.query import EcgQuery
from scarseg_infer.node.http.api import arrival_in_file
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage

Entity = Callable[..., Any]


@pytest.fixture
def entity(node_factory: ModuleType) -> Iterator[Entity]:
    """Starts a DICOM peer with some of the rules that real ones have; returns its port."""
    started: list[AE] = []

    def start(**rules: Any) -> int:
        (port,) = node_factory.free_ports(1)
        ae = AE(ae_title="ARCHIVE")
        for name, value in rules.items():
            setattr(ae, name, value)
        if not ae.supported_contexts:
            ae.add_supported_context(SegmentationStorage)
        ae.start_server(("127.0.0.1", port), block=False)
        started.append(ae)
        return int(port)

    yield start
    for ae in started:
        ae.shutdown()


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port that answers the first thing it hears with these bytes, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            caller, _ = server.accept()
            with caller:
                caller.recv(1 << 16)
                caller.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(10)


@pytest.fixture
def config(node_factory: ModuleType, tmp_path: Path) -> Config:
    node_factory.make_node(
        tmp_path,
        [node_factory.peer_table(104)],
        ecg_query='ae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = 104',
    )
    return read_config(tmp_path / "node.toml")


def why(config: Config, **changed: Any) -> str:
    peer = replace(config.peers[0], **changed)
    with pytest.raises(NoAssociationError) as caught:
        Client(config, peer).associate([SegmentationStorage])
    return str(caught.value)


@pytest.mark.parametrize("host", ["archive.invalid", "a..b", "x" * 70])
def test_name_that_nobody_knows(config: Config, host: str) -> None:
    assert why(config, host=host) == "host name not known"


def test_nobody_listens(config: Config, node_factory: ModuleType) -> None:
    assert why(config, port=node_factory.free_ports(1)[0]) == "not reachable"


def test_connection_that_is_never_accepted(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a firewall that drops packets: a queue for connections that is full."""
    monkeypatch.setattr(client, "CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        assert why(config, port=full.getsockname()[1]) == "not reachable"
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"require_called_aet": True, "ae_title": "ELSEWHERE"}, "called AE title not recognised"),
        ({"require_calling_aet": ["ELSEWHERE"]}, "calling AE title not recognised"),
        ({"_maximum_associations": 0}, "rejected for now"),
    ],
)
def test_what_an_archive_says(
    config: Config, entity: Entity, rules: dict[str, Any], told: str
) -> None:
    assert why(config, port=entity(**rules)) == told


def test_archive_that_takes_none_of_the_classes(config: Config, entity: Entity) -> None:
    other = AE()
    other.add_supported_context("1.2.840.10008.1.1")
    port = entity(supported_contexts=other.supported_contexts)
    assert why(config, port=port) == "no class accepted"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"\3\0\0\0\0\4\0\1\1\1", "rejected"),
        (b"\3\0\0\0\0\4\0\2\3\1", "rejected for now"),
        (b"\7\0\0\0\0\4\0\0\0\0", "no answer to the request for an association"),
        (b"", "no answer to the request for an association"),
        (b"HTTP/1.1 400 SECRET\r\n\r\n", "no answer to the request for an association"),
    ],
    ids=["for good", "congestion", "abort", "closes", "no DICOM"],
)
def test_what_other_peers_answer(config: Config, answer: bytes, told: str) -> None:
    with answering(answer) as port:
        assert why(config, port=port) == told


def test_query_says_so_too(config: Config, entity: Entity, node_factory: ModuleType) -> None:
    port = entity(require_calling_aet=["ELSEWHERE"])
    assert config.ecg_query
    source = replace(config.ecg_query, port=port)
    queue, counters, log = Queue(Storage(config.node.data)), Counters(), StringIO()
    arrival = arrival_in_file(node_factory.encoded(node_factory.demo_study("ASKED")[0]))
    assert arrival is not None
    queue.add(arrival)
    query = EcgQuery(config, source, queue, counters, Log(log), lambda _: True, threading.Event())
    query.fetch(queue.complete(0)[0])
    (event,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert event["outcome"] == "calling AE title not recognised"


def test_log_and_page_of_a_node_say_it(
    entity: Entity, node_factory: ModuleType, tmp_path: Path
) -> None:
    port = entity(require_calling_aet=["ELSEWHERE"])
    node = node_factory.make_node(
        tmp_path, [node_factory.peer_table(port)], study=node_factory.SOON_QUIET
    )
    node.start()
    try:
        assert set(node_factory.send(node.port, node_factory.demo_study())) == {0}
        event = node_factory.wait_for(lambda: node.events("send_postponed"))[0]
        assert event["reason"] == "calling AE title not recognised"
        assert event["objects"] == 2
        node_factory.wait_for(lambda: "calling AE title not recognised" in node.get("/")[1])
    finally:
        node.kill()
