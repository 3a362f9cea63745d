"""Archives that give too much, or never come to an end, hold up neither the node nor its stop."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from scarseg_infer.ecg.dicom import ECG_CLASSES
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom import query as node_query
from scarseg_infer.node.dicom.query import EcgQuery
from scarseg_infer.node.log import Log
from scarseg_runtime.errors import CancelledError

PENDING = 0xFF00
SOON_S = 30.0
"""Half of what a silent peer is waited for."""


class Archive:
    """Answers by what a test puts in place of its methods."""

    def __init__(self, port: int, ecg: Dataset) -> None:
        self.port, self.ecg = port, ecg
        self.over = threading.Event()
        self.asked = threading.Event()
        self.aborted = threading.Event()
        self.find: Callable[[], Iterator[Any]] = self.one_study
        self.get: Callable[[], Iterator[Any]] = self.one_ecg
        self.stored: list[int] = []
        self.association: Any = None
        ae = AE(ae_title="ARCHIVE")
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        for uid in ECG_CLASSES:
            ae.add_supported_context(uid, scu_role=True, scp_role=True)
        self._server = ae.start_server(
            ("127.0.0.1", port), block=False,
            evt_handlers=[
                (evt.EVT_C_FIND, lambda _: self.find()), (evt.EVT_C_GET, lambda _: self.get()),
                (evt.EVT_ABORTED, lambda _: self.aborted.set()),
                (evt.EVT_ACCEPTED, self._accepted),
                (evt.EVT_DIMSE_RECV, self._heard),
            ],
        )  # fmt: skip

    def _heard(self, event: evt.Event) -> None:
        if type(event.message).__name__ == "C_STORE_RSP":
            self.stored.append(event.message.command_set.Status)

    def _accepted(self, event: evt.Event) -> None:
        self.association = event.assoc

    def answer(self) -> Dataset:
        found = Dataset()
        found.QueryRetrieveLevel = "STUDY"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
            setattr(found, keyword, self.ecg[keyword].value)
        found.Modality = found.ModalitiesInStudy = "ECG"
        return found

    def one_study(self) -> Iterator[Any]:
        yield PENDING, self.answer()

    def one_ecg(self) -> Iterator[Any]:
        yield 1
        yield PENDING, self.ecg

    def endless_answers(self) -> Iterator[Any]:
        while not self.over.is_set():
            yield PENDING, self.answer()

    def slow_answers(self) -> Iterator[Any]:
        while not self.over.wait(0.2):
            yield PENDING, self.answer()

    def slow_ecgs(self) -> Iterator[Any]:
        yield 100
        for _ in range(100):
            if self.over.wait(0.2):
                return
            yield PENDING, self.ecg

    def endless_command(self) -> Iterator[Any]:
        (context, *_) = self.association.accepted_contexts
        for _ in range(10):
            part = P_DATA()
            part.presentation_data_value_list = [[context.context_id, b"\1" + bytes(10_000)]]
            self.association.dul.send_pdu(part)
        self.asked.set()
        self.over.wait(2 * SOON_S)
        yield PENDING, self.answer()

    def silence(self) -> Iterator[Any]:
        self.asked.set()
        self.over.wait(2 * SOON_S)
        yield PENDING, self.answer()

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()


@pytest.fixture
def archive(node_factory: ModuleType, ecg_factory: ModuleType) -> Iterator[Archive]:
    ecg = node_factory.demo_ecg(ecg_factory, "STALL", "20240301103000")
    ecg.SeriesInstanceUID = generate_uid()
    found = Archive(*node_factory.free_ports(1), ecg)
    yield found
    found.stop()


Asked = tuple[Callable[[], None], StringIO]


@pytest.fixture
def asked(node_factory: ModuleType, archive: Archive, tmp_path: Path) -> Callable[..., Asked]:
    """Makes what asks the archive, and its log."""

    def make(
        has_room: Callable[[int], bool] = lambda _: True,
        stop: threading.Event | None = None,
        **tables: str,
    ) -> Asked:
        config, queue, study = node_factory.queued(tmp_path, archive.port, **tables)
        log = StringIO()
        assert config.ecg_query
        query = EcgQuery(
            config, config.ecg_query, queue, Counters(), Log(log), has_room,
            stop or threading.Event(),
        )  # fmt: skip
        return lambda: query.fetch(study), log

    return make


def test_an_ecg_is_fetched(archive: Archive, asked: Callable[..., Asked]) -> None:
    fetch, log = asked()
    fetch()
    assert '"outcome": "found"' in log.getvalue()
    assert archive.stored == [0]


@pytest.mark.parametrize(("object_mb", "ecg_mb"), [(1, 4), (256, 16)])
def test_what_is_no_ecg_by_its_size_is_not_received(
    archive: Archive, asked: Callable[..., Asked], object_mb: int, ecg_mb: int
) -> None:
    """Beyond ``limits.object_mb``, or beyond what any reader of ECGs takes."""
    archive.ecg.add_new(0x00191001, "OB", bytes(ecg_mb << 20))
    fetch, log = asked(limits=f"object_mb = {object_mb}\nmin_free_mb = 1")
    fetch()
    assert '"outcome": "broken off"' in log.getvalue()
    assert archive.stored == []


def test_no_end_of_ecgs(
    archive: Archive, asked: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is small enough."""
    monkeypatch.setattr(node_query, "MAX_QUERY_BYTES", 8 << 20)
    archive.ecg.add_new(0x00191001, "OB", bytes(3 << 20))

    def get() -> Iterator[Any]:
        yield 5
        for _ in range(5):
            yield PENDING, archive.ecg

    archive.get = get
    fetch, log = asked()
    fetch()
    assert '"outcome": "found"' in log.getvalue()  # among those that came before
    assert archive.stored == [0, 0]


