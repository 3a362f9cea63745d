"""Callers and objects that the node does not take; it goes on for everybody else."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO, StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from msgspec.structs import replace
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import HTJ2K, JPEG2000, JPEGLSLossless, MRImageStorage, RLELossless, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from scarseg_infer.node.config import read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.receive import Receiver, arrival_of
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage, write_synced
from scarseg_infer.study.dicom import pixels
from scarseg_infer.study.dicom.frames import ENHANCED_CLASSES

Dcmtk = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("caller", "called", "why", "reason"),
    [
        ("STRANGER", "SCARSEG", "Calling AE Title", "calling_ae"),
        ("SENDER", "ELSEWHERE", "Called AE Title", "called_ae"),
    ],
)
def test_unknown_titles_are_rejected(
    node_factory: ModuleType,
    node: Any,
    dcmtk: Dcmtk,
    caller: str,
    called: str,
    why: str,
    reason: str,
) -> None:
    counted = f'connections_refused_total{{reason="{reason}"}}'
    before = node.metric(counted)
    said = dcmtk("echoscu", "-v", "-aet", caller, "-aec", called, "127.0.0.1", node.port)
    assert said.returncode != 0
    assert why in said.stdout + said.stderr
    node_factory.wait_for(lambda: node.metric(counted) == before + 1)  # the answer comes first
    (event,) = node_factory.wait_for(
        lambda: [e for e in node.events("connection_refused")[-1:] if e["reason"] == reason]
    )
    assert (event["reason"], event["address"]) == (reason, "127.0.0.1")
    assert "STRANGER" not in node.log.read_text() and "ELSEWHERE" not in node.log.read_text()


@pytest.fixture
def receiver(
    node_factory: ModuleType, tmp_path: Path
) -> Iterator[Callable[..., tuple[Receiver, Storage, Any]]]:
    """Starts the receiving part alone, in this process."""
    started: list[Receiver] = []

    def start(**tables: str) -> tuple[Receiver, Storage, Any]:
        node = node_factory.make_node(tmp_path, **tables)
        config = read_config(tmp_path / "node.toml")
        storage = Storage(config.node.data)
        log = Log(StringIO())
        started.append(Receiver(config, storage, Queue(storage), Counters(), log))
        started[-1].start()
        return started[-1], storage, node

    yield start
    for found in started:
        found.stop(5)


def test_foreign_addresses_are_closed_unheard(receiver: Any) -> None:
    found, _, node = receiver(callers='ae_titles = ["SENDER"]\naddresses = ["192.0.2.0/24"]')
    with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
        assert connection.recv(1) == b""
    told = json.loads(found._log._stream.getvalue())  # written before the connection is closed
    assert (told["event"], told["reason"]) == ("connection_refused", "address")
    assert told["address"] == "127.0.0.1"


def test_nearly_full_disk_refuses_before_anything_is_lost(
    node_factory: ModuleType, receiver: Any
) -> None:
    found, storage, node = receiver(limits=f"min_free_mb = {1 << 39}")
    assert node_factory.send(node.port, node_factory.demo_study()[:2]) == [0xA700, 0xA700]
    assert not found.has_room()
    assert storage.rows("SELECT * FROM objects") == []
    echo(node)


def test_disk_that_cannot_be_written_refuses(node_factory: ModuleType, receiver: Any) -> None:
    _, storage, node = receiver()
    (storage.root / "incoming").rmdir()
    assert node_factory.send(node.port, node_factory.demo_study()[:1]) == [0xA700]
    assert storage.rows("SELECT * FROM studies") == []


def test_second_object_of_the_same_uid(node_factory: ModuleType, node: Any) -> None:
    (image,) = node_factory.demo_study("TWICE")[:1]
    assert node_factory.send(node.port, [image, image]) == [0, 0]
    image.InstanceNumber = 99
    assert node_factory.send(node.port, [image]) == [0xC001]
    query = f"SELECT COUNT(*) FROM objects WHERE sop_uid = '{image.SOPInstanceUID}'"
    assert node.rows(query) == [(1,)]


def associated(node: Any) -> Association:
    """An association for MR images."""
    ae = AE(ae_title="SENDER")
    ae.add_requested_context(MRImageStorage)
    return ae.associate("127.0.0.1", node.port, ae_title="SCARSEG")


def asked_to_store(uid: str, payload: BytesIO, number: int = 1) -> C_STORE:
    request = C_STORE()
    request.MessageID, request.Priority = number, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = MRImageStorage, uid
    request.DataSet = payload
    return request


def test_uids_that_are_missing_or_differ(node_factory: ModuleType, node: Any) -> None:
    (image,) = node_factory.demo_study("ODD")[:1]
    association = associated(node)
    for damage in ("other", "no study", "garbage"):
        uid = generate_uid() if damage == "other" else image.SOPInstanceUID
        request = asked_to_store(uid, node_factory.dataset_bytes(image, damage))
        context = association.accepted_contexts[0].context_id
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, context)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert answer.Status in (0xA900, 0xC000), damage
    association.release()


@pytest.mark.parametrize(
    "uid", ["1.2.826.0.1.007.5", "1.2.3.00", "1.2." + "7" * 70, "1.2.ANON_7", "1.2/../7"]
)
def test_odd_uids_are_taken(node_factory: ModuleType, uid: str) -> None:
    """Forbidden by PS3.5, 9.1, written by some devices, read by the command line."""
    (image,) = node_factory.demo_study("ODD")[:1]
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
    stream = BytesIO()
    image.save_as(stream)
    data = stream.getvalue()
    arrival = arrival_of(image, data, (str(image.SOPClassUID), uid))
    assert arrival is not None and arrival.sop_uid == uid
    assert arrival_of(image, data, (str(image.SOPClassUID), "1.2")) is None


def test_every_image_class_of_the_command_line_is_accepted(receiver: Any) -> None:
    _, _, node = receiver()
    ae = AE(ae_title="SENDER")
    classes = (MRImageStorage, *ENHANCED_CLASSES)
    for sop_class in classes:
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", node.port, ae_title="SCARSEG")
    accepted = [context.abstract_syntax for context in association.accepted_contexts]
    association.release()
    assert accepted == list(classes)


def test_oversized_object_ends_its_association_only(node_factory: ModuleType, node: Any) -> None:
    (image,) = node_factory.demo_study("LARGE")[:1]
    image.add_new(0x00191001, "OB", os.urandom(12 << 20))
    refused = 'connections_refused_total{reason="oversized"}'
    before = node.metric(refused)
    assert node_factory.send(node.port, [image]) == [None]
    node_factory.wait_for(lambda: node.metric(refused) > before)
    assert node.metric(refused) == before + 1
    echo(node)


def test_caller_that_does_not_wait_for_answers(
    node_factory: ModuleType, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects sent ahead would fill memory while the disk is slow."""
    going_on = threading.Event()

    def slow(*_: Any) -> str:
        going_on.wait(30)
        return "new"

    monkeypatch.setattr(Queue, "add", slow)
    _, _, node = receiver()
    image = node_factory.demo_study("AHEAD")[0]
    association = associated(node)
    try:
        for number in range(200):
            if not association.is_established:
                break
            payload = node_factory.dataset_bytes(image, "")
            request = asked_to_store(image.SOPInstanceUID, payload, number + 1)
            association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
            time.sleep(0.02)
        assert number < 50
    finally:
        going_on.set()
        association.abort()
    echo(node)


