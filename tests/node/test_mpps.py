"""Modality Performed Procedure Step and Instance Availability Notification, over the network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, build_role
from pynetdicom.sop_class import (
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepNotification,
)

from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.steps import COMPLETED, DISCONTINUED, IN_PROGRESS, Step, Steps
from scarseg_infer.node.queue.storage import Storage

MPPS, IAN = ModalityPerformedProcedureStep, InstanceAvailabilityNotification
NOTIFICATION = ModalityPerformedProcedureStepNotification


class Scanner:
    """The SCU of both services."""

    def __init__(self, port: int) -> None:
        self.port = port

    def _ask(self, message: str, data: Any, sop_class: str, uid: str | None) -> Dataset:
        ae = AE(ae_title="SENDER")
        ae.acse_timeout = ae.dimse_timeout = 20
        ae.add_requested_context(sop_class)
        association = ae.associate("127.0.0.1", self.port, ae_title="SCARSEG")
        assert association.is_established
        ask = association.send_n_create if message == "create" else association.send_n_set
        status, answer = ask(data, sop_class, uid)
        association.release()
        if answer is not None and "AffectedSOPInstanceUID" in answer:
            status.AffectedSOPInstanceUID = answer.AffectedSOPInstanceUID
        found: Dataset = status
        return found

    def create(self, data: Any, uid: str | None, sop_class: str = MPPS) -> int:
        return int(self._ask("create", data, sop_class, uid).Status)

    def set(self, data: Any, uid: str) -> int:
        return int(self._ask("set", data, MPPS, uid).Status)

    def ask_to_set(self, data: Any, uid: str) -> Dataset:
        return self._ask("set", data, MPPS, uid)


def reported(port: int, event: int, uid: str) -> int:
    """Report an event of a step as its manager does: the provider of this service, who calls."""
    ae = AE(ae_title="SENDER")
    ae.acse_timeout = ae.dimse_timeout = 20
    ae.add_requested_context(NOTIFICATION)
    roles = [build_role(NOTIFICATION, scu_role=False, scp_role=True)]
    association = ae.associate("127.0.0.1", port, ae_title="SCARSEG", ext_neg=roles)
    assert association.is_established
    status, _ = association.send_n_event_report(None, event, NOTIFICATION, uid)
    association.release()
    return int(status.Status)


def created(study: str, modality: str = "MR") -> Dataset:
    found, scheduled = Dataset(), Dataset()
    scheduled.StudyInstanceUID = study
    found.ScheduledStepAttributesSequence = [scheduled]
    found.PatientName, found.PatientID = "Secretname", "SECRET-ID"
    found.PerformedProcedureStepStatus, found.Modality = IN_PROGRESS, modality
    found.PerformedSeriesSequence = []
    return found


def reference(sop_class: str, uid: str) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = sop_class, uid
    return found


def ended(images: list[Dataset], state: str = COMPLETED) -> Dataset:
    found, series = Dataset(), Dataset()
    series.ReferencedImageSequence = [reference(i.SOPClassUID, i.SOPInstanceUID) for i in images]
    # What the node does not take is not waited for.
    series.ReferencedImageSequence.append(reference(SecondaryCaptureImageStorage, generate_uid()))
    series.ReferencedNonImageCompositeSOPInstanceSequence = []
    found.PerformedProcedureStepStatus, found.PerformedSeriesSequence = state, [series]
    return found


@pytest.fixture(scope="module")
def patient_node(
    node_factory: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A node that would wait an hour."""
    found = node_factory.make_node(tmp_path_factory.mktemp("mpps"), study="quiet_s = 3600")
    found.start()
    yield found
    assert found.stop() == 0


def done(node: Any) -> int:
    return len(node.events("study_done"))


def test_steps_larger_than_any_are_refused(patient_node: Any) -> None:
    """Their elements would be read one by one, 16 s and 900 MB for 24 MB of them."""
    scanner, uid, large = Scanner(patient_node.port), generate_uid(), Dataset()
    large.add_new(0x00191001, "OB", bytes(5 << 20))
    large.update(created("1.2.3"))
    assert scanner.create(large, uid) == 0x0110
    assert scanner.create(created("1.2.3"), uid) == 0
    assert scanner.set(large, uid) == 0x0110


def test_completed_step_starts_processing(node_factory: ModuleType, patient_node: Any) -> None:
    node, scanner, before = patient_node, Scanner(patient_node.port), done(patient_node)
    images, uid = node_factory.demo_study("MPPS-1"), generate_uid()
    study = str(images[0].StudyInstanceUID)
    assert scanner.create(created(study), uid) == 0
    assert scanner.create(created(study), uid) == 0x0111
    assert set(node_factory.send(node.port, images)) == {0}
    assert len(images) == 10
    assert done(node) == before
    assert scanner.set(ended(images), uid) == 0
    node_factory.wait_for(lambda: done(node) > before)
    again = scanner.ask_to_set(ended(images[:2]), uid)
    assert (again.Status, again.ErrorID) == (0x0110, 0xA710)
    told = node.log.read_text() + node.get("/")[1] + node.get("/metrics")[1]
    assert node.metric('step_messages_total{message="set",status="0x0000"}') >= 1
    kept = b"".join(p.read_bytes() for p in (node.folder / "data").glob("queue.sqlite3*"))
    for secret in ("Secretname", "SECRET-ID"):
        assert secret not in told
        assert secret.encode() not in kept
    assert uid not in told
    assert study not in told