def test_full_disk(archive: Archive, asked: Callable[..., Asked]) -> None:
    """Refusals say how much room was asked for."""
    wanted: list[int] = []

    def has_room(size: int) -> bool:
        wanted.append(size)
        return False

    fetch, log = asked(has_room)
    fetch()
    assert archive.stored == [0xA700]
    assert wanted[0] > 10_000
    assert "store_refused" in log.getvalue()
    assert '"outcome": "none"' in log.getvalue()


def test_no_end_of_answers(archive: Archive, asked: Callable[..., Asked]) -> None:
    archive.find = archive.endless_answers
    fetch, log = asked()
    fetch()
    assert '"outcome": "broken off"' in log.getvalue()
    assert archive.aborted.wait(SOON_S)


def test_no_end_of_a_command_set(archive: Archive, asked: Callable[..., Asked]) -> None:
    """It is no longer waited for than it takes to see that."""
    archive.find = archive.endless_command
    fetch, log = asked()
    start = time.monotonic()
    fetch()
    assert archive.asked.is_set()
    assert '"outcome": "broken off"' in log.getvalue()
    assert time.monotonic() - start < SOON_S


@pytest.mark.parametrize(("find", "get"), [("slow_answers", "one_ecg"), ("one_study", "slow_ecgs")])
def test_all_answers_together_have_a_time(
    archive: Archive,
    asked: Callable[..., Asked],
    monkeypatch: pytest.MonkeyPatch,
    find: str,
    get: str,
) -> None:
    """An answer every now and then, as from an archive that is alive."""
    monkeypatch.setattr(node_query, "QUERY_S", 1.5)
    archive.find, archive.get = getattr(archive, find), getattr(archive, get)
    fetch, log = asked()
    start = time.monotonic()
    fetch()
    assert '"outcome": "broken off"' in log.getvalue()
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("where", ["find", "get"])
def test_a_node_that_stops_waits_for_no_archive(
    archive: Archive, asked: Callable[..., Asked], where: str
) -> None:
    setattr(archive, where, archive.silence)
    stop = threading.Event()
    fetch, _ = asked(stop=stop)
    threading.Thread(target=lambda: (archive.asked.wait(SOON_S), stop.set()), daemon=True).start()
    start = time.monotonic()
    with pytest.raises(CancelledError):
        fetch()
    assert time.monotonic() - start < SOON_S


def test_a_node_stops_while_it_calls(node_factory: ModuleType, tmp_path: Path) -> None:
    """One that takes connections and says nothing: the study is left as it was."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        query = f'ae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {port}'
        node = node_factory.make_node(tmp_path, ecg_query=query, study="quiet_s = 0.2")
        node.start()
        try:
            assert set(node_factory.send(node.port, node_factory.demo_study())) == {0}
            silent.settimeout(SOON_S)
            connection, _ = silent.accept()
            with connection:
                assert node.stop() == 0
        finally:
            node.kill()
    assert len(node.events("study_broken_off")) == 1
    assert node.rows("SELECT state, attempts FROM studies") == [("open", 0)]
