"""HL7 messages of the node: MLLP with an independent server, answers of every kind, one message
for one result however often it is tried."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import hl7
import pytest
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scarseg_infer.node.hl7.message import (
    ACCEPTED,
    REJECTED,
    NoAcknowledgementError,
    addressed,
    check_acknowledgement,
    control_id,
    has_identifier,
)
from scarseg_infer.node.hl7.mllp import MAX_ANSWER, Connection
from scarseg_infer.node.hl7.peer import Hl7Peer
from scarseg_infer.node.queue.outbox import Outbox, ResultFile
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage

MESSAGE = (
    "MSH|^~\\&|SCARSEG||||20240304||ORU^R01^ORU_R01|C0|P|2.5.1||||||UNICODE UTF-8\r"
    "PID|1||P-1||Müller^Ωmega\rOBR|1\r"
)


def acknowledgement(control: str, code: str = "AA") -> str:
    return f"MSH|^~\\&|RIS||||20240304||ACK|A1|P|2.5.1\rMSA|{code}|{control}\r"


@dataclass
class Receiver:
    """hl7apy's MLLP server, which remembers what it was sent and answers as told."""

    port: int
    messages: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    """Codes of the next answers; AA when there are none left."""
    _server: Any = None

    def start(self) -> None:
        receiver = self

        class Taken(AbstractHandler):  # type: ignore[misc]
            def reply(self) -> str:
                receiver.messages.append(self.incoming_message)
                message = parse_message(self.incoming_message)
                code = receiver.codes.pop(0) if receiver.codes else "AA"
                control = message.msh.msh_10.to_er7()
                return f"\x0b{acknowledgement(control, code)}\x1c\r"

        handlers = {"ORU^R01^ORU_R01": (Taken,)}
        self._server = MLLPServer("127.0.0.1", self.port, handlers)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class OddReceiver:
    """Answers as no server should: one of ``answers`` for each connection, the last for all
    others."""

    answers: list[Callable[[str], bytes]]
    messages: list[bytes] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def start(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                received = b""
                while not received.endswith(b"\x1c\r"):
                    more = connection.recv(65536)
                    if not more:
                        break
                    received += more
                self.messages.append(received)
                control = received.split(b"|")[9].decode() if received.count(b"|") > 9 else ""
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                connection.sendall(answer(control))


def framed(text: str) -> bytes:
    return b"\x0b" + text.encode() + b"\x1c\r"


ODD = {
    "half an answer": lambda control: framed(acknowledgement(control))[:30],
    "no answer": lambda _: b"",
    "answer to another": lambda _: framed(acknowledgement("OTHER")),
    "no acknowledgement": lambda _: framed("HTTP/1.1 400 Bad Request"),
    "garbage": lambda _: b"\x0b\xff\xfe\x00\x1c\r",
    "too long": lambda _: b"\x0b" + b"x" * (MAX_ANSWER + 5000),
    "rejected": lambda control: framed(acknowledgement(control, "AR")),
    "right at last": lambda control: b"\r\n" + framed(acknowledgement(control)),
}


@pytest.fixture(scope="module")
def talk(
    node_factory: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Receiver, OddReceiver]]:
    """A node with two receivers, of which the first is down, after it got one study."""
    receiver = Receiver(*node_factory.free_ports(1))
    odd = OddReceiver(list(ODD.values()))
    odd.start()
    peers = (
        f'[[hl7]]\nname = "ris"\nhost = "127.0.0.1"\nport = {receiver.port}\n'
        'application = "RIS"\nfacility = "HOSP|1"\n'
        f'[[hl7]]\nname = "old"\nhost = "127.0.0.1"\nport = {odd.port}\n'
        'charset = "8859/1"\nprocessing = "T"\nanswer_s = 5\n'
    )
    node = node_factory.make_node(
        tmp_path_factory.mktemp("hl7"), api=True, study="quiet_s = 0.5",
        send='objects = ["seg", "sr"]\nretry_s = 0.1\nretry_max_s = 0.3',
    )  # fmt: skip
    with (node.folder / "node.toml").open("a") as file:
        file.write(peers)
    node.start()
    try:
        study = node_factory.demo_study("SECRET-ID-77")
        for dataset in study:
            dataset.PatientName = "GEHEIM^Ångström"
            dataset.SpecificCharacterSet = "ISO_IR 192"
        assert set(node_factory.send(node.port, study)) == {0}
        node_factory.wait_for(lambda: node.metric('send_failures_total{peer="ris"}') >= 2)
        receiver.codes += ["AE", "AR"]
        receiver.start()
        for peer in ("ris", "old"):
            node_factory.wait_for(
                lambda peer=peer: node.metric(f'objects_sent_total{{peer="{peer}"}}') == 1
            )
        yield node, receiver, odd
    finally:
        node.kill()
        receiver.stop()
        odd.listener.close()


