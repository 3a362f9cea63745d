"""Callers over HTTP who are slow, wrong or not who they should be; and files of results."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest

if not os.environ.get("CI"):  # there what is missing is an error
    pytest.importorskip("pynetdicom")

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.http import handler as http_handler
from scarseg_infer.node.http.api import StudyApi, arrival_in_file
from scarseg_infer.node.http.status import Status, StatusServer
from scarseg_infer.node.queue.outbox import Outbox
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage

ZIP = b"Content-Type: application/zip\r\n"
END_S = 120.0
"""A connection that is still open after so long is kept for good."""
POST = b"POST /studies HTTP/1.1\r\nHost: localhost\r\n"


def talk(port: int, *sent: bytes, pause_s: float = 0.0, end: bool = False) -> tuple[int, bytes]:
    """Send bytes as they are; the status of the answer, 0 for none, and all that came. Fails where
    the other side does not end the connection."""
    with socket.create_connection(("127.0.0.1", port), END_S) as connection:
        for part in sent:
            connection.sendall(part)
            time.sleep(pause_s)
        if end:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    lines = re.findall(rb"^HTTP/1\.1 (\d{3})", received, re.MULTILINE)
    return int(lines[-1]) if lines else 0, received


def error_of(received: bytes) -> str:
    """The sentence in an answer, which says that it is JSON and how long."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    return str(json.loads(body)["error"])


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (POST + ZIP + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (POST + ZIP + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (POST + ZIP + b"\r\n", 411),
        (POST + ZIP + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (POST + ZIP + b"Content-Length: -1\r\n\r\n", 400),
        (POST + ZIP + b"Content-Length: +1\r\n\r\na", 400),
        (POST + ZIP + b"Content-Length: \xb2\r\n\r\na", 400),
        (POST + ZIP + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (POST + ZIP + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na", 415),
        (POST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 9000000, 415),
        (POST + b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\na", 415),
        (b"GET /studies/1 HTTP/1.1\r\n\r\n", 400),
        (b"GET /studies/1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: 192.0.2.7:8104\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403),
        (POST + b"Origin: http://evil.example\r\n\r\n", 403),
        (b"DELETE /studies/1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"BREW /studies HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /studies/1/../../node.toml HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /studies/1/..%2f..%2fnode.toml HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /studies/1/result.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /studies/" + b"1" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /studies/\xd9\xa1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_requests_that_are_refused(node: Any, request_bytes: bytes, code: int) -> None:
    found, received = talk(node.status_port, request_bytes)
    assert found == code
    assert error_of(received)
    assert (b"\r\nAllow: " in received) == (code == 405)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: LOCALHOST:8104\r\n\r\n",
        b"GET /healthz?probe=1 HTTP/1.1\r\nHost: [::1]:1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    ],
)
def test_requests_that_are_answered(node: Any, request_bytes: bytes) -> None:
    assert talk(node.status_port, request_bytes)[0] == 200


def test_body_that_ends_early(node: Any) -> None:
    code, received = talk(node.status_port, POST + ZIP + b"Content-Length: 9\r\n\r\nPK", end=True)
    assert (code, error_of(received)) == (400, "The body ended early.")
    assert not list((node.folder / "data" / "incoming").iterdir())


def test_refused_body_is_not_asked_for(node: Any) -> None:
    expect = b"Expect: 100-continue\r\nContent-Length: "
    assert (
        b"100 Continue"
        not in talk(node.status_port, POST + ZIP + expect + b"9" * 12 + b"\r\n\r\n")[1]
    )
    code, received = talk(node.status_port, POST + ZIP + expect + b"1\r\n\r\n", b"x", pause_s=0.2)
    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 ")
    assert code == 422


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    """Serves the studies of an empty data folder, without anything that processes them: a function
    that starts a server and gives a list, whose one value says for how many bytes the disk has
    room."""
    storage = Storage(tmp_path / "data")
    queue = Queue(storage)
    status = Status(queue, Outbox(storage), Counters(), list, dict)
    room = [1 << 30]
    servers = []

    def start(port: int, address: str = "127.0.0.1") -> list[int]:
        api = StudyApi(storage, queue, lambda more: more <= room[0], 8 << 20)
        servers.append(StatusServer(status, api, address, port))
        return room

    yield start
    for server in servers:
        server.stop()
    storage.close()


def test_slow_callers(
    served: Any, node_factory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_handler, "HEADERS_S", 0.5)
    (port,) = node_factory.free_ports(1)
    served(port)
    # A byte at a time keeps no connection: neither in the headers nor in the body.
    assert talk(port, b"GET / HTTP/1.1\r\nX: ", *[b"y"] * 3, pause_s=0.2)[0] == 0
    body = [POST + ZIP + b"Content-Length: 9\r\n\r\n", *[b"P"] * 3]
    code, received = talk(port, *body, pause_s=0.2)
    assert (code, error_of(received)) == (408, "The body came too slowly.")


@pytest.mark.parametrize("pauses_s", [(0.2,) * 9, (0.0, 3.0)])
def test_a_long_body_must_not_pause(
    served: Any,
    node_factory: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    pauses_s: tuple[float, ...],
) -> None:
    """However much was announced, and however fast the first of it came."""
    monkeypatch.setattr(http_handler, "HEADERS_S", 0.5)
    monkeypatch.setattr(http_handler, "SILENCE_S", 1.0)
    (port,) = node_factory.free_ports(1)
    served(port)
    first = bytes(1 << 20) if len(pauses_s) == 2 else b"P"
    with socket.create_connection(("127.0.0.1", port), END_S) as connection:
        connection.sendall(POST + ZIP + b"Content-Length: 1000000000\r\n\r\n" + first)
        connection.setblocking(True)
        received = b""
        for pause_s in pauses_s:
            time.sleep(pause_s)
            try:
                connection.sendall(b"P")
            except OSError:  # it has been answered and closed
                break
        connection.settimeout(END_S)
        with suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                received += part
    assert received.startswith(b"HTTP/1.1 408 ")


def test_uploads_leave_places_for_monitors(
    served: Any, node_factory: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = node_factory.free_ports(1)
    served(port)
    monkeypatch.setattr(http_handler, "LINGER_S", 0.1)
    head = POST + ZIP + b"Content-Length: 1000000000\r\n\r\n"
    open_ones = {}
    for _ in range(http_handler.CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.sendall(head)
        connection.setblocking(False)
        open_ones[connection] = b""

    def refused() -> list[bytes]:
        for one in open_ones:
            with suppress(BlockingIOError):
                open_ones[one] += one.recv(1 << 16)
        return [answer for answer in open_ones.values() if b"}" in answer]

    wanted = http_handler.CONNECTIONS - http_handler.UPLOADS
    node_factory.wait_for(lambda: len(refused()) == wanted, 8)
    for answer in refused():
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 10\r\n" in answer
    health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    node_factory.wait_for(lambda: talk(port, health)[0] == 200, 10)
    for connection in open_ones:
        connection.close()
    small = POST + ZIP + b"Content-Length: 1\r\n\r\nx"
    node_factory.wait_for(lambda: talk(port, small)[0] == 422)


def test_objects_are_limited_as_those_that_come_by_dicom(
    node_factory: ModuleType, node: Any
) -> None:
    items = node_factory.demo_study("LARGE")
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, item in enumerate(items):
            if item is items[-1]:
                item.add_new(0x00191001, "OB", bytes(9 << 20))
            archive.writestr(f"{number}.dcm", node_factory.encoded(item))
    length = b"Content-Length: %d\r\n\r\n" % len(stream.getvalue())
    code, received = talk(node.status_port, POST + ZIP + length + stream.getvalue())
    assert (code, error_of(received)) == (413, "Objects of at most 8 MB are taken.")
    uid = str(items[0].StudyInstanceUID)
    assert node.rows(f"SELECT COUNT(*) FROM studies WHERE uid = '{uid}'") == [(0,)]


def test_full_disk(served: Any, node_factory: ModuleType, tmp_path: Path) -> None:
    (port,) = node_factory.free_ports(1)
    room = served(port)
    full = (507, "The disk is nearly full.")
    room[0] = -1
    code, received = talk(port, POST + ZIP + b"Content-Length: 9\r\n\r\n")
    assert (code, error_of(received)) == full
    # There is room for the zip, but not for what is in it: then nothing of it is kept.
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, item in enumerate(node_factory.demo_study("FULL")):
            item.PixelData = bytes(len(item.PixelData))
            archive.writestr(f"{number}.dcm", node_factory.encoded(item))
    body = stream.getvalue()
    room[0] = 10 * len(body)
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    code, received = talk(port, POST + ZIP + length + body)
    assert (code, error_of(received)) == full
    assert not list((tmp_path / "data" / "objects").iterdir())
    room[0] = 1 << 30
    assert talk(port, POST + ZIP + length + body)[0] == 202


def test_connections_are_limited(served: Any, node_factory: ModuleType) -> None:
    (port,) = node_factory.free_ports(1)
    served(port)
    health = b"GET /healthz HTTP/1.0\r\n\r\n"
    open_ones = [
        socket.create_connection(("127.0.0.1", port)) for _ in range(http_handler.CONNECTIONS)
    ]
    node_factory.wait_for(lambda: talk(port, health)[0] == 0)
    for connection in open_ones:
        connection.close()
    node_factory.wait_for(lambda: talk(port, health)[0] == 200)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_address_of_ipv6(served: Any, node_factory: ModuleType) -> None:
    (port,) = node_factory.free_ports(1)
    served(port, "::1")
    connection = http.client.HTTPConnection("::1", port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read() == b"ok\n"
    connection.close()


def test_other_machines_ask_for_studies_by_address(served: Any, node_factory: ModuleType) -> None:
    (port,) = node_factory.free_ports(1)
    served(port, "0.0.0.0")
    by = b" HTTP/1.1\r\nHost: %s\r\n\r\n"
    assert talk(port, b"GET /studies/1" + by % b"192.0.2.7:8104")[0] == 404
    assert talk(port, b"GET /studies/1" + by % b"scanner.example")[0] == 421
    assert talk(port, b"GET /metrics" + by % b"scanner.example")[0] == 200


def test_damaged_zip_leaves_nothing_behind(
    served: Any, node_factory: ModuleType, tmp_path: Path
) -> None:
    (port,) = node_factory.free_ports(1)
    served(port)
    files = [node_factory.encoded(item) for item in node_factory.demo_study("DAMAGED")]
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for number, data in enumerate(files):
            archive.writestr(f"{number}.dcm", data)
    body = bytearray(stream.getvalue())
    body[body.rindex(files[-1]) + len(files[-1]) // 2] ^= 1  # its checksum no longer fits
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    code, received = talk(port, POST + ZIP + length + bytes(body))
    assert (code, "damaged" in error_of(received)) == (422, True)
    assert not list((tmp_path / "data" / "objects").iterdir())
    # The same objects with other content are a conflict with those that are here.
    for patient, expected in (("A", 202), ("B", 409)):
        items = node_factory.demo_study(patient, "1.2.3.4")
        items[0].SOPInstanceUID = items[0].file_meta.MediaStorageSOPInstanceUID = "1.2.3.5"
        stream = BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("1", node_factory.encoded(items[0]))
        whole = stream.getvalue()
        length = b"Content-Length: %d\r\n\r\n" % len(whole)
        assert talk(port, POST + ZIP + length + whole)[0] == expected
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("1", node_factory.encoded(items[0]))
        archive.writestr("2", node_factory.encoded(items[1]))
        archive.writestr("3", "no image")
    length = b"Content-Length: %d\r\n\r\n" % len(stream.getvalue())
    _, received = talk(port, POST + ZIP + length + stream.getvalue())
    answer = json.loads(received.partition(b"\r\n\r\n")[2])
    assert (answer["conflicts"], answer["files_left_out"]) == (1, 1)
    assert [study["objects"] for study in answer["studies"]] == [1]


def test_files_of_a_result(node_factory: ModuleType, tmp_path: Path) -> None:
    # Without peers: a host may be the only one that wants the results.
    node = node_factory.make_node(tmp_path, api=True, send="", study="quiet_s = 0.2")
    node.start()
    try:
        study = node_factory.demo_study("FILES")
        assert set(node_factory.send(node.port, study)) == {0}
        found = node_factory.wait_for(
            lambda: (s := json.loads(node.get("/studies/1")[1]))["state"] == "done" and s
        )
        assert found["deliveries"] == []
        fetched = {item["path"]: fetch(node, item) for item in found["files"]}
    finally:
        assert node.stop() == 0
    names = {path.removeprefix("/studies/1/"): data for path, data in fetched.items()}
    assert sorted(names) == ["dicom-pdf", "fhir", "pdf", "seg", "sr"]
    assert json.loads(names.pop("fhir"))["resourceType"] == "Bundle"
    pdf = names.pop("pdf")
    assert (pdf[:5], pdf.rstrip()[-5:]) == (b"%PDF-", b"%%EOF")
    objects = {name: pydicom.dcmread(BytesIO(data)) for name, data in names.items()}
    assert {item.StudyInstanceUID for item in objects.values()} == {study[0].StudyInstanceUID}
    assert objects["seg"].Modality == "SEG"
    assert objects["sr"].Modality == "SR"
    assert objects["dicom-pdf"].EncapsulatedDocument.startswith(pdf)


def fetch(node: Any, item: dict[str, str]) -> bytes:
    """GET a file, and HEAD, which must say the same of it."""
    answers = {}
    for method in ("HEAD", "GET"):
        connection = http.client.HTTPConnection("127.0.0.1", node.status_port, timeout=10)
        connection.request(method, item["path"])
        answer = connection.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name != "Date"}
        answers[method] = (answer.status, headers, answer.read())
        connection.close()
    assert answers["HEAD"][:2] == answers["GET"][:2]
    assert answers["HEAD"][2] == b""
    code, headers, data = answers["GET"]
    assert code == 200
    assert headers["Content-Type"] == item["media_type"]
    assert "FILES" not in headers["Content-Disposition"]
    return bytes(data)


def test_a_file_whose_meta_information_has_no_length_is_told_from_others(
    node_factory: ModuleType,
) -> None:
    data = node_factory.encoded(node_factory.demo_study()[0])
    length = int.from_bytes(data[140:144], "little")
    whole = arrival_in_file(data)
    assert whole is not None
    assert whole.start == 144 + length
    short = arrival_in_file(data[:132] + data[144:])
    assert short is not None
    assert short.start == 0
    assert short.sop_uid == whole.sop_uid
    # A length beyond the file left nothing to tell different objects of one UID by.
    beyond = arrival_in_file(data[:140] + b"\xff\xff\xff\0" + data[144:])
    assert beyond is None or beyond.start == 0


@pytest.mark.parametrize("image", [True, False])
def test_what_is_too_large_is_left_out_unless_it_is_an_image(
    node_factory: ModuleType, node: Any, image: bool
) -> None:
    """Without an image the others would pass for the whole study; a film is none."""
    first, second = (
        node_factory.encoded(item) for item in node_factory.demo_study(f"HUGE{image}")[:2]
    )
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.dcm", first)
        archive.writestr("2.dcm", (second if image else b"") + bytes((256 << 20) + 1))
    length = b"Content-Length: %d\r\n\r\n" % len(stream.getvalue())
    code, received = talk(node.status_port, POST + ZIP + length + stream.getvalue())
    if image:
        assert (code, error_of(received)) == (413, "Objects of at most 8 MB are taken.")
    else:
        assert code == 202
        assert json.loads(received.partition(b"\r\n\r\n")[2])["files_left_out"] == 1
