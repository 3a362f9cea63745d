"""Studies in the queue: when they are complete, what belongs to them, what makes them anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from scarseg_infer.node.dicom.receive import arrival_in_file
from scarseg_infer.node.queue.outbox import Outbox, ResultFile
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.retention import forget
from scarseg_infer.node.queue.steps import DISCONTINUED, IN_PROGRESS, Step, Steps
from scarseg_infer.node.queue.storage import Storage

Arrivals = Callable[..., Arrival]
Publish = Callable[..., bool]


def test_studies_are_numbered_one_after_another(storage: Storage, arrival: Arrivals) -> None:
    queue = Queue(storage)
    for uid, study in (("1.1", "1"), ("1.2", "1"), ("1.3", "1"), ("2.1", "2"), ("1.4", "1")):
        queue.add(arrival(uid, study))
    queue.add(arrival("3.1", "3"))
    assert [queue.number(study) for study in ("1", "2", "3")] == [1, 2, 3]


def test_ecg_alone_is_no_study_and_is_found_by_patient(storage: Storage, arrival: Arrivals) -> None:
    queue = Queue(storage)
    queue.add(arrival("5.1", "5", "p", "ecg", "20240101"))
    assert queue.complete(0) == []
    queue.add(arrival("1.1"))
    queue.add(arrival("5.2", "6", "p", "ecg", "20240301"))
    queue.add(arrival("5.3", "7", "someone else", "ecg", "20240401"))
    (study,) = queue.complete(0)
    names = [path.read_bytes().decode("latin-1").split()[-1] for path in queue.ecgs(study)]
    assert names == ["5.2", "5.1"]


def test_nobody_is_paired_by_a_missing_or_foreign_identifier(
    storage: Storage, arrival: Arrivals
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1", "1.2", ""))
    queue.add(arrival("5.1", "5", "", "ecg"))
    assert queue.ecgs(queue.complete(0)[0]) == []
    queue.add(replace(arrival("2.1", "2"), issuer="here"))
    queue.add(replace(arrival("5.2", "6", kind="ecg"), issuer="there"))
    (study,) = [study for study in queue.complete(0) if study.issuer == "here"]
    assert queue.ecgs(study) == []


def test_identifier_of_an_unknown_issuer_names_nobody_among_several(
    storage: Storage, arrival: Arrivals
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    queue.add(replace(arrival("5.1", "5", kind="ecg"), issuer="here"))
    assert len(queue.ecgs(queue.complete(0)[0])) == 1
    queue.add(replace(arrival("6.1", "6", kind="ecg"), issuer="there"))
    assert queue.ecgs(queue.complete(0)[0]) == []
    queue.add(arrival("1.9", kind="ecg"))  # the study's own
    assert len(queue.ecgs(queue.complete(0)[0])) == 1
    queue.add(replace(arrival("1.2"), issuer="here"))  # a later image says it
    (study,) = queue.complete(0)
    assert study.issuer == "here"
    assert len(queue.ecgs(study)) == 2
    queue.add(replace(arrival("1.3"), issuer="there"))
    assert queue.complete(0)[0].issuer == "here"


def test_results_made_while_objects_came_are_dropped(storage: Storage, arrival: Arrivals) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    (before,) = queue.complete(0)
    queue.add(arrival("1.2"))
    folder = storage.root / "work" / "out"
    folder.mkdir()
    (folder / "scar.dcm").write_bytes(b"seg")
    files = [ResultFile("seg", "scar.dcm", "9.1", "1.2.840")]
    assert not Outbox(storage).publish(before, folder, files, ["a"], "digest", with_ecg=False)
    assert Outbox(storage).due("a") == []
    assert not list((storage.root / "results").iterdir())
    assert len(queue.complete(0)) == 1


def test_quiet_time(storage: Storage, arrival: Arrivals) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    assert queue.complete(60) == []
    time.sleep(0.25)
    assert len(queue.complete(0.2)) == 1
    with storage.change() as database:
        database.execute("UPDATE studies SET last_received = last_received - 3600")
    assert len(queue.complete(60)) == 1
    queue.after_restart()  # nobody could send while the node was down
    assert queue.complete(60) == []


def test_failed_study_is_tried_again_when_it_is_sent_again(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    queue.begin(queue.complete(0)[0])
    queue.fail(queue.complete(0)[0], "broken")
    assert queue.complete(0) == []
    assert queue.add(arrival("1.1")) == "known"
    (study,) = queue.complete(0)
    assert study.attempts == 0
    assert publish()
    assert queue.add(arrival("1.1")) == "known"  # of one that is done nothing is made anew
    assert queue.complete(0) == []


def test_late_ecg_opens_what_was_made_without_one(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    (before,) = queue.complete(0)
    queue.begin(before)
    queue.add(arrival("5.1", "5", kind="ecg"))  # while the study is processed
    assert queue.again(before) is not None
    assert not queue.fail(before, "without that ECG")
    assert queue.complete(0)[0].attempts == 0  # that one does not count
    out = storage.root / "work" / "stale"
    out.mkdir()
    assert not Outbox(storage).publish(before, out, [], [], "digest", with_ecg=False)
    assert publish()
    assert queue.complete(0) == []
    queue.add(arrival("5.2", "5", "someone else", kind="ecg"))
    queue.add(replace(arrival("5.3", "5", kind="ecg"), patient=""))
    assert queue.complete(0) == []
    queue.add(arrival("5.4", "5", kind="ecg"))
    assert publish("9.2", with_ecg=True)
    queue.add(arrival("5.5", "5", kind="ecg"))
    assert queue.complete(0) == []


@pytest.mark.parametrize("step", [-86400.0, 86400.0 * 30])
def test_clock_that_is_set_changes_no_waiting_time(
    storage: Storage, step: float, arrival: Arrivals, publish: Publish
) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("0.1", "0"))  # of an earlier process, by a clock that may have been right
    with storage.change() as database:
        database.execute("UPDATE studies SET first_received = first_received - 1e6, state = 'done'")
    queue.add(arrival("1.1"))
    assert publish()
    queue.add(arrival("2.1", "2"))
    queue.postpone(queue.complete(0)[0], 0.3, "disk")
    Steps(storage).add(Step("7.1", IN_PROGRESS, ["2"]))
    kept, _, before = storage.rows("SELECT first_received AS at FROM studies ORDER BY id")
    real = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + step)
        queue.add(arrival("3.1", "3"))  # the first thing after it: times are moved once
        ids = "SELECT first_received AS at FROM studies ORDER BY id"
        early, _, moved, new = storage.rows(ids)
        assert (early["at"], moved["at"]) == (kept["at"], pytest.approx(before["at"] + step, abs=1))
        assert new["at"] == pytest.approx(time.time(), abs=5)
        assert outbox.give_up(3600) == {}
        assert forget(storage, 3600) == 0
        assert [study.id for study in queue.complete(0, 3600)] == [4]
        Steps(storage).update("7.1", DISCONTINUED, None)
        time.sleep(0.4)
        assert [study.id for study in queue.complete(0, 3600)] == [3, 4]
        assert len(outbox.due("a")) == 1


@pytest.mark.parametrize("nobody", ["ANONYMOUS", "0000", "Unknown", "XXXX"])
def test_what_anonymisers_write_pairs_nobodys_ecg(
    node_factory: ModuleType, ecg_factory: ModuleType, storage: Storage, nobody: str
) -> None:
    """Every anonymised patient bears it: the newest ECG of all of them was taken."""
    queue = Queue(storage)
    for dataset in [*node_factory.demo_study(nobody), node_factory.demo_ecg(ecg_factory, nobody)]:
        found = arrival_in_file(node_factory.encoded(dataset))
        assert found is not None
        queue.add(found)
    (study,) = queue.complete(0)
    assert queue.ecgs(study) == []