def test_one_message_until_it_is_taken(talk: tuple[Any, Receiver, OddReceiver]) -> None:
    """The receiver was down, then refused twice: the same message each time."""
    _, receiver, _ = talk
    assert len(receiver.messages) == 3
    assert len(set(receiver.messages)) == 1
    message = hl7.parse(receiver.messages[0].strip("\x0b\x1c\r") + "\r")
    header = message.segment("MSH")
    assert message.unescape(str(header[6])) == "HOSP|1"
    assert [str(header[place]) for place in (3, 5, 11, 18)] == [
        "SCARSEG", "RIS", "P", "UNICODE UTF-8",
    ]  # fmt: skip
    assert str(message.segment("PID")[3]) == "SECRET-ID-77"
    shares = [
        float(str(obx[5])) for obx in message.segments("OBX") if str(obx[3][0][0]) == "SCARPERCENT"
    ]
    assert len(shares) == 1 and 0 < shares[0] < 100


def test_every_odd_answer_is_asked_again(talk: tuple[Any, Receiver, OddReceiver]) -> None:
    node, receiver, odd = talk
    assert len(odd.messages) == len(ODD)
    assert len(set(odd.messages)) == 1
    text = odd.messages[0].decode("latin-1")
    assert "|T|2.5.1||||||8859/1\r" in text and "GEHEIM^Ångström" in text
    # The same result, so the same control ID, for every receiver.
    assert text.split("|")[9] == receiver.messages[0].split("|")[9]
    reasons = [event["reason"] for event in node.events("send_postponed") if event["peer"] == "old"]
    assert reasons == [
        "connection lost", "connection lost", "answer to another message",
        "answer is no acknowledgement", "answer is no acknowledgement", "answer too long",
        "rejected (AR)",
    ]  # fmt: skip
    refused = {event["reason"] for event in node.events("send_postponed") if event["peer"] == "ris"}
    assert refused == {"not reachable", "error (AE)", "rejected (AR)"}


def test_logs_and_pages_name_no_patient(talk: tuple[Any, Receiver, OddReceiver]) -> None:
    node, _, _ = talk
    texts = [node.log.read_text(), *(node.get(path)[1] for path in ("/", "/metrics", "/studies/1"))]
    assert not any("SECRET" in text or "GEHEIM" in text for text in texts)
    assert '"peer": "ris"' in texts[-1].replace('":"', '": "')


def test_fhir_over_http(talk: tuple[Any, Receiver, OddReceiver]) -> None:
    from fhir.resources.R4B.bundle import Bundle

    node, _, _ = talk
    code, text = node.get("/studies/1/fhir")
    bundle = Bundle.model_validate_json(text)
    assert code == 200 and len(bundle.entry) > 17
    assert bundle.entry[0].resource.subject.identifier.value == "SECRET-ID-77"
    assert "/studies/1/fhir" in node.get("/studies/1")[1]
    assert node.get("/studies/1/hl7")[0] == 404


def test_after_a_restart_nothing_is_sent_twice(talk: tuple[Any, Receiver, OddReceiver]) -> None:
    node, receiver, odd = talk
    before = len(receiver.messages), len(odd.messages)
    node.kill()
    node.start()
    assert (len(receiver.messages), len(odd.messages)) == before
    assert set(node.rows("SELECT peer, state FROM deliveries")) == {
        ("ris", "sent"),
        ("old", "sent"),
    }


PEER = Hl7Peer("old", "127.0.0.1", 1, charset="8859/1", application="R&D")  # type: ignore[arg-type]


