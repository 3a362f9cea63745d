"""Each peer gets each newest result, until it has it or it is given up."""

from __future__ import annotations

from collections.abc import Callable

from scarseg_infer.node.queue.outbox import Outbox
from scarseg_infer.node.queue.received import Arrival, Queue
from scarseg_infer.node.queue.retention import forget
from scarseg_infer.node.queue.storage import Storage

Arrivals = Callable[..., Arrival]
Publish = Callable[..., bool]


def test_each_peer_gets_a_result_until_it_has_it(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(peers=("a", "b"))
    (delivery,) = outbox.due("a")
    outbox.sent(delivery, "a")
    assert outbox.due("a") == []
    (other,) = outbox.due("b")
    outbox.refused(other, "b", 100, "down")
    assert outbox.due("b") == []
    assert outbox.after_restart(["a", "b"]) == {}
    assert [found.attempts for found in outbox.due("b")] == [1]


def test_peer_that_is_gone_holds_no_study_and_may_come_back(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(peers=("a", "b"))
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


def test_what_nobody_takes_is_given_up(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish(peers=("a", "b"))
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


def test_older_result_is_not_sent_after_a_newer(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    """Nor is it opened again by a restart, given up, or reason to make the study anew."""
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("8.1", "8", "someone else"))
    assert publish("8.9")  # of another study: stays as it is
    queue.add(arrival("1.1"))
    assert publish("9.1", peers=("a", "b", "c", "d"))
    ours = {peer: [d for d in outbox.due(peer) if d.result == "9.1"] for peer in "abcd"}
    outbox.sent(ours["a"][0], "a")
    assert outbox.after_restart(["a", "b", "c"]) == {"d": 1}
    assert outbox.waits(ours["b"][0], "b")
    queue.add(arrival("5.1", "5", kind="ecg"))
    assert publish("9.2", peers=("a", "b", "c"), with_ecg=True)
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


def test_superseded_result_holds_no_study(
    storage: Storage, arrival: Arrivals, publish: Publish
) -> None:
    queue, outbox = Queue(storage), Outbox(storage)
    queue.add(arrival("1.1"))
    assert publish("9.1")
    queue.add(arrival("1.2"))
    assert publish("9.2")
    assert forget(storage, 0) == 0  # the newer one is still to be sent
    outbox.sent(outbox.due("a")[0], "a")
    assert forget(storage, 0) == 1
    queue.add(arrival("1.1"))
    queue.add(arrival("1.2"))
    assert queue.complete(0)[0].inputs == "digest"  # the peer has all that is to be had
