"""Deletion of what nobody needs any more and of a crash's leftovers, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scarseg_infer.node.queue.outbox import Outbox
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.retention import forget
from scarseg_infer.node.queue.storage import Storage, remove

Arrivals = Callable[..., Arrival]
Publish = Callable[..., bool]


def test_leftovers_of_a_crash_go_and_nothing_else(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    publish()
    keep = {
        path for path in storage.root.rglob("*") if path.is_file() and "sqlite" not in path.name
    }
    (storage.root / "incoming" / "half").write_bytes(b"x")
    (storage.root / "objects" / "1" / "never-committed.dcm").write_bytes(b"x")
    (storage.root / "results" / "1-7").mkdir()
    (storage.root / "work" / "1").mkdir()
    storage.close()
    again = Storage(storage.root)
    assert again.remove_leftovers() == 4
    left = {
        path for path in storage.root.rglob("*") if path.is_file() and "sqlite" not in path.name
    }
    assert left == keep
    assert Queue(again).after_restart() == 0
    for path in (storage.root / "objects").glob("*/*"):
        path.unlink()
    assert Queue(again).after_restart() == 1
    # What is lost is not acknowledged as known, and no result is made without it.
    assert Queue(again).add(arrival("1.2")) == "new"
    (study,) = Queue(again).complete(0)
    assert (study.objects, study.images_missing) == (1, 0)
    assert Queue(again).add(arrival("1.1")) == "new"


def test_only_what_nobody_needs_is_forgotten(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert forget(storage, 0) == 0  # not processed
    publish()
    assert forget(storage, 0) == 0  # not sent
    outbox.sent(outbox.due("a")[0], "a")
    assert forget(storage, 3600) == 0  # too young
    assert forget(storage, 0) == 1
    assert forget(storage, 0) == 0
    assert not list((storage.root / "objects").iterdir())
    assert not list((storage.root / "results").iterdir())
    assert outbox.counts() == {}
    for table in ("studies", "objects", "results", "deliveries"):  # nobody's identifier is left
        for row in storage.rows(f"SELECT * FROM {table}"):
            assert "p" not in tuple(row)
    assert queue.add(arrival("1.1")) == "new"  # comes again: the same study
    (study,) = queue.complete(0)
    assert (study.id, study.revision, study.inputs) == (1, 1, "digest")
    assert (study.patient, study.images_missing) == ("p", 0)


def test_object_that_comes_while_others_are_forgotten_stays(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, arrival: Arrivals
) -> None:
    queue = Queue(storage)
    for study in ("1.2", "1.3"):
        queue.add(arrival(f"{study}.1", study, kind="ecg"))
    first, second = (row["id"] for row in storage.rows("SELECT id FROM studies ORDER BY id"))
    late: list[str] = []

    def remove_slowly(path: Path) -> None:
        if path.name == str(first):
            late.append(queue.add(arrival("1.3.2", "1.3")))
        remove(path)

    monkeypatch.setattr("scarseg_infer.node.queue.retention.remove", remove_slowly)
    assert forget(storage, 0) == 1
    assert late == ["new"]
    assert len(list((storage.root / "objects" / str(second)).iterdir())) == 2
    (study,) = queue.complete(0)
    assert (study.id, study.objects) == (second, 2)


def test_forgetting_that_was_cut_off_is_ended_at_the_next_start(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, arrival: Arrivals, publish: Publish
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    assert publish()
    (delivery,) = Outbox(storage).due("a")
    Outbox(storage).sent(delivery, "a")

    def fail(_: Path) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr("scarseg_infer.node.queue.retention.remove", fail)
        with pytest.raises(OSError, match="disk"):
            forget(storage, 0)
    assert list((storage.root / "results").iterdir())
    storage.remove_leftovers()
    assert not list((storage.root / "results").iterdir())
    assert not list((storage.root / "objects").glob("*/*"))


def test_part_of_a_forgotten_study_is_not_the_study(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue = Queue(storage)
    for uid in ("1.1", "1.2", "1.3"):
        queue.add(arrival(uid))
    assert publish(peers=())
    assert forget(storage, 0) == 1
    queue.add(arrival("1.3"))
    (study,) = queue.complete(0)
    assert study.images_missing == 2
    assert queue.fail(study, "a part")
    queue.add(arrival("1.3"))  # whoever sends it again means it
    assert [study.images_missing for study in queue.complete(0)] == [0]
    assert publish("9.2", peers=())
    assert forget(storage, 0) == 1
    queue.add(arrival("1.1"))
    queue.add(arrival("1.2"))
    assert [study.images_missing for study in queue.complete(0)] == [0]


def test_study_that_is_being_sent_again_is_not_forgotten_amid_that(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    """Else the part that came before would be missing, though it was acknowledged."""
    queue = Queue(storage)
    for uid in ("1.1", "1.2"):
        queue.add(arrival(uid))
    assert publish(peers=())
    with storage.change() as database:
        database.execute("UPDATE studies SET last_received = 0, finished = 0")
    assert queue.add(arrival("1.1")) == "known"
    assert forget(storage, 3600) == 0
    assert queue.add(arrival("1.2")) == "known"
    assert queue.complete(0) == []  # and nothing is made anew


def test_ecg_that_is_sent_again_is_kept_as_long_as_a_new_one(
    storage: Storage, arrival: Arrivals
) -> None:
    queue = Queue(storage)
    queue.add(arrival("5.1", "5", kind="ecg"))
    with storage.change() as database:
        database.execute("UPDATE studies SET last_received = 0")
    assert queue.add(arrival("5.1", "5", kind="ecg")) == "known"
    assert forget(storage, 3600) == 0


@pytest.mark.parametrize("state", ["done", "failed"])
def test_ecg_of_a_study_that_was_forgotten_does_not_open_it(
    storage: Storage, arrival: Arrivals, publish: Publish, state: str
) -> None:
    """Nothing can be made of it, so it would be open for ever."""
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    if state == "done":
        assert publish(peers=())
    else:
        queue.fail(queue.complete(0)[0], "broken")
    assert forget(storage, 0) == 1
    for answer in ("new", "known"):
        assert queue.add(arrival("5.1", kind="ecg")) == answer
        (row,) = storage.rows("SELECT state, objects FROM studies")
        assert tuple(row) == (state, 1)
        assert not queue.has_images("1.2")
    queue.add(arrival("1.1"))
    (study,) = queue.complete(0)
    assert (study.objects, len(queue.ecgs(study))) == (2, 1)
    assert forget(storage, 0) == 0