def test_a_message_in_the_set_of_its_receiver() -> None:
    found = addressed(MESSAGE.encode(), PEER).decode("latin-1").split("\r")
    assert found[0] == (
        "MSH|^~\\&|SCARSEG||R\\T\\D||20240304||ORU^R01^ORU_R01|C0|P|2.5.1||||||8859/1"
    )
    assert found[1] == "PID|1||P-1||Müller^?mega"
    assert control_id(MESSAGE.encode()) == "C0"


def test_an_identifier_that_the_set_lacks_is_not_sent_changed() -> None:
    with pytest.raises(NoAcknowledgementError, match="identifier not in the character set"):
        addressed(MESSAGE.replace("P-1", "P-Ω").encode(), PEER)
    assert has_identifier(MESSAGE.encode())
    assert not has_identifier(MESSAGE.replace("P-1||Müller^Ωmega", "").encode())


@given(st.binary(max_size=400))
@example(b"MSH")
@example(b"MSH|\rMSA|")
@example(b"MSH|^~\\&\rMSA|AA|C0\rMSA|AA|C0")
def test_no_bytes_are_an_acknowledgement_by_chance(answer: bytes) -> None:
    with pytest.raises(NoAcknowledgementError):
        check_acknowledgement(answer, "C0")


@settings(max_examples=50)
@given(
    st.sampled_from([*ACCEPTED, *REJECTED, "XX"]), st.sampled_from(["\r", "\n", "\r\n"]),
    st.sampled_from("|!#"), st.text(st.characters(codec="latin-1", exclude_characters="\r\n")),
)  # fmt: skip
def test_acknowledgements_of_every_writer(code: str, end: str, separator: str, text: str) -> None:
    text = text.replace(separator, "")
    lines = ["MSH|^~\\&|RIS|" + text, f"MSA|{code}|C0|{text}", f"ERR||{text}", ""]
    answer = end.join(lines).replace("|", separator).encode("latin-1")
    if code in ACCEPTED:
        check_acknowledgement(answer, "C0")
        with pytest.raises(NoAcknowledgementError, match="another message"):
            check_acknowledgement(answer, "C1")
        return
    with pytest.raises(NoAcknowledgementError) as caught:
        check_acknowledgement(answer, "C0")
    assert str(caught.value) in {
        *(f"{word} ({one})" for one, word in REJECTED.items()), "answer of an unknown code",
    }  # fmt: skip


def test_an_answer_byte_by_byte_has_no_more_time_than_one_at_once() -> None:
    """The receiver goes on sending for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            while not done.wait(0.05):
                try:
                    connection.sendall(b"\x0b")
                except OSError:
                    return

    threading.Thread(target=trickle, daemon=True).start()
    peer = Hl7Peer("slow", "127.0.0.1", listener.getsockname()[1], answer_s=1)  # type: ignore[arg-type]
    connection = Connection(peer, None)
    with pytest.raises(NoAcknowledgementError, match="no answer in time"):
        connection.ask(b"MSH")
    done.set()
    connection.close()
    listener.close()


def test_who_comes_back_gets_what_is_for_it(
    storage: Storage, arrival: Callable[..., Any], tmp_path: Path
) -> None:
    """An archive and a system for messages that were not in the configuration for a while."""
    outbox, queue = Outbox(storage), Queue(storage)

    def publish(number: int, pacs: tuple[str, ...], ris: tuple[str, ...]) -> None:
        queue.add(arrival(f"1.{number}"))
        (study,) = queue.complete(0)
        folder = storage.root / "work" / "out"
        folder.mkdir()
        (folder / "scar.dcm").touch()
        (folder / "oru.hl7").touch()
        files = [
            ResultFile("seg", "scar.dcm", f"8.{number}", "1.2.840"),
            ResultFile("hl7", "oru.hl7", f"9.{number}", "", ris),
        ]
        assert outbox.publish(study, folder, files, pacs, f"digest {number}", with_ecg=False)

    publish(1, ("pacs", "other"), ("ris", "lab"))
    outbox.after_restart(["other", "lab"])
    publish(2, ("other",), ("lab",))
    outbox.after_restart(["pacs", "other", "ris", "lab"])
    assert [one.result for one in outbox.due("pacs")] == ["8.2"]
    assert [one.result for one in outbox.due("ris")] == ["9.2"]
