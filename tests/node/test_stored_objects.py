"""Objects that are stored of those sent: each once, and no other in its place."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from types import ModuleType

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scarseg_infer.node.http.api import arrival_in_file
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.retention import forget
from scarseg_infer.node.queue.storage import Storage

Arrivals = Callable[..., Arrival]
Publish = Callable[..., bool]


def test_same_object_from_many_threads_is_kept_once(storage: Storage, arrival: Arrivals) -> None:
    queue = Queue(storage)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(queue.add, [arrival(f"1.{n % 5}") for n in range(40)]))
    assert found.count("new") == 5
    assert found.count("known") == 35
    (study,) = queue.complete(0)
    assert study.objects == len(queue.images(study)) == 5
    assert not list((storage.root / "incoming").iterdir())
    files = {path.read_bytes() for path in queue.images(study)}
    assert files == {arrival(f"1.{n}").file for n in range(5)}


def test_other_object_of_the_same_uid(storage: Storage, arrival: Arrivals) -> None:
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    assert queue.add(replace(arrival("1.1"), file=arrival("else").file)) == "conflict"
    (path,) = (storage.root / "objects").glob("*/*")
    assert path.read_bytes() == arrival("1.1").file


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
    storage: Storage, node_factory: ModuleType, state: str, syntax: int, publish: Publish
) -> None:
    queue, sent = Queue(storage), in_two_syntaxes(node_factory.demo_study()[0])
    queue.add(sent[0])
    if state == "done":
        assert publish(peers=())
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


def test_object_that_is_forgotten_and_replaced_while_it_is_compared(
    storage: Storage, arrival: Arrivals
) -> None:
    """The answer is about what is here in the end."""
    queue = Queue(storage)
    queue.add(arrival("1.1"))
    queue.fail(queue.complete(0)[0], "broken")
    other = replace(arrival("1.1"), file=arrival("else").file)

    def replace_it() -> None:
        assert forget(storage, 0) == 1
        assert queue.add(other) == "new"

    with pytest.MonkeyPatch.context() as patch:
        once_after_a_look(storage, patch, replace_it)
        assert queue.add(arrival("1.1")) == "conflict"
    (path,) = (storage.root / "objects").glob("*/*")
    assert path.read_bytes() == other.file


@pytest.mark.parametrize("other", [False, True], ids=["same bytes", "other bytes"])
def test_known_object_whose_file_is_gone_is_stored_again(
    storage: Storage, other: bool, arrival: Arrivals, publish: Publish
) -> None:
    queue = Queue(storage)
    for uid in ("1.1", "1.2"):
        queue.add(arrival(uid))
    assert publish()
    again = replace(arrival("1.1"), file=arrival("else").file) if other else arrival("1.1")
    (row,) = storage.rows("SELECT file FROM objects WHERE sop_uid = '1.1'")
    (storage.root / row["file"]).unlink()
    assert queue.add(again) == "new"
    (study,) = queue.complete(0)
    assert (study.objects, study.images_missing) == (2, 0)
    assert again.file in [path.read_bytes() for path in queue.images(study)]
    assert queue.add(again) == "known"


def test_object_whose_file_is_gone_is_not_given_up_before_it_is_stored(
    storage: Storage, arrival: Arrivals
) -> None:
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


def test_object_that_cannot_be_written_leaves_nothing(storage: Storage, arrival: Arrivals) -> None:
    blocked = storage.root / "objects"
    blocked.rmdir()
    blocked.write_text("a file where the folder was")
    queue = Queue(storage)
    with pytest.raises(OSError):
        queue.add(arrival("1.1"))
    assert queue.complete(0) == []
    assert not list((storage.root / "incoming").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_not_read(storage: Storage) -> None:
    assert storage.root.stat().st_mode & 0o077 == 0