@pytest.mark.parametrize("extra", [True, False], ids=["with decoders", "without"])
def test_only_what_can_be_decoded_is_accepted(
    receiver: Any, monkeypatch: pytest.MonkeyPatch, extra: bool
) -> None:
    """RLE needs nothing; JPEG-LS an extra, which may not be installed."""
    if not extra:
        decoder = get_decoder(JPEGLSLossless)
        monkeypatch.setattr(decoder, "_available", {})
    _, _, node = receiver()
    ae = AE(ae_title="SENDER")
    for syntax in (RLELossless, JPEGLSLossless):
        ae.add_requested_context(MRImageStorage, syntax)
    association = ae.associate("127.0.0.1", node.port, ae_title="SCARSEG")
    assert association.is_established
    accepted = [context.transfer_syntax[0] for context in association.accepted_contexts]
    association.release()
    assert accepted == ([RLELossless, JPEGLSLossless] if extra else [RLELossless])


def test_what_files_are_read_in_is_accepted(receiver: Any) -> None:
    """A sender that has images in one syntax only, such as a lossy archive, is not turned away."""
    _, _, node = receiver()
    syntaxes = [uid for uid in pixels.DECODABLE if get_decoder(uid).is_available]
    assert {JPEG2000, HTJ2K, RLELossless} <= {*syntaxes, RLELossless}
    ae = AE(ae_title="SENDER")
    for syntax in syntaxes:
        ae.add_requested_context(MRImageStorage, syntax)
    association = ae.associate("127.0.0.1", node.port, ae_title="SCARSEG")
    accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
    association.release()
    assert accepted == set(syntaxes)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder]
    if not sys.platform.startswith("linux") or subprocess.run(command).returncode:
        message = "mounting a small file system needs root on Linux"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_disk_that_is_full_to_the_last_byte(node_factory: ModuleType, small_disk: Path) -> None:
    """Beyond min_free_mb others may fill it. Objects are refused, all that was acknowledged is
    whole, and with room again everything goes on."""
    node = node_factory.make_node(small_disk, limits="min_free_mb = 1")
    config = read_config(small_disk / "node.toml")
    config = replace(config, limits=replace(config.limits, min_free_mb=0))
    storage = Storage(config.node.data)
    found = Receiver(config, storage, Queue(storage), Counters(), Log(StringIO()))
    found.start()
    taken: list[Any] = []
    try:
        statuses: set[int] = set()
        while 0xA700 not in statuses:
            images = node_factory.demo_study("FULL")
            for image, status in zip(images, node_factory.send(node.port, images), strict=True):
                statuses.add(status)
                taken += [image] if status == 0 else []
        assert statuses == {0, 0xA700}
        kept = {row["sop_uid"]: row["file"] for row in storage.rows("SELECT * FROM objects")}
        assert set(kept) == {str(image.SOPInstanceUID) for image in taken}
        for image in taken:
            whole = pydicom.dcmread(storage.root / kept[str(image.SOPInstanceUID)])
            assert whole.PixelData == image.PixelData
        subprocess.run(["mount", "-o", "remount,size=9m", small_disk], check=True)
        assert set(node_factory.send(node.port, images)) == {0}
        (answer,) = storage.rows("PRAGMA integrity_check")
        assert tuple(answer) == ("ok",)
    finally:
        found.stop(5)
        storage.close()