def test_images_after_completed(node_factory: ModuleType, patient_node: Any) -> None:
    node, scanner, before = patient_node, Scanner(patient_node.port), done(patient_node)
    images, uid = node_factory.demo_study("MPPS-2"), generate_uid()
    assert scanner.create(created(str(images[0].StudyInstanceUID)), uid) == 0
    assert scanner.set(ended(images), uid) == 0
    assert set(node_factory.send(node.port, images[:-1])) == {0}
    time.sleep(1.0)
    assert done(node) == before
    assert node_factory.send(node.port, images[-1:]) == [0]
    node_factory.wait_for(lambda: done(node) > before)


def test_notification_of_available_images(node_factory: ModuleType, patient_node: Any) -> None:
    """One without an instance UID: the node names it."""
    node, scanner, before = patient_node, Scanner(patient_node.port), done(patient_node)
    images = node_factory.demo_study("IAN-1")
    assert set(node_factory.send(node.port, images)) == {0}
    said, series = Dataset(), Dataset()
    said.StudyInstanceUID = images[0].StudyInstanceUID
    items = [reference(i.SOPClassUID, i.SOPInstanceUID) for i in images]
    items.append(reference(MRImageStorage, generate_uid()))
    for item in items:
        item.InstanceAvailability = "ONLINE"
    items[-1].InstanceAvailability = "UNAVAILABLE"
    series.SeriesInstanceUID, series.ReferencedSOPSequence = images[0].SeriesInstanceUID, items
    said.ReferencedSeriesSequence = [series]
    assert scanner.create(said, None, IAN) == 0
    node_factory.wait_for(lambda: done(node) > before)
    del said.ReferencedSeriesSequence
    assert scanner.create(said, None, IAN) == 0x0120


def test_reported_event_ends_a_step(node_factory: ModuleType, patient_node: Any) -> None:
    """The step's manager tells by N-EVENT-REPORT what the scanner told it."""
    node, scanner, before = patient_node, Scanner(patient_node.port), done(patient_node)
    images, uid = node_factory.demo_study("MPPS-4"), generate_uid()
    assert reported(node.port, 2, uid) == 0x0112
    assert scanner.create(created(str(images[0].StudyInstanceUID)), uid) == 0
    assert scanner.set(ended(images, IN_PROGRESS), uid) == 0
    assert set(node_factory.send(node.port, images)) == {0}
    assert reported(node.port, 4, uid) == 0  # updated
    assert reported(node.port, 9, uid) == 0x0113
    time.sleep(1.0)
    assert done(node) == before
    assert reported(node.port, 2, uid) == 0  # completed
    node_factory.wait_for(lambda: done(node) > before)
    assert reported(node.port, 5, uid) == 0  # deleted, which no longer matters


def test_running_step_outlives_a_kill_and_holds_the_study(
    node_factory: ModuleType, tmp_path: Path
) -> None:
    node = node_factory.make_node(tmp_path, study="quiet_s = 0.3")
    node.start()
    scanner, images, uid = Scanner(node.port), node_factory.demo_study("MPPS-3"), generate_uid()
    try:
        assert scanner.create(created(str(images[0].StudyInstanceUID)), uid) == 0
        assert set(node_factory.send(node.port, images)) == {0}
        time.sleep(0.8)
        node.kill()
        node.start()
        time.sleep(0.8)
        assert not node.events("study_done")
        assert scanner.set(ended([], DISCONTINUED), uid) == 0
        node_factory.wait_for(lambda: node.events("study_done"))
    finally:
        node.kill()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"PerformedProcedureStepStatus": "DONE"}, 0x0106),
        ({"PerformedProcedureStepStatus": COMPLETED}, 0x0106),
        ({"PerformedProcedureStepStatus": None}, 0x0120),
        ({"Modality": None}, 0x0120),
        ({"Modality": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": None}, 0x0120),
        ({"ScheduledStepAttributesSequence": []}, 0x0121),
        ({"ScheduledStepAttributesSequence": [Dataset()]}, 0x0120),
    ],
)
def test_wrong_steps(patient_node: Any, change: dict[str, Any], status: int) -> None:
    data, uid = created(generate_uid()), generate_uid()
    for keyword, value in change.items():
        delattr(data, keyword) if value is None else setattr(data, keyword, value)
    scanner = Scanner(patient_node.port)
    assert scanner.create(data, uid) == status
    assert scanner.set(ended([]), uid) == 0x0112  # it was not kept


