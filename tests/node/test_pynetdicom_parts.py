"""Parts of pynetdicom beyond its documentation are as the node needs them in this release."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import BaseServer
from types import ModuleType
from typing import Any

import pytest

if not os.environ.get("CI"):  # there what is missing is an error
    pytest.importorskip("pynetdicom")

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

import scarseg_infer
from scarseg_infer.node.dicom import pynetdicom_parts as parts

PACKAGE = Path(scarseg_infer.__file__).parent


class Server(ThreadedAssociationServer):
    daemon_threads = True


class Entity:
    """One that answers C-ECHO; each association is given to ``prepare`` first."""

    def __init__(self) -> None:
        self.ae = AE("ACCEPTOR")
        self.ae.add_supported_context(Verification)
        self.prepare: Callable[[Association], None] = lambda _: None
        self.answering = threading.Event()
        self.answering.set()
        self.associations: list[Association] = []

    def start(self) -> None:
        self.server = Server(
            self.ae, ("127.0.0.1", 0), self.ae.ae_title, self.ae.supported_contexts,
            evt_handlers=[(evt.EVT_C_ECHO, self._echo)],
            request_handler=parts.before_each_association(self._prepare),
        )  # fmt: skip
        self.port = self.server.socket.getsockname()[1]  # type: ignore[union-attr]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def associate(self, called: str = "ACCEPTOR") -> Association:
        ae = AE("REQUESTOR")
        ae.add_requested_context(Verification)
        return ae.associate("127.0.0.1", self.port, ae_title=called)

    def _prepare(self, server: Any, association: Association) -> None:
        assert server is self.server
        self.associations.append(association)
        self.prepare(association)

    def _echo(self, _: evt.Event) -> int:
        assert self.answering.wait(10)
        return 0x0000


@pytest.fixture
def entity() -> Iterator[Entity]:
    found = Entity()
    yield found
    found.answering.set()
    for association in found.server.active_associations:
        association.abort()
    BaseServer.shutdown(found.server)
    found.server.server_close()


def test_an_association_is_seen_before_its_first_byte_and_read_by_us(entity: Entity) -> None:
    wanted: list[int] = []

    def prepare(association: Association) -> None:
        assert parts.without_request(association)
        assert parts.between_messages(association)
        read = parts.reader(association)
        assert read is not None

        def counted(count: int) -> bytearray:
            wanted.append(count)
            return read(count)

        parts.replace_reader(association, counted)

    entity.prepare = prepare
    entity.start()
    association = entity.associate()
    assert association.is_established
    assert not parts.without_request(entity.associations[0])
    assert association.send_c_echo().Status == 0x0000
    association.release()
    assert wanted[0::2][:3] == [6, 6, 6]  # headers of A-ASSOCIATE, P-DATA and A-RELEASE
    assert wanted[1] > 68  # the body of the request


def test_parts_of_messages_are_seen_before_they_are_decoded(entity: Entity) -> None:
    seen: list[tuple[bool, bytes]] = []

    def prepare(association: Association) -> None:
        def review(primitive: P_DATA, decode: Callable[[P_DATA], None]) -> None:
            for _, data in primitive.presentation_data_value_list:
                seen.append((parts.between_messages(association), data))
            decode(primitive)

        parts.review_messages(association, review)

    entity.prepare = prepare
    entity.start()
    association = entity.associate()
    assert association.send_c_echo().Status == 0x0000
    assert [(between, data[0] & 1) for between, data in seen] == [(True, 1)]  # a command set
    association.release()


def test_a_part_that_is_not_decoded_is_not_answered_and_half_a_message_is_told(
    entity: Entity, node_factory: ModuleType
) -> None:
    halves: list[bool] = []

    def prepare(association: Association) -> None:
        def review(primitive: P_DATA, decode: Callable[[P_DATA], None]) -> None:
            part = P_DATA()
            ((context, data),) = primitive.presentation_data_value_list
            part.presentation_data_value_list = [[context, b"\x01" + data[1:]]]  # not the last
            decode(part)
            halves.append(parts.between_messages(association))

        parts.review_messages(association, review)

    entity.prepare = prepare
    entity.start()
    association = entity.associate()
    association.dimse_timeout = 0.3
    assert "Status" not in association.send_c_echo()
    assert halves == [False]


def test_messages_that_wait_for_an_answer_are_counted(
    entity: Entity, node_factory: ModuleType
) -> None:
    entity.answering.clear()
    entity.start()
    association = entity.associate()
    for number in range(3):
        request = C_ECHO()
        request.MessageID, request.AffectedSOPClassUID = number + 1, Verification
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id or 1)
    node_factory.wait_for(lambda: parts.messages_ahead(entity.associations[0]) == 2, 5)
    entity.answering.set()
    node_factory.wait_for(lambda: parts.messages_ahead(entity.associations[0]) == 0, 5)
    association.abort()


def test_silence_is_counted_anew(entity: Entity, node_factory: ModuleType) -> None:
    entity.ae.network_timeout = 2
    entity.start()
    association = entity.associate()
    for _ in range(10):
        threading.Event().wait(0.25)
        parts.restart_silence(entity.associations[0])
    assert association.is_established
    node_factory.wait_for(lambda: not association.is_established, 5)


def test_an_abort_that_waits_for_nothing(entity: Entity, node_factory: ModuleType) -> None:
    entity.start()
    association = entity.associate()
    parts.abort_as_invalid(entity.associations[0])
    node_factory.wait_for(lambda: association.is_aborted, 5)


def test_a_connection_that_ends_without_a_request_gives_up_its_thread(
    entity: Entity, node_factory: ModuleType
) -> None:
    entity.ae.acse_timeout = 60
    entity.prepare = lambda one: one.bind(evt.EVT_FSM_TRANSITION, parts.wake_acceptor)
    entity.start()
    socket.create_connection(("127.0.0.1", entity.port), 5).close()
    node_factory.wait_for(lambda: entity.associations and not entity.server.active_associations, 5)


def test_the_answer_to_a_request_is_kept_on_both_sides(entity: Entity) -> None:
    entity.ae.require_called_aet = True
    entity.start()
    association = entity.associate("ANOTHER")
    assert association.is_rejected
    for side in (association, entity.associations[0]):
        answer = parts.answer_to_request(side)
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)


def test_no_answer_is_none(entity: Entity) -> None:
    entity.prepare = lambda one: parts.replace_reader(one, _broken)
    entity.start()
    association = entity.associate()
    assert not association.is_established
    assert parts.answer_to_request(association) is None


def _broken(_: int) -> bytearray:
    raise OSError("closed by us")


def test_the_plain_socket(entity: Entity, node_factory: ModuleType) -> None:
    entity.start()
    assert parts.plain_socket(Association(entity.ae, "requestor")) is None
    association = entity.associate()
    plain = parts.plain_socket(association)
    assert plain is not None
    assert plain.getpeername() == ("127.0.0.1", entity.port)
    association.release()
    node_factory.wait_for(lambda: parts.plain_socket(association) is None, 5)


def test_no_other_module_knows_these_parts() -> None:
    private = re.compile(
        r"\.(dul|dimse|acceptor\.primitive|_servers|_idle_timer|_create_association)\b"
    )
    found = [path.name for path in PACKAGE.rglob("*.py") if private.search(path.read_text())]
    assert found == ["pynetdicom_parts.py"]


def test_uids_of_more_than_64_characters_can_be_announced() -> None:
    parts.take_long_uids()
    request = C_STORE()
    request.AffectedSOPInstanceUID = UID("1." * 36 + "4")
    with pytest.raises(ValueError, match="no UID"):
        request.AffectedSOPInstanceUID = UID("1" * (parts.MOST_UID + 1))
