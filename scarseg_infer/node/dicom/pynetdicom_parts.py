"""All that the node uses of pynetdicom beyond what its documentation promises, and nothing else.

Its limits lack a size, a pace and an end at once, and it offers no place for them. Each function
here rests on parts of one or two of its classes: tests/node/test_pynetdicom_parts.py has a test for
each against the release installed, so that a new one that moved something fails there, by name.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import RequestHandler

MOST_UID: Final = 128
"""Characters of a UID: twice what PS3.5, 9.1 allows."""
_BEFORE_REQUEST: Final = ("Sta1", "Sta2")
"""States of PS3.8, 9.2.1, in which no association has been asked for."""
_INVALID_PDU: Final = "Evt19"
"""The event of PS3.8, table 9-10, upon which an association is aborted."""

Reader = Callable[[int], bytearray]
"""Gives so many bytes of a connection, fewer at its end; upon an OSError pynetdicom closes it. It
is asked first for the 6 bytes of a PDU's header, then for its body."""


def take_long_uids() -> None:
    """Have command sets with UIDs of more than 64 characters read, as files with such are: by
    itself pynetdicom ends the association over one. For the whole process."""
    _config.VALIDATORS["UI"] = _is_uid


def _is_uid(value: str) -> tuple[bool, str]:
    return (True, "") if 0 < len(value) <= MOST_UID else (False, "no UID")


def before_each_association(prepare: Callable[[Any, Association], None]) -> type[RequestHandler]:
    """A handler of connections for ``ThreadedAssociationServer``.

    Args:
        prepare: told the server and the association, which has its connection and has not begun.
    """

    class Handler(RequestHandler):
        def _create_association(self) -> Association:
            association = super()._create_association()
            prepare(self.server, association)
            return association

    return Handler


def plain_socket(association: Association) -> socket.socket | None:
    """The socket below an association; None before it is connected and after its end."""
    connection = association.dul.socket
    return connection.socket if connection else None


def reader(association: Association) -> Reader | None:
    """Function that reads an association's connection; None where it has none."""
    connection = association.dul.socket
    return connection.recv if connection else None


def replace_reader(association: Association, read: Reader) -> None:
    """Have ``read`` called instead, in pynetdicom's own thread. The connection must be there."""
    connection: Any = association.dul.socket
    connection.recv = read


def review_messages(
    association: Association, review: Callable[[P_DATA, Callable[[P_DATA], None]], None]
) -> None:
    """Have each part of a message seen before it is decoded.

    Args:
        association: before it has begun, or in pynetdicom's own thread.
        review: told the part and what decodes it, to be called or not; raises nothing, as an error
            in that thread would leave the association standing.
    """
    dimse: Any = association.dimse
    decode = dimse.receive_primitive
    dimse.receive_primitive = lambda primitive: review(primitive, decode)


def between_messages(association: Association) -> bool:
    """True while no message is half read; also in the first PDU of one."""
    return association.dimse.message is None


def messages_ahead(association: Association) -> int:
    """Number of messages that are read and not yet answered."""
    return association.dimse.msg_queue.qsize()


def without_request(association: Association) -> bool:
    """True while a caller has not asked for the association."""
    return association.dul.state_machine.current_state in _BEFORE_REQUEST


def restart_silence(association: Association) -> None:
    """Count the silence after which the association ends from now on. By itself pynetdicom counts
    from the last whole PDU that came."""
    association.dul._idle_timer.restart()


def abort_as_invalid(association: Association) -> None:
    """Abort as after a PDU that is none. From any thread, and without waiting."""
    association.dul.event_queue.put(_INVALID_PDU)


def wake_acceptor(event: evt.Event) -> None:
    """Wake the thread that waits for the request of a connection that has ended without one,
    that, which would otherwise hold its place until its timeout (PS3.8, 9.2.2: AA-2 and AA-5).

    A handler of ``EVT_FSM_TRANSITION``.
    """
    if event.action in ("AA-2", "AA-5"):
        waiting: Any = event.assoc.dul.to_user_queue
        waiting.put(None)


def answer_to_request(association: Association) -> Any:
    """The A-ASSOCIATE primitive that answers a request, ours or a caller's: ``result``,
    ``result_source`` and ``diagnostic`` (PS3.8, table 9-21). None where none has come."""
    return association.acceptor.primitive
