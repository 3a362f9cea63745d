"""What a peer that calls us may do: how much of what it sends is read, and how slowly it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from pynetdicom.association import Association

from scarseg_infer.node.dicom.limits import MAX_PDU_BYTES, check_command_sets

PDU_BYTES: Final = 128 << 10
"""What we ask senders to keep to; many small PDUs cost more time than their data."""
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
        on_refused: told why the association is ended: ``oversized``, ``slow`` or ``unreadable``.
    """

    def __init__(
        self,
        association: Association,
        message_bytes: int,
        request_s: float,
        idle_s: float,
        on_refused: Callable[[str], None],
    ) -> None:
        self._association: Any = association
        self._connection: Any = association.dul.socket
        self._message_bytes, self._idle_s = message_bytes + MAX_PDU_BYTES, idle_s
        self._on_refused = on_refused
        self._request_by = time.monotonic() + request_s
        self._at_header = True
        self._read = 0
        """Bytes of the message that is being read."""
        self._since = 0.0
        if self._connection is not None:
            self._connection.recv = self._recv  # type: ignore[method-assign, assignment]
            check_command_sets(association, self._refuse_message)

    def _recv(self, wanted: int) -> bytearray:
        """In place of pynetdicom's, which asks first for the 6 bytes of a PDU's header, then for
        its body. Raises OSError, upon which it closes the connection."""
        dimse = self._association.dimse
        if self._at_header and dimse.message is None:  # between two messages
            self._read = 0
            self._since = time.monotonic()
        self._at_header = not self._at_header
        self._read += wanted
        ahead = dimse.msg_queue.qsize() > MESSAGES_AHEAD
        if wanted > MAX_PDU_BYTES or self._read > self._message_bytes or ahead:
            self._on_refused("oversized")
            raise OSError("too much data")
        plain, found = self._connection.socket, bytearray()
        try:
            while len(found) < wanted:
                plain.settimeout(self._seconds_left())
                part = plain.recv(min(wanted - len(found), PDU_BYTES))
                if not part:
                    break
                found += part
                self._association.dul._idle_timer.restart()  # pynetdicom's, after whole PDUs only
        except TimeoutError:
            self._on_refused("slow")
            raise
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

    def _refuse_message(self, oversized: bool) -> None:
        self._on_refused("oversized" if oversized else "unreadable")
        self._association.dul.event_queue.put(_INVALID_PDU)
