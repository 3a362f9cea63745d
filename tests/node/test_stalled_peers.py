"""Peers that fall silent amid an answer, stop reading or are not found hold up nothing for good."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace
from pydicom import Dataset
from pydicom.uid import SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from scarseg_infer.node.config import Config, EcgArchive
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom import client
from scarseg_infer.node.dicom.query import EcgQuery
from scarseg_infer.node.dicom.send import Sender
from scarseg_infer.node.http.api import arrival_in_file
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import Outbox, ResultFile
from scarseg_infer.node.queue.received import Queue, Study
from scarseg_infer.node.queue.storage import Storage

FIND = StudyRootQueryRetrieveInformationModelFind


class Stalling:
    """Stands before an archive and passes on what both say, until told to stop half-way."""

    def __init__(self, port: int, behind: int) -> None:
        self.half_an_answer = self.reads_nothing = False
        self._behind = behind
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            archive = socket.create_connection(("127.0.0.1", self._behind))
            self._open += [caller, archive]
            for job in (self._up, self._down):
                threading.Thread(target=job, args=(caller, archive), daemon=True).start()

    def _up(self, caller: socket.socket, archive: socket.socket) -> None:
        said = False
        with suppress(OSError):  # somebody has closed
            while not (self.reads_nothing and said):
                if not (data := caller.recv(65536)):
                    archive.close()
                    return
                archive.sendall(data)
                said = True  # asked for the association

    def _down(self, caller: socket.socket, archive: socket.socket) -> None:
        said = False
        with suppress(OSError):
            while data := archive.recv(65536):
                if self.half_an_answer and said:
                    caller.sendall(data[:8])
                    return
                caller.sendall(data)
                said = True
            caller.close()

    def close(self) -> None:
        self._socket.close()
        for connection in self._open:
            connection.close()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 1.0)
    monkeypatch.setattr(client, "CONNECT_S", 1.0)


@pytest.fixture
def stalling(node_factory: ModuleType) -> Iterator[tuple[Stalling, int, list[Dataset]]]:
    """The proxy, its port, and what the archive behind it was sent or asked."""
    port, behind = node_factory.free_ports(2)
    heard: list[Dataset] = []

    def store(event: evt.Event) -> int:
        heard.append(event.dataset)
        return 0

    def find(event: evt.Event) -> Iterator[tuple[int, None]]:
        heard.append(event.identifier)
        yield from ()

    ae = AE(ae_title="ARCHIVE")
    for uid in (SegmentationStorage, FIND, StudyRootQueryRetrieveInformationModelGet):
        ae.add_supported_context(uid)
    server = ae.start_server(
        ("127.0.0.1", behind), block=False,
        evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find)],
    )  # fmt: skip
    found = Stalling(port, behind)
    yield found, port, heard
    found.close()
    server.shutdown()


def with_result(config: Config, storage: Storage, study: Study, image: Dataset) -> Outbox:
    """The outbox with an object of 8 MB, more than connections buffer."""
    out = storage.root / "work" / "out"
    out.mkdir()
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    image.add_new(0x00191001, "OB", bytes(8 << 20))
    image.save_as(out / "scar.dcm", enforce_file_format=True)
    file = ResultFile("seg", "scar.dcm", str(image.SOPInstanceUID), SegmentationStorage)
    outbox = Outbox(storage)
    assert outbox.publish(study, out, [file], ["archive"], "digest", with_ecg=False)
    return outbox


def ecg_query(config: Config, archive: EcgArchive, queue: Queue, log: StringIO) -> EcgQuery:
    """Of a node that has room and does not stop."""
    stop = threading.Event()
    return EcgQuery(config, archive, queue, Counters(), Log(log), lambda _: True, stop)


@pytest.mark.parametrize("fault", ["half_an_answer", "reads_nothing"])
@pytest.mark.usefixtures("patience")
def test_sender_gives_a_stalled_peer_up_and_tries_again(
    node_factory: ModuleType, tmp_path: Path, stalling: tuple[Stalling, int, Any], fault: str
) -> None:
    peer, port, heard = stalling
    setattr(peer, fault, True)
    config, queue, study = node_factory.queued(tmp_path, port)
    storage = Storage(config.node.data)
    outbox = with_result(config, storage, study, node_factory.demo_study()[0])
    stop, log = threading.Event(), StringIO()
    sender = Sender(config, config.peers[0], outbox, Counters(), Log(log))
    thread = threading.Thread(target=sender.run, args=(stop,), daemon=True)
    thread.start()
    node_factory.wait_for(lambda: "send_postponed" in log.getvalue())
    setattr(peer, fault, False)
    node_factory.wait_for(lambda: outbox.counts() == {("archive", "sent"): 1})
    assert len(heard[-1].get_item(0x00191001).value) == 8 << 20
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert queue.counts()["done"] == 1


@pytest.mark.usefixtures("patience")
def test_query_ends_where_the_archive_does_not(
    node_factory: ModuleType, tmp_path: Path, stalling: tuple[Stalling, int, Any]
) -> None:
    """Told apart from an archive that has no ECG."""
    peer, port, heard = stalling
    config, queue, study = node_factory.queued(tmp_path, port)
    log = StringIO()
    assert config.ecg_query
    query = ecg_query(config, config.ecg_query, queue, log)
    query.fetch(study)
    assert '"outcome": "none"' in log.getvalue()
    assert heard[-1].PatientID == "STALL"
    peer.half_an_answer = True
    start = time.monotonic()
    query.fetch(study)
    assert '"outcome": "broken off"' in log.getvalue()
    assert time.monotonic() - start < 30, "it waited for good"


@pytest.mark.parametrize("host", ["archive.invalid", "archive..invalid"])
def test_archive_with_an_unknown_name_is_no_fault_of_the_study(
    node_factory: ModuleType, tmp_path: Path, host: str
) -> None:
    config, queue, study = node_factory.queued(tmp_path, 104)
    assert config.ecg_query
    source = replace(config.ecg_query, host=host)
    log = StringIO()
    ecg_query(config, source, queue, log).fetch(study)
    assert '"outcome": "host name not known"' in log.getvalue()


@pytest.mark.parametrize("patient", ["A*", "A?", "MÜLLER-1", "Ж12"])
def test_identifier_that_could_match_others_is_not_asked_for(
    node_factory: ModuleType, tmp_path: Path, stalling: tuple[Stalling, int, Any], patient: str
) -> None:
    _, port, heard = stalling
    config, queue, _ = node_factory.queued(tmp_path, port)
    image = node_factory.demo_study(patient)[0]
    image.SpecificCharacterSet = "ISO_IR 192"
    arrival = arrival_in_file(node_factory.encoded(image))
    assert arrival is not None
    queue.add(arrival)
    (study,) = [found for found in queue.complete(0) if found.patient == patient.casefold()]
    log = StringIO()
    assert config.ecg_query
    ecg_query(config, config.ecg_query, queue, log).fetch(study)
    assert '"outcome": "no identifier"' in log.getvalue()
    assert heard == []
