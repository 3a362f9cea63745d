"""Limits on time, and on what waits: one connection by itself, over a pair of sockets."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from ismrmrd import ProtocolDeserializer, ProtocolSerializer

from scarseg_infer.demo import DEMO_ECG

Start = Callable[..., tuple[socket.socket, Any]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes a client's socket and the server's connection, with limits."""
    from scarseg_infer.mrd.connection import Connection, Limits

    opened: list[Any] = []

    def make(stop: threading.Event | None = None, **limits: Any) -> tuple[socket.socket, Any]:
        ours, theirs = socket.socketpair()
        connection = Connection(theirs, Limits(**limits), stop or threading.Event())
        opened.extend((ours, connection))
        return ours, connection

    yield make
    for one in opened:
        one.close()


def refusal(act: Callable[[], Any]) -> str:
    from scarseg_infer.mrd.messages import StreamError

    with pytest.raises(StreamError) as caught:
        act()
    return str(caught.value.what)


def test_silence(start: Start) -> None:
    client, connection = start(idle_s=0.3)
    client.sendall(b"\x05")
    assert refusal(connection.read) == "the client has sent nothing for too long"


def test_a_client_that_sends_byte_by_byte(start: Start) -> None:
    """Never silent, and never done."""
    client, connection = start(idle_s=5, session_s=0.5)
    client.sendall(b"\x05\0\xff\0\0\0")
    drip = threading.Event()

    def send() -> None:
        while not drip.wait(0.05):
            try:
                client.sendall(b"x")
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    assert refusal(connection.read) == "the session took too long"
    drip.set()
    sender.join()


def test_a_client_that_takes_nothing(start: Start) -> None:
    """Messages that wait for it are bounded, and so is the time."""
    _, connection = start(idle_s=0.5, session_bytes=1 << 20)
    held = 0

    def fill() -> None:
        nonlocal held
        for _ in range(100):
            connection.put(bytes(256 << 10))
            held += 256 << 10

    assert refusal(fill) == "the client does not take what is sent back"
    assert held < 10 << 20


def test_a_client_that_is_gone(start: Start) -> None:
    client, connection = start()
    client.close()
    assert refusal(connection.read) == "the connection ended before the session did"
    connection.put(bytes(1 << 20))
    assert refusal(connection.finish) == "the client is gone"


def test_stopping_ends_reading_and_waiting(start: Start) -> None:
    stop = threading.Event()
    _, connection = start(stop)
    threading.Timer(0.2, stop.set).start()
    assert refusal(connection.read) == "the server stops"
    assert refusal(lambda: connection.put(b"x")) == "the server stops"


def test_everything_arrives_in_order(start: Start) -> None:
    client, connection = start(session_bytes=4 << 20)
    sent = [bytes([number]) * (number * 4001) for number in range(100)]
    received = bytearray()

    def read() -> None:
        while data := client.recv(1 << 16):
            received.extend(data)
        client.close()

    reader = threading.Thread(target=read)
    reader.start()
    for message in sent:
        connection.put(message)
    connection.finish()
    reader.join()
    assert bytes(received) == b"".join(sent)


def session(
    start: Start, images: list[Any], head: Any = None, **shared: Any
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Answer of a session of its own, and its log."""
    from scarseg_infer.mrd.connection import Limits
    from scarseg_infer.mrd.ecg import EcgShelf
    from scarseg_infer.mrd.segmenters import Segmenters
    from scarseg_infer.mrd.session import Session, Shared
    from scarseg_infer.node.log import Log

    log, stop = io.StringIO(), threading.Event()
    given = {"shelf": EcgShelf(), "limits": Limits(), "log": Log(log), "stop": stop} | shared
    client, connection = start(stop)
    served = Session(1, connection, Shared(Segmenters(provider="cpu", threads=1), **given))
    thread = threading.Thread(target=served.run)
    thread.start()
    with client.makefile("wb") as out, ProtocolSerializer(out) as serializer:
        for item in (head, *images):
            if item is not None:
                serializer.serialize(item)
    with client.makefile("rb") as stream:
        items = list(ProtocolDeserializer(stream).deserialize())
    client.close()
    thread.join()
    return items, [json.loads(line) for line in log.getvalue().splitlines()]


def test_a_run_that_takes_too_long(start: Start, mrd_factory: ModuleType) -> None:
    """Images are sent back, and the reason why there is no result."""
    from scarseg_infer.mrd.connection import Limits

    images = mrd_factory.twin_images(name="LGE")
    items, events = session(start, images, limits=Limits(run_s=0.001))
    assert len(items) == 11
    assert "no result" in items[-1]
    said = [event["event"] for event in events]
    assert said == ["session_started", "session_failed", "session_ended"]


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_an_ecg_that_cannot_be_used(
    start: Start, mrd_factory: ModuleType, tmp_path: Path, named: bool
) -> None:
    """Found by the patient's identifier it costs a warning; named, it costs the result."""
    from scarseg_infer.mrd.ecg import EcgShelf

    ecg = pydicom.dcmread(DEMO_ECG.with_suffix(".dcm"))
    group = ecg.WaveformSequence[0]
    group.WaveformData = bytes(len(group.WaveformData))
    ecg.save_as(tmp_path / "flat.dcm")
    shelf = EcgShelf(tmp_path / "flat.dcm" if named else tmp_path)
    images = mrd_factory.twin_images(name="LGE")[3:7]
    items, events = session(start, images, mrd_factory.header(), shelf=shelf)
    said = [event["event"] for event in events]
    if named:
        assert "session_failed" in said
        assert "no result: " in items[-1]
    else:
        assert "session_done" in said
        assert "An ECG of the patient was found and not used: " in items[-1]
    assert "TWIN" not in items[-1] and "TWIN" not in str(events)
