"""Peers of the node's tests: the node itself, an archive of ours, studies and ECGs."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pydicom
from pydicom import Dataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    MRImageStorage,
    SegmentationStorage,
    TwelveLeadECGWaveformStorage,
    generate_uid,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ModalityPerformedProcedureStep,
)

from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.node.config import Config, read_config
from scarseg_infer.node.http.api import arrival_in_file
from scarseg_infer.node.queue.received import Queue, Study
from scarseg_infer.node.queue.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 180.0
SOON_QUIET = "quiet_s = 0.3"
"""Contents of [study] for a node that gets each study in one association. Where image and ECG come
in two, the default of :func:`make_node` leaves time between them."""


def _ports() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ports", ROOT / "tests" / "ports.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


free_ports: Callable[[int], list[int]] = _ports().free_ports


def wait_for(what: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """Ask until the answer is true, and return it; fails after a time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@dataclass
class Node:
    """A node that can be started, killed and asked."""

    folder: Path
    port: int
    status_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, wait: bool = True) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")]),
            "OMP_NUM_THREADS": "1",
        }
        before = len(self.events("started")) if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scarseg_infer.node.main", self.folder / "node.toml"],
                stdout=log, stderr=log, env=environment,
            )  # fmt: skip
        if wait:
            try:
                wait_for(self.listening)
                # The page comes up after the DICOM port.
                wait_for(lambda: len(self.events("started")) > before)
            except BaseException:
                self.kill()  # nobody else would: the test has not begun
                raise

    def listening(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End in order; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://127.0.0.1:{self.status_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()
        except URLError:
            return 0, ""

    def metric(self, line: str) -> float:
        """Value of a line of /metrics, 0 where it is not there."""
        for found in self.get("/metrics")[1].splitlines():
            if found.startswith(f"scarseg_node_{line} "):
                return float(found.rsplit(" ", 1)[1])
        return 0.0

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """From the node's database, which is open elsewhere."""
        with sqlite3.connect(self.folder / "data" / "queue.sqlite3", timeout=30) as database:
            return database.execute(query).fetchall()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().split(b"\n")[:-1]  # the last is still being written
        return [event for line in lines if line if (event := json.loads(line))["event"] == name]


def make_node(
    folder: Path,
    peers: Iterable[str] = (),
    *,
    servers: Iterable[str] = (),
    api: bool = False,
    **tables: str,
) -> Node:
    """Configure a node; ``tables`` replaces the contents of tables of its configuration.

    Args:
        peers: contents of [[peers]] tables.
        servers: of [[dicomweb]] tables.
    """
    port, status = free_ports(2)
    contents = {
        "node": f'ae_title = "SCARSEG"\nport = {port}\ndata = "data"',
        "callers": 'ae_titles = ["SENDER"]\naddresses = ["127.0.0.1"]',
        "limits": "min_free_mb = 1\nidle_s = 10",
        "study": "quiet_s = 2",
        "send": 'objects = ["seg", "sr"]\nretry_s = 0.3\nretry_max_s = 1.0',
        "status": f"port = {status}\napi = {str(api).lower()}",
        "model": "threads = 1",
    } | tables
    text = "".join(f"[{name}]\n{body}\n" for name, body in contents.items())
    text += "".join(f"[[peers]]\n{peer}\n" for peer in peers)
    text += "".join(f"[[dicomweb]]\n{server}\n" for server in servers)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node.toml").write_text(text)
    return Node(folder, port, status)


def queued(folder: Path, port: int, **tables: str) -> tuple[Config, Queue, Study]:
    """Configuration and queue of a node whose archive is at a port, with one image of the patient
    STALL that is complete."""
    query = f'ae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {port}'
    make_node(folder, [peer_table(port)], ecg_query=query, **tables)
    config = read_config(folder / "node.toml")
    queue = Queue(Storage(config.node.data))
    arrival = arrival_in_file(encoded(demo_study("STALL")[0]))
    assert arrival is not None
    queue.add(arrival)
    (study,) = queue.complete(0)
    return config, queue, study


def peer_table(port: int, title: str = "ARCHIVE", extra: str = "") -> str:
    return (
        f'name = "{title.lower()}"\nae_title = "{title}"\nhost = "127.0.0.1"\n'
        f"port = {port}\n{extra}"
    )


def demo_study(patient: str = "NODE-1", study: str | None = None) -> list[Dataset]:
    """The demo study as that of another patient, with UIDs of its own."""
    study, series = study or generate_uid(), generate_uid()
    datasets = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
    for dataset in datasets:
        dataset.PatientID, dataset.StudyInstanceUID = patient, study
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = series, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return datasets


def write_all(folder: Path, datasets: Iterable[Dataset]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        paths.append(folder / f"{number:03}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def encoded(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def send(
    port: int, datasets: Iterable[Dataset], caller: str = "SENDER", called: str = "SCARSEG",
    answer_s: float = 20,
) -> list[int | None]:  # fmt: skip
    """C-STORE objects; the status of each, None for those that got no answer."""
    ae = AE(ae_title=caller)
    # pynetdicom does not notice that a peer has died while it waits for an answer.
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = answer_s
    for uid in (MRImageStorage, TwelveLeadECGWaveformStorage):
        ae.add_requested_context(uid)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    datasets = list(datasets)
    if not association.is_established:
        return [None] * len(datasets)
    found: list[int | None] = []
    for dataset in datasets:
        try:
            found.append(association.send_c_store(dataset).get("Status"))
        except (RuntimeError, ValueError):
            found.append(None)
    if association.is_established:
        association.release()
    return found


def report_step(port: int, uid: str, study: str, state: str, answer_s: float = 20) -> int | None:
    """Tell that the step of an examination which makes a study runs ("IN PROGRESS") or has ended;
    the status, None where there was no answer."""
    ae = AE(ae_title="SENDER")
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = answer_s
    ae.add_requested_context(ModalityPerformedProcedureStep)
    association = ae.associate("127.0.0.1", port, ae_title="SCARSEG")
    if not association.is_established:
        return None
    told = Dataset()
    told.PerformedProcedureStepStatus = state
    try:
        if state == "IN PROGRESS":
            scheduled = Dataset()
            scheduled.StudyInstanceUID, told.Modality = study, "MR"
            told.ScheduledStepAttributesSequence = [scheduled]
            status, _ = association.send_n_create(told, ModalityPerformedProcedureStep, uid)
        else:
            status, _ = association.send_n_set(told, ModalityPerformedProcedureStep, uid)
    except (RuntimeError, ValueError):
        return None
    if association.is_established:
        association.release()
    return status.get("Status")


@dataclass
class Archive:
    """A storage SCP that remembers what it was sent, also twice."""

    port: int
    objects: list[Dataset] = field(default_factory=list)
    status: int = 0x0000
    _server: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, tls: Any = None) -> None:
        ae = AE(ae_title="ARCHIVE")
        for uid in (SegmentationStorage, EncapsulatedPDFStorage, ComprehensiveSRStorage,
                    Comprehensive3DSRStorage, EnhancedSRStorage):  # fmt: skip
            ae.add_supported_context(uid)
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            ssl_context=tls,
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )

    def stop(self) -> None:
        self._server.shutdown()

    def answered(self) -> bool:
        """Is every association over, also of a sender that was killed in the middle of one? What
        it had sent in full by then is stored a moment later."""
        return not self._server.active_associations

    def _store(self, event: evt.Event) -> int:
        if self.status == 0:
            with self._lock:
                self.objects.append(event.dataset)
        return self.status

    def by_study(self) -> dict[str, dict[str, set[str]]]:
        """Study UID → modality → SOP instance UIDs."""
        found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        with self._lock:
            for item in self.objects:
                found[item.StudyInstanceUID][item.Modality].add(item.SOPInstanceUID)
        return found


def demo_ecg(ecg_factory: Any, patient: str, recorded: str = "") -> Dataset:
    """A 12-lead ECG of a patient, taken the day before the demo study unless told otherwise."""
    found = ecg_factory.dicom(ecg_factory.multiplex_group(ecg_factory.counts()))
    found.PatientID = patient
    found.AcquisitionDateTime = recorded or "20240228104512"
    found.SOPInstanceUID, found.StudyInstanceUID = generate_uid(), generate_uid()
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    return found


def dataset_bytes(dataset: Dataset, damage: str) -> BytesIO:
    """A dataset as it goes over the wire in implicit VR, whole or damaged."""
    from pynetdicom.dsutils import encode

    dataset = pydicom.dcmread(BytesIO(encoded(dataset)))
    if damage == "no study":
        for keyword in (
            "StudyInstanceUID",
            "StudyDate",
            "FrameOfReferenceUID",
            "SeriesInstanceUID",
        ):
            dataset.pop(keyword, None)
    data = b"\xff\xfe" * 500 if damage == "garbage" else encode(dataset, True, True)
    assert data is not None
    return BytesIO(data)