def test_wrong_changes(patient_node: Any) -> None:
    scanner, uid = Scanner(patient_node.port), generate_uid()
    assert scanner.create(created(generate_uid()), uid) == 0
    wrong = ended([])
    wrong.PerformedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = ""
    assert scanner.set(wrong, uid) == 0x0121
    wrong = ended([])
    del wrong.PerformedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPClassUID
    assert scanner.set(wrong, uid) == 0x0120
    wrong = ended([], "DONE")
    assert scanner.set(wrong, uid) == 0x0106
    described = Dataset()
    described.PerformedProcedureStepDescription = "nothing of ours"
    assert scanner.set(described, uid) == 0  # still in progress
    assert scanner.set(ended([]), uid) == 0


def test_bytes_that_are_no_step(patient_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent in place of the data set: the answer is a failure, and the node goes on."""
    scanner = Scanner(patient_node.port)
    sequence = b"\x40\x00\x70\x02"
    for data in (
        b"\xff\xfe" * 300,
        sequence + b"\xff\xff\xff\x7f" + b"\0" * 50,
        sequence + b"\x10\x00\x00\x00" + b"\x01" * 16,
        (sequence + b"\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 3000,
    ):
        monkeypatch.setattr("pynetdicom.association.encode", lambda *_, data=data: data)
        assert scanner.create(created(generate_uid()), generate_uid()) in (0x0106, 0x0110, 0x0120)
    monkeypatch.undo()
    assert scanner.create(created(generate_uid()), generate_uid()) == 0


def arrive(queue: Queue, *uids: str) -> None:
    for uid in uids:
        queue.add(Arrival(uid, "1.2", "image", "p", "", "", b"data of " + uid.encode(), 0))


def test_when_a_study_is_complete(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "data")
    queue, steps = Queue(storage), Steps(storage)
    arrive(queue, "1.1")
    assert steps.add(Step("7.1", IN_PROGRESS, ["1.2", "1.3"]))
    assert queue.complete(0, 60) == []
    assert len(queue.complete(0, 0)) == 1  # waited long enough
    assert steps.update("7.1", COMPLETED, ["1.1", "1.5"])
    assert queue.complete(60, 60) == []
    assert len(queue.complete(0, 60)) == 1  # what is missing is waited for as by silence
    arrive(queue, "1.5")
    assert len(queue.complete(60, 60)) == 1
    arrive(queue, "1.6")  # of another step, of which nothing is known
    assert queue.complete(60, 60) == []
    assert steps.add(Step("7.2", IN_PROGRESS, ["1.2"]))
    assert queue.complete(0, 60) == []
    assert steps.update("7.2", COMPLETED, ["1.6"])
    assert len(queue.complete(60, 60)) == 1
    assert not steps.update("7.2", DISCONTINUED, [])
    assert steps.state("7.2") == COMPLETED


def test_ecg_step_does_not_hold_images(patient_node: Any) -> None:
    """The cart says ECG; its step is known, but no study waits for it."""
    scanner, study, uid = Scanner(patient_node.port), generate_uid(), generate_uid()
    assert scanner.create(created(study, "ECG"), uid) == 0
    rows = patient_node.rows(f"SELECT * FROM step_studies WHERE study_uid = '{study}'")
    assert rows == []
    assert scanner.set(ended([]), uid) == 0


def test_old_steps_are_forgotten(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "data")
    queue, steps = Queue(storage), Steps(storage)
    arrive(queue, "1.1")
    steps.add(Step("7.1", IN_PROGRESS, ["1.2"], ["1.1"]))
    steps.add(Step("7.2", IN_PROGRESS, ["9.9"], ["1.9"]))
    steps.forget(60)
    assert steps.state("7.2") == IN_PROGRESS
    steps.forget(0)
    assert (steps.state("7.1"), steps.state("7.2")) == (IN_PROGRESS, None)
    assert [tuple(row) for row in storage.rows("SELECT * FROM step_images")] == [("7.1", "1.1")]


def test_data_of_the_version_before(tmp_path: Path) -> None:
    """Its database had no steps: they are added, and what was queued stays."""
    storage = Storage(tmp_path / "data")
    arrive(Queue(storage), "1.1")
    with storage.change() as database:
        database.execute("DROP INDEX studies_by_patient")
        for column in ("changes", "with_ecg", "images_forgotten"):
            database.execute(f"ALTER TABLE studies DROP COLUMN {column}")
        for table in ("step_images", "step_studies", "steps"):
            database.execute(f"DROP TABLE {table}")
        database.execute("PRAGMA user_version=1")
    storage.close()
    again = Storage(tmp_path / "data")
    assert Steps(again).add(Step("7.1", IN_PROGRESS, ["1.2"]))
    assert len(Queue(again).complete(0)) == 1
