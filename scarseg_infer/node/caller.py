"""What a peer that calls us may do: how much of what it sends is read, and how slowly it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from scarseg_infer.dicom_parse import PARSE_ERRORS

MAX_PDU_BYTES: Final = 1 << 20
"""A request for an association with 128 contexts takes 30 kB, data PDUs are at most PDU_BYTES."""
PDU_BYTES: Final = 128 << 10
"""What we ask senders to keep to; many small PDUs cost more time than their data."""
MAX_COMMAND_BYTES: Final = 64 << 10
"""A command set takes some 200; pynetdicom takes 1 s and 35 MB for each MB of one."""
MESSAGES_AHEAD: Final = 1
"""Messages that may wait while more is read. Nobody has a reason to send one before the answer to
the last, as we never agree to asynchronous operations (PS3.7, D.3.3.3)."""
SLOWEST_BYTES_S: Final = 10_000
"""On average over a message, after ``idle_s``: a slice of 300 kB in half a minute. One byte now and
then would otherwise hold a place for ever."""

_BEFORE_REQUEST: Final = ("Sta1", "Sta2")
"""States of PS3.8, 9.2.1, in which no association has been asked for."""
_INVALID_PDU: Final = "Evt19"
"""The event of PS3.8, table 9-10, upon which an association is aborted."""


class Caller:
    """The limits of one association that somebody asks us for.

    What goes beyond them ends the association, in the middle of a PDU too.

    Args:
        association: before it has begun.
        message_bytes: size of a message.
        request_s: for the request for an association to be here, from now on.
        idle_s: silence within a message.
        on_oversized: called where one was too large.
    """

    def __init__(
        self,
        association: Association,
        message_bytes: int,
        request_s: float,
        idle_s: float,
        on_oversized: Callable[[], None],
    ) -> None:
        self._association: Any = association
        self._connection: Any = association.dul.socket
        self._receive = association.dimse.receive_primitive
        self._message_bytes, self._idle_s = message_bytes, idle_s
        self._on_oversized = on_oversized
        self._request_by = time.monotonic() + request_s
        self._at_header = True
        self._read = self._command = 0
        """Bytes of the message that is being read, and of its command set."""
        self._since = 0.0
        if self._connection is not None:
            self._connection.recv = self._recv  # type: ignore[method-assign, assignment]
            association.dimse.receive_primitive = self._checked  # type: ignore[method-assign]

    def _recv(self, wanted: int) -> bytearray:
        """In place of pynetdicom's, which asks first for the 6 bytes of a PDU's header, then for
        its body. Raises OSError, upon which it closes the connection."""
        dimse = self._association.dimse
        if self._at_header and dimse.message is None:  # between two messages
            self._read = self._command = 0
            self._since = time.monotonic()
        self._at_header = not self._at_header
        self._read += wanted
        ahead = dimse.msg_queue.qsize() > MESSAGES_AHEAD
        if wanted > MAX_PDU_BYTES or self._read > self._message_bytes or ahead:
            self._on_oversized()
            raise OSError("too much data")
        plain, found = self._connection.socket, bytearray()
        try:
            while len(found) < wanted:
                plain.settimeout(self._seconds_left())
                part = plain.recv(min(wanted - len(found), PDU_BYTES))
                if not part:
                    break
                found += part
        finally:
            plain.settimeout(self._idle_s)  # of answers, which go out in this thread too
        return found

    def _seconds_left(self) -> float:
        """Until the next byte has to be here. Raises TimeoutError where that is over."""
        by = self._since + self._idle_s + self._read / SLOWEST_BYTES_S
        if self._association.dul.state_machine.current_state in _BEFORE_REQUEST:
            by = min(by, self._request_by)
        left = by - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        return min(left, self._idle_s)

    def _checked(self, primitive: P_DATA) -> None:
        """In place of pynetdicom's, which decodes a command set of any size, and in whose thread
        an error would leave the association standing."""
        parts = [data for _, data in primitive.presentation_data_value_list]
        self._command += sum(len(data) for data in parts if data[:1] and data[0] & 1)
        if self._command > MAX_COMMAND_BYTES:
            self._on_oversized()
            self._association.dul.event_queue.put(_INVALID_PDU)
            return
        try:
            self._receive(primitive)
        except PARSE_ERRORS:
            self._association.dul.event_queue.put(_INVALID_PDU)