def test_too_many_associations(node_factory: ModuleType, receiver: Any) -> None:
    receiving, _, node = receiver(limits="associations = 4")
    ae = AE(ae_title="SENDER")
    ae.add_requested_context("1.2.840.10008.1.1")
    asked = [ae.associate("127.0.0.1", node.port, ae_title="SCARSEG") for _ in range(5)]
    assert [association.is_established for association in asked] == [True] * 4 + [False]
    node_factory.wait_for(lambda: refusals(receiving) == {"busy"})
    for association in asked[:4]:
        association.release()


def test_the_next_study_finds_the_place_of_the_last(
    node_factory: ModuleType, receiver: Any, dcmtk: Dcmtk
) -> None:
    """A caller that has seen the end of one association may ask for the next at once, where one is
    allowed; a connection that asks for nothing holds no place."""
    receiving, _, node = receiver(limits="associations = 1")
    with socket.create_connection(("127.0.0.1", node.port), 5):
        for _ in range(40):
            echo(node)
        for _ in range(5):
            said = dcmtk("echoscu", "-aet", "SENDER", "-aec", "SCARSEG", "127.0.0.1", node.port)
            assert said.returncode == 0, said.stderr
    assert refusals(receiving) == set()


def test_a_place_that_becomes_free_soon_is_waited_for(receiver: Any) -> None:
    receiving, _, node = receiver(limits="associations = 1")
    ae = AE(ae_title="SENDER")
    ae.add_requested_context("1.2.840.10008.1.1")
    first = ae.associate("127.0.0.1", node.port, ae_title="SCARSEG")
    threading.Timer(0.3, first.release).start()
    echo(node)
    assert refusals(receiving) == set()


