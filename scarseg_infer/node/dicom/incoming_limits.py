"""Limits of a peer that calls us: how much of what it sends is read, and how slowly it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from pynetdicom.association import Association

from scarseg_infer.node.dicom.limits import MAX_PDU_BYTES, check_command_sets
from scarseg_infer.node.dicom.pynetdicom_parts import (
    abort_as_invalid,
    between_messages,
    messages_ahead,
    plain_socket,
    replace_reader,
    restart_silence,
    without_request,
)

PDU_BYTES: Final = 128 << 10
"""Largest PDU that senders are asked to keep to; many small PDUs cost more time than their data."""
MESSAGES_AHEAD: Final = 1
"""Messages that may wait while more is read. Nobody has a reason to send one before the answer to
the last, as we never agree to asynchronous operations (PS3.7, D.3.3.3)."""
SLOWEST_BYTES_S: Final = 10_000
"""On average over a message, after ``idle_s``: a slice of 300 kB in half a minute. One byte now and
then would otherwise hold a place for ever."""


class IncomingLimits:
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
        self._association = association
        self._socket = plain_socket(association)
        self._message_bytes, self._idle_s = message_bytes + MAX_PDU_BYTES, idle_s
        self._on_refused = on_refused
        self._request_by = time.monotonic() + request_s
        self._at_header = True
        self._read = 0
        """Bytes of the message that is being read."""
        self._since = 0.0
        if self._socket is not None:
            replace_reader(association, self._recv)
            check_command_sets(association, self._refuse_message)

    def _recv(self, wanted: int) -> bytearray:
        """Raises OSError beyond a limit: see :data:`Reader`, in whose place this is."""
        assert self._socket is not None
        if self._at_header and between_messages(self._association):
            self._read = 0
            self._since = time.monotonic()
        self._at_header = not self._at_header
        self._read += wanted
        ahead = messages_ahead(self._association) > MESSAGES_AHEAD
        if wanted > MAX_PDU_BYTES or self._read > self._message_bytes or ahead:
            self._on_refused("oversized")
            raise OSError("too much data")
        plain, found = self._socket, bytearray()
        try:
            while len(found) < wanted:
                plain.settimeout(self._seconds_left())
                part = plain.recv(min(wanted - len(found), PDU_BYTES))
                if not part:
                    break
                found += part
                restart_silence(self._association)
        except TimeoutError:
            self._on_refused("slow")
            raise
        finally:
            plain.settimeout(self._idle_s)  # of answers, which go out in this thread too
        return found

    def _seconds_left(self) -> float:
        """Until the next byte has to be here. Raises TimeoutError where that is over."""
        by = self._since + self._idle_s + self._read / SLOWEST_BYTES_S
        if without_request(self._association):
            by = min(by, self._request_by)
        left = by - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        return min(left, self._idle_s)

    def _refuse_message(self, oversized: bool) -> None:
        self._on_refused("oversized" if oversized else "unreadable")
        abort_as_invalid(self._association)
