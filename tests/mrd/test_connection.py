"""Limits on time, and on what waits: one connection by itself, over a pair of sockets."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from ismrmrd import ProtocolDeserializer, ProtocolSerializer

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
    """What waits for it is bounded, and so is the time it waits."""
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


def test_a_run_that_takes_too_long(start: Start, mrd_factory: ModuleType) -> None:
    """What came is sent back, and the reason why there is no result."""
    from scarseg_infer.mrd.connection import Limits
    from scarseg_infer.mrd.ecg import EcgShelf
    from scarseg_infer.mrd.segmenters import Segmenters
    from scarseg_infer.mrd.session import Session, Shared
    from scarseg_infer.node.log import Log

    log = io.StringIO()
    limits = Limits(run_s=0.001)
    stop = threading.Event()
    shared = Shared(Segmenters(provider="cpu", threads=1), EcgShelf(None), limits, Log(log), stop)
    client, connection = start(stop)
    session = threading.Thread(target=Session(1, connection, shared).run)
    session.start()
    with client.makefile("wb") as out, ProtocolSerializer(out) as serializer:
        for image in mrd_factory.twin_images(name="LGE"):
            serializer.serialize(image)
    with client.makefile("rb") as stream:
        items = list(ProtocolDeserializer(stream).deserialize())
    client.close()
    session.join()
    assert len(items) == 11
    assert "no result" in items[-1]
    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events == ["session_started", "session_failed", "session_ended"]