def garbage() -> list[bytes]:
    """Bytes that no DICOM peer sends, and parts of what one does."""
    chance = random.Random(7)
    request = associate_request()
    found = [
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # the start of TLS
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF) + b"x" * 1000,  # a PDU of 4 GB
        struct.pack(">BBL", 4, 0, 4) + b"abcd",  # data before an association
        struct.pack(">BBL", 9, 0, 4) + b"abcd",
        request[:40],
        request + struct.pack(">BBL", 4, 0, 12) + struct.pack(">LBB", 8, 1, 3) + b"\0" * 6,
        request + struct.pack(">BBL", 4, 0, 10) + struct.pack(">LBB", 0x7FFFFFFF, 1, 3) + b"\0" * 4,
        request + request,
    ]
    for _ in range(30):
        damaged = bytearray(request)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(6, len(damaged))] = chance.randrange(256)
        found.append(bytes(damaged))
    found.extend(chance.randbytes(chance.randint(1, 400)) for _ in range(30))
    return found


def associate_request() -> bytes:
    """A request for an association with the verification class, as it goes over the wire."""

    def item(kind: int, body: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(body)) + body

    context = item(0x20, b"\x01\0\0\0" + item(0x30, b"1.2.840.10008.1.1")
                   + item(0x40, b"1.2.840.10008.1.2"))  # fmt: skip
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4"))
    body = struct.pack(">HH", 1, 0) + b"SCARSEG".ljust(16) + b"SENDER".ljust(16) + b"\0" * 32
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BBL", 1, 0, len(body)) + body


def echo(node: Any) -> None:
    """The node still answers a C-ECHO."""
    ae = AE(ae_title="SENDER")
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate("127.0.0.1", node.port, ae_title="SCARSEG")
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


def test_garbage_and_half_closed_connections(node_factory: ModuleType, node: Any) -> None:
    left_open = []
    for number, data in enumerate(garbage()):
        connection = socket.create_connection(("127.0.0.1", node.port), 5)
        with suppress(OSError):  # the node may have closed it already
            connection.sendall(data)
            if number % 3 == 0:
                connection.shutdown(socket.SHUT_WR)
        if number % 8 == 0 and len(left_open) < 6:
            left_open.append(connection)  # never closed from this side
        else:
            connection.close()
    node_factory.wait_for(lambda: node.metric("associations") == 0, 30)
    echo(node)
    for connection in left_open:
        connection.close()
    assert node.get("/healthz") == (200, "ok\n")


def test_association_that_falls_silent_is_given_up(node_factory: ModuleType, node: Any) -> None:
    with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
        connection.sendall(associate_request())
        assert connection.recv(1) == b"\x02"  # accepted
        connection.settimeout(15)
        with suppress(ConnectionError):
            while connection.recv(1 << 16):
                pass
        node_factory.wait_for(lambda: node.metric("associations") == 0)


def data_pdu(control: int, data: bytes) -> bytes:
    """A P-DATA-TF PDU of one fragment; bits of ``control``: 1 of a command set, 2 the last one."""
    value = struct.pack(">LBB", len(data) + 2, 1, control) + data
    return struct.pack(">BBL", 4, 0, len(value)) + value


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([data_pdu(1, bytes(40_000))] * 2, "oversized"),
        ([data_pdu(3, struct.pack("<HHLH", 0, 0x0800, 2, 0x0101))], "unreadable"),  # no command
        ([data_pdu(3, b"\xff" * 40)], "unreadable"),
        ([data_pdu(3, b"")], "unreadable"),
    ],
    ids=["long", "no command", "garbage", "empty"],
)
def test_command_sets_of_no_message_end_their_association(
    node_factory: ModuleType, receiver: Any, parts: list[bytes], why: str
) -> None:
    found, _, node = receiver(limits="idle_s = 300")
    with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
        connection.sendall(associate_request())
        assert connection.recv(1) == b"\x02"  # accepted
        for part in parts:
            connection.sendall(part)
        node_factory.wait_for(lambda: found.associations == 0, 30)
    assert refusals(found) == {why}
    echo(node)


