"""The queue on a real disk: nothing doubled, nothing forgotten too early, leftovers removed."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scarseg_infer.node.http_api import arrival_in_file
from scarseg_infer.node.outbox import Outbox, ResultFile
from scarseg_infer.node.queue import Arrival, Kind, Queue
from scarseg_infer.node.retention import forget
from scarseg_infer.node.steps import DISCONTINUED, IN_PROGRESS, Step, Steps
from scarseg_infer.node.storage import Storage, remove

META = b"\0" * 128 + b"DICM"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "data")


def arrival(
    uid: str, study: str = "1.2", patient: str = "p", kind: Kind = "image", taken: str = ""
) -> Arrival:
    return Arrival(
        uid, study, kind, patient, "", taken, META + f"data of {uid}".encode(), len(META)
    )


def publish(
    storage: Storage, uid: str = "9.1", peers: tuple[str, ...] = ("a",), with_ecg: bool = False
) -> bool:
    (study,) = Queue(storage).complete(0)
    folder = storage.root / "work" / "out"
    folder.mkdir()
    (folder / "scar.dcm").write_bytes(b"seg")
    files = [ResultFile("seg", "scar.dcm", uid, "1.2.840")]
    return Outbox(storage).publish(study, folder, files, peers, "digest", with_ecg=with_ecg)


def test_same_object_from_many_threads_is_kept_once(storage: Storage) -> None:
    queue = Queue(storage)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(queue.add, [arrival(f"1.{n % 5}") for n in range(40)]))
    assert found.count("new") == 5
    assert found.count("known") == 35
    (study,) = queue.complete(0)
    assert study.objects == len(queue.images(study)) == 5
    assert not list((storage.root / "incoming").iterdir())
    for path in queue.images(study):
        assert path.read_bytes().startswith(META + b"data of 1.")


def test_studies_are_numbered_one_after_another(storage: Storage) -> None:
    queue = Queue(storage)
    for uid, study in (("1.1", "1"), ("1.2", "1"), ("1.3", "1"), ("2.1", "2"), ("1.4", "1")):
        queue.add(arrival(uid, study))
    queue.add(arrival("3.1", "3"))
    assert [queue.number(study) for study in ("1", "2", "3")] == [1, 2, 3]


def test_other_object_of_the_same_uid(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    assert queue.add(replace(arrival("1.1"), file=META + b"else")) == "conflict"
    (path,) = (storage.root / "objects").glob("*/*")
    assert path.read_bytes() == META + b"data of 1.1"


def in_two_syntaxes(image: Dataset) -> list[Arrival]:
    """As a scanner sends it, with explicit VR, and as an archive does, with implicit VR."""
    found = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        image.file_meta.TransferSyntaxUID = syntax
        stream = BytesIO()
        image.save_as(stream, implicit_vr=syntax.is_implicit_VR, little_endian=True)
        one = arrival_in_file(stream.getvalue())
        assert one is not None
        found.append(one)
    return found


def once_after_a_look(
    storage: Storage, patch: pytest.MonkeyPatch, what: Callable[[], object]
) -> None:
    """Do something else as soon as the queue has looked for an object, as another thread may."""
    look = storage.rows

    def look_and_wait(query: str, *values: object) -> list[sqlite3.Row]:
        found = look(query, *values)
        if "FROM objects WHERE sop_uid" in query:
            patch.setattr(storage, "rows", look)
            what()
        return found

    patch.setattr(storage, "rows", look_and_wait)


@pytest.mark.parametrize("syntax", [0, 1], ids=["same bytes", "other syntax"])
@pytest.mark.parametrize("state", ["done", "failed"])
def test_object_that_is_forgotten_while_it_is_sent_again_is_kept(
    storage: Storage, node_factory: ModuleType, state: str, syntax: int
) -> None:
    queue, sent = Queue(storage), in_two_syntaxes(node_factory.demo_study()[0])
    queue.add(sent[0])
    if state == "done":
        assert publish(storage, peers=())
    else:
        queue.fail(queue.complete(0)[0], "broken")
    forgotten: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        once_after_a_look(storage, patch, lambda: forgotten.append(forget(storage, 0)))
        assert queue.add(sent[syntax]) == "new"
    assert forgotten == [1]
    (study,) = queue.complete(0)
    assert (study.objects, study.images_missing) == (1, 0)
    assert [path.read_bytes() for path in queue.images(study)] == [sent[syntax].file]


def test_object_that_is_forgotten_and_replaced_while_it_is_compared(storage: Storage) -> None:
    """The answer is about what is here in the end."""
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    queue.fail(queue.complete(0)[0], "broken")
    other = replace(arrival("1.1"), file=META + b"else")

    def replace_it() -> None:
        assert forget(storage, 0) == 1
        assert queue.add(other) == "new"

    with pytest.MonkeyPatch.context() as patch:
        once_after_a_look(storage, patch, replace_it)
        assert queue.add(arrival("1.1")) == "conflict"
    (path,) = (storage.root / "objects").glob("*/*")
    assert path.read_bytes() == other.file


@pytest.mark.parametrize("other", [False, True], ids=["same bytes", "other bytes"])
def test_known_object_whose_file_is_gone_is_stored_again(storage: Storage, other: bool) -> None:
    queue = Queue(storage)
    for uid in ("1.1", "1.2"):
        queue.add(arrival(uid))
    assert publish(storage)
    again = replace(arrival("1.1"), file=META + b"else") if other else arrival("1.1")
    (row,) = storage.rows("SELECT file FROM objects WHERE sop_uid = '1.1'")
    (storage.root / row["file"]).unlink()
    assert queue.add(again) == "new"
    (study,) = queue.complete(0)
    assert (study.objects, study.images_missing) == (2, 0)
    assert again.file in [path.read_bytes() for path in queue.images(study)]
    assert queue.add(again) == "known"


def test_object_whose_file_is_gone_is_not_given_up_before_it_is_stored(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    (file,) = queue.images(queue.complete(0)[0])
    file.unlink()
    (storage.root / "incoming").rmdir()
    with pytest.raises(OSError):
        queue.add(arrival("1.1"))
    (study,) = queue.complete(0)
    assert (study.objects, study.images_missing, queue.images(study)) == (1, 0, [file])


def test_object_in_two_syntaxes_at_a_time(storage: Storage, node_factory: ModuleType) -> None:
    """While one is written the other comes: it is the same, for all that its bytes differ."""
    queue, sent = Queue(storage), in_two_syntaxes(node_factory.demo_study()[0])
    with pytest.MonkeyPatch.context() as patch:
        once_after_a_look(storage, patch, lambda: queue.add(sent[1]))
        assert queue.add(sent[0]) == "known"
    (study,) = queue.complete(0)
    assert [path.read_bytes() for path in queue.images(study)] == [sent[1].file]
    assert not list((storage.root / "incoming").iterdir())


def test_study_that_is_being_sent_again_is_not_forgotten_amid_that(storage: Storage) -> None:
    """Else the part that came before would be missing, though it was acknowledged."""
    queue = Queue(storage)
    for uid in ("1.1", "1.2"):
        queue.add(arrival(uid))
    assert publish(storage, peers=())
    with storage.change() as database:
        database.execute("UPDATE studies SET last_received = 0, finished = 0")
    assert queue.add(arrival("1.1")) == "known"
    assert forget(storage, 3600) == 0
    assert queue.add(arrival("1.2")) == "known"
    assert queue.complete(0) == []  # and nothing is made anew


def test_ecg_that_is_sent_again_is_kept_as_long_as_a_new_one(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("5.1", "5", kind="ecg"))
    with storage.change() as database:
        database.execute("UPDATE studies SET last_received = 0")
    assert queue.add(arrival("5.1", "5", kind="ecg")) == "known"
    assert forget(storage, 3600) == 0


def test_object_that_cannot_be_written_leaves_nothing(storage: Storage) -> None:
    blocked = storage.root / "objects"
    blocked.rmdir()
    blocked.write_text("a file where the folder was")
    queue = Queue(storage)
    with pytest.raises(OSError):
        queue.add(arrival("1.1"))
    assert queue.complete(0) == []
    assert not list((storage.root / "incoming").iterdir())


def test_ecg_alone_is_no_study_and_is_found_by_patient(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("5.1", "5", "p", "ecg", "20240101"))
    assert queue.complete(0) == []
    queue.add(arrival("1.1"))
    queue.add(arrival("5.2", "6", "p", "ecg", "20240301"))
    queue.add(arrival("5.3", "7", "someone else", "ecg", "20240401"))
    (study,) = queue.complete(0)
    names = [path.read_bytes().decode("latin-1").split()[-1] for path in queue.ecgs(study)]
    assert names == ["5.2", "5.1"]


def test_nobody_is_paired_by_a_missing_or_foreign_identifier(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1", "1.2", ""))
    queue.add(arrival("5.1", "5", "", "ecg"))
    assert queue.ecgs(queue.complete(0)[0]) == []
    queue.add(replace(arrival("2.1", "2"), issuer="here"))
    queue.add(replace(arrival("5.2", "6", kind="ecg"), issuer="there"))
    (study,) = [study for study in queue.complete(0) if study.issuer == "here"]
    assert queue.ecgs(study) == []


def test_results_made_while_objects_came_are_dropped(storage: Storage) -> None:
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


def test_each_peer_gets_a_result_until_it_has_it(storage: Storage) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(storage, peers=("a", "b"))
    (delivery,) = outbox.due("a")
    outbox.sent(delivery, "a")
    assert outbox.due("a") == []
    (other,) = outbox.due("b")
    outbox.refused(other, "b", 100, "down")
    assert outbox.due("b") == []
    assert outbox.after_restart(["a", "b"]) == {}
    assert [found.attempts for found in outbox.due("b")] == [1]


def test_peer_that_is_gone_holds_no_study_and_may_come_back(storage: Storage) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(storage, peers=("a", "b"))
    outbox.sent(outbox.due("a")[0], "a")
    assert forget(storage, 0) == 0
    assert outbox.after_restart(["a"]) == {"b": 1}
    assert outbox.after_restart(["a"]) == {}
    assert outbox.counts() == {("a", "sent"): 1, ("b", "removed"): 1}
    assert (outbox.due("b"), outbox.oldest_pending_s()) == ([], 0)
    assert forget(storage, 60) == 0  # kept for as long as one that has just been sent
    assert outbox.after_restart(["a", "b"]) == {}
    assert len(outbox.due("b")) == 1
    assert outbox.after_restart([]) == {"b": 1}
    assert forget(storage, 0) == 1
    assert outbox.after_restart(["a", "b"]) == {}
    assert outbox.due("b") == []


def test_quiet_time(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    assert queue.complete(0.2) == []
    time.sleep(0.25)
    assert len(queue.complete(0.2)) == 1
    queue.after_restart()  # nobody could send while the node was down
    assert queue.complete(0.2) == []


def test_leftovers_of_a_crash_go_and_nothing_else(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    publish(storage)
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


def test_only_what_nobody_needs_is_forgotten(storage: Storage) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert forget(storage, 0) == 0  # not processed
    publish(storage)
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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_object_that_comes_while_others_are_forgotten_stays(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(storage)
    for study in ("1.2", "1.3"):
        queue.add(arrival(f"{study}.1", study, kind="ecg"))
    first, second = queue.number("1.2"), queue.number("1.3")
    late: list[str] = []

    def remove_slowly(path: Path) -> None:
        if path.name == str(first):
            late.append(queue.add(arrival("1.3.2", "1.3")))
        remove(path)

    monkeypatch.setattr("scarseg_infer.node.retention.remove", remove_slowly)
    assert forget(storage, 0) == 1
    assert late == ["new"]
    assert len(list((storage.root / "objects" / str(second)).iterdir())) == 2
    (study,) = queue.complete(0)
    assert (study.id, study.objects) == (second, 2)


def test_forgetting_that_was_cut_off_is_ended_at_the_next_start(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    assert publish(storage)
    (delivery,) = Outbox(storage).due("a")
    Outbox(storage).sent(delivery, "a")

    def fail(_: Path) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr("scarseg_infer.node.retention.remove", fail)
        with pytest.raises(OSError, match="disk"):
            forget(storage, 0)
    assert list((storage.root / "results").iterdir())
    storage.remove_leftovers()
    assert not list((storage.root / "results").iterdir())
    assert not list((storage.root / "objects").glob("*/*"))


def test_part_of_a_forgotten_study_is_not_the_study(storage: Storage) -> None:
    queue = Queue(storage)
    for uid in ("1.1", "1.2", "1.3"):
        queue.add(arrival(uid))
    assert publish(storage, peers=())
    assert forget(storage, 0) == 1
    queue.add(arrival("1.3"))
    (study,) = queue.complete(0)
    assert study.images_missing == 2
    assert queue.fail(study, "a part")
    queue.add(arrival("1.3"))  # whoever sends it again means it
    assert [study.images_missing for study in queue.complete(0)] == [0]
    assert publish(storage, "9.2", peers=())
    assert forget(storage, 0) == 1
    queue.add(arrival("1.1"))
    queue.add(arrival("1.2"))
    assert [study.images_missing for study in queue.complete(0)] == [0]


def test_failed_study_is_tried_again_when_it_is_sent_again(storage: Storage) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    queue.begin(queue.complete(0)[0])
    queue.fail(queue.complete(0)[0], "broken")
    assert queue.complete(0) == []
    assert queue.add(arrival("1.1")) == "known"
    (study,) = queue.complete(0)
    assert study.attempts == 0
    assert publish(storage)
    assert queue.add(arrival("1.1")) == "known"  # of one that is done nothing is made anew
    assert queue.complete(0) == []


def test_late_ecg_opens_what_was_made_without_one(storage: Storage) -> None:
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
    assert publish(storage)
    assert queue.complete(0) == []
    queue.add(arrival("5.2", "5", "someone else", kind="ecg"))
    queue.add(replace(arrival("5.3", "5", kind="ecg"), patient=""))
    assert queue.complete(0) == []
    queue.add(arrival("5.4", "5", kind="ecg"))
    assert publish(storage, "9.2", with_ecg=True)
    queue.add(arrival("5.5", "5", kind="ecg"))
    assert queue.complete(0) == []


def test_identifier_of_an_unknown_issuer_names_nobody_among_several(storage: Storage) -> None:
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


def test_object_that_is_here_in_another_syntax(storage: Storage, node_factory: ModuleType) -> None:
    """An archive sends with implicit VR what the scanner sent with explicit VR."""
    queue, image = Queue(storage), node_factory.demo_study()[0]
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2"
    image.ReferencedImageSequence = [item]
    image.add_new(0x00091001, "LO", "private")
    found = in_two_syntaxes(image)
    image.PatientID += "X"
    found.append(in_two_syntaxes(image)[1])
    assert [queue.add(one) for one in found] == ["new", "known", "conflict"]


@pytest.mark.parametrize("step", [-86400.0, 86400.0 * 30])
def test_clock_that_is_set_changes_no_waiting_time(storage: Storage, step: float) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("0.1", "0"))  # of an earlier process, by a clock that may have been right
    with storage.change() as database:
        database.execute("UPDATE studies SET first_received = first_received - 1e6, state = 'done'")
    queue.add(arrival("1.1"))
    assert publish(storage)
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


def test_what_nobody_takes_is_given_up(storage: Storage) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(storage, peers=("a", "b"))
    outbox.sent(outbox.due("a")[0], "a")
    assert outbox.give_up(60) == {}
    assert outbox.give_up(0) == {"b": 1}
    assert outbox.give_up(0) == {}
    assert outbox.counts() == {("a", "sent"): 1, ("b", "given up"): 1}
    assert outbox.due("b") == []
    assert outbox.after_restart(["a", "b"]) == {}
    assert len(outbox.due("b")) == 1  # once more after a restart
    assert outbox.give_up(0) == {"b": 1}
    assert forget(storage, 0) == 1
    queue.add(arrival("1.1"))  # sent again, the peer gets results at last
    assert queue.complete(0)[0].inputs == ""


def test_older_result_is_not_sent_after_a_newer(storage: Storage) -> None:
    """Nor is it opened again by a restart, given up, or reason to make the study anew."""
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("8.1", "8", "someone else"))
    assert publish(storage, "8.9")  # of another study: stays as it is
    queue.add(arrival("1.1"))
    assert publish(storage, "9.1", peers=("a", "b", "c", "d"))
    ours = {peer: [d for d in outbox.due(peer) if d.result == "9.1"] for peer in "abcd"}
    outbox.sent(ours["a"][0], "a")
    assert outbox.after_restart(["a", "b", "c"]) == {"d": 1}
    assert outbox.waits(ours["b"][0], "b")
    queue.add(arrival("5.1", "5", kind="ecg"))
    assert publish(storage, "9.2", peers=("a", "b", "c"), with_ecg=True)
    assert not outbox.waits(ours["b"][0], "b")
    assert outbox.due("d") == []
    assert outbox.after_restart(["a", "b", "c", "d"]) == {}
    assert [d.result for d in outbox.due("d")] == ["9.2"]  # which was made without it
    states = "SELECT peer, state FROM deliveries WHERE result = '9.1' ORDER BY peer"
    assert [tuple(row) for row in storage.rows(states)] == [
        ("a", "sent"), ("b", "superseded"), ("c", "superseded"), ("d", "superseded"),
    ]  # fmt: skip
    outbox.refused(ours["b"][0], "b", 0, "it was being sent")
    outbox.sent(ours["c"][0], "c")  # so was this one, and it got there
    assert [d.result for d in outbox.due("b")] == ["9.2"]
    assert [d.result for d in outbox.due("c")] == ["9.2"]
    assert outbox.counts()["b", "superseded"] == 1
    assert outbox.give_up(0) == {"a": 2, "b": 1, "c": 1, "d": 1}
    assert outbox.counts()["b", "superseded"] == 1


def test_superseded_result_holds_no_study(storage: Storage) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(storage, "9.1")
    queue.add(arrival("1.2"))
    assert publish(storage, "9.2")
    assert forget(storage, 0) == 0  # the newer one is still to be sent
    outbox.sent(outbox.due("a")[0], "a")
    assert forget(storage, 0) == 1
    queue.add(arrival("1.1"))
    queue.add(arrival("1.2"))
    assert queue.complete(0)[0].inputs == "digest"  # the peer has all that is to be had


def test_others_may_not_read(storage: Storage) -> None:
    assert storage.root.stat().st_mode & 0o077 == 0