def refusals(found: Receiver) -> set[str]:
    return {labels["reason"] for _, labels, _ in found._counters.values() if "reason" in labels}


def drip(connections: list[socket.socket], data: bytes, seconds: float) -> None:
    """A byte now and then over each, until all are closed or the time is over."""
    end = time.monotonic() + seconds
    for place in range(len(data)):
        open_ones = 0
        for connection in connections:
            with suppress(OSError):
                connection.sendall(data[place : place + 1])
                open_ones += 1
        if not open_ones or time.monotonic() > end:
            return
        time.sleep(0.3)


def test_callers_who_ask_byte_by_byte_shut_nobody_out(
    node_factory: ModuleType, receiver: Any
) -> None:
    found, _, node = receiver(limits="idle_s = 2\nassociations = 2")
    slow = [socket.create_connection(("127.0.0.1", node.port), 5) for _ in range(8)]
    try:
        for connection in slow:
            connection.sendall(struct.pack(">BBL", 1, 0, 500))
        drip(slow, bytes(500), 20)
        node_factory.wait_for(lambda: found.associations == 0)
        assert refusals(found) == {"slow"}
        assert node_factory.send(node.port, node_factory.demo_study()[:1]) == [0]
    finally:
        for connection in slow:
            connection.close()


def test_a_message_that_comes_byte_by_byte_ends_its_association(
    node_factory: ModuleType, receiver: Any
) -> None:
    found, _, node = receiver(limits="idle_s = 5")
    with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
        connection.sendall(associate_request())
        assert connection.recv(1) == b"\x02"
        # PDUs that are whole, of one byte each: no PDU is slow, the message is.
        drip([connection], data_pdu(0, b"x") * 20, 20)
        node_factory.wait_for(lambda: found.associations == 0)
        assert refusals(found) == {"slow"}


@pytest.mark.parametrize("pdu_bytes", [8192, 128 << 10], ids=["message", "PDU"])
def test_a_line_that_is_slow_but_not_idle_is_borne_with(
    node_factory: ModuleType, receiver: Any, monkeypatch: pytest.MonkeyPatch, pdu_bytes: int
) -> None:
    """Longer than ``idle_s``, for a message or a single PDU."""
    monkeypatch.setattr("scarseg_infer.node.dicom.receive.PDU_BYTES", pdu_bytes)
    _, storage, node = receiver(limits="idle_s = 4")
    image = node_factory.demo_study("SLOW")[0]
    association = associated(node)
    connection: Any = association.dul.socket
    send, start = connection.send, time.monotonic()

    def slowly(data: bytes) -> None:
        for place in range(0, len(data), 3000):
            send(data[place : place + 3000])
            time.sleep(0.25)  # 12 kB/s

    connection.send = slowly
    assert association.send_c_store(image).Status == 0
    assert time.monotonic() - start > 4.0  # or it was not slow
    association.release()
    assert len(storage.rows("SELECT * FROM objects")) == 1


def test_a_disk_that_is_slow_is_no_silence_of_the_caller(
    node_factory: ModuleType, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than ``idle_s`` for each object."""

    def slowly(path: Path, data: bytes) -> None:
        time.sleep(1.5)
        write_synced(path, data)

    monkeypatch.setattr("scarseg_infer.node.queue.received.write_synced", slowly)
    _, storage, node = receiver(limits="idle_s = 1")
    assert node_factory.send(node.port, node_factory.demo_study()[:2]) == [0, 0]
    assert len(storage.rows("SELECT * FROM objects")) == 2


@pytest.mark.parametrize("uid", [f"1.2.{'3' * 70}", "1.2.3 4", "1.2.03", "1.2.x"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:The value length")
def test_uids_that_files_have_are_taken_and_the_association_goes_on(
    node_factory: ModuleType, receiver: Any, uid: str
) -> None:
    _, storage, node = receiver()
    odd, next_one = node_factory.demo_study("UIDS")[:2]
    odd.SOPInstanceUID = odd.file_meta.MediaStorageSOPInstanceUID = uid
    association = associated(node)
    assert association.send_c_store(odd).Status == 0
    assert association.send_c_store(next_one).Status == 0
    association.release()
    assert len(storage.rows("SELECT * FROM objects")) == 2
