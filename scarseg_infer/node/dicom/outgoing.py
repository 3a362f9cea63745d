"""What a peer that we call may do to us: how much of what it sends is read, and an end at once."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

from pynetdicom import evt

from scarseg_infer.node.dicom.limits import MAX_PDU_BYTES, check_command_sets

ACKNOWLEDGEMENT_BYTES: Final = 1 << 20
"""For what only says that something has arrived, some 200 bytes."""


class Call:
    """The limits of one association that we ask for.

    Nothing beyond them is read: the connection is closed instead, in the middle of a message too.

    Args:
        message_bytes: size of a message.
        all_bytes: of all that comes over the association; None for any number of messages.
    """

    def __init__(
        self, message_bytes: int = ACKNOWLEDGEMENT_BYTES, all_bytes: int | None = None
    ) -> None:
        self._message_bytes = message_bytes + MAX_PDU_BYTES
        self._left = all_bytes
        self._since_message = 0
        self._connection: Any = None
        self._over = False

    def handlers(self) -> list[Any]:
        """Of pynetdicom's events, to be bound when the association is asked for."""
        return [(evt.EVT_CONN_OPEN, self._opened)]

    def hang_up(self) -> None:
        """Close the connection, or the one that is still to be opened. From any thread.

        An A-ABORT would wait for the peer where that sends, or lets us send, byte by byte.
        """
        self._over = True
        plain = self._connection and self._connection.socket
        if plain:
            with suppress(OSError):  # it is closed already
                # Not TLS's own, which takes its state from the thread that reads.
                socket.socket.shutdown(plain, socket.SHUT_RDWR)

    def _opened(self, event: evt.Event) -> None:
        self._connection = event.assoc.dul.socket
        if self._connection is None:
            return
        read, dimse = self._connection.recv, event.assoc.dimse

        def bounded(wanted: int) -> bytearray:
            if dimse.message is None:  # between two messages, or in the first PDU of one
                self._since_message = 0
            self._count(wanted)
            found: bytearray = read(wanted)
            return found

        self._connection.recv = bounded
        # Of an A-ABORT of pynetdicom's own, who waits for an answer is not told.
        check_command_sets(event.assoc, lambda _: self.hang_up())
        if self._over:
            self.hang_up()

    def _count(self, wanted: int) -> None:
        self._since_message += wanted
        if self._left is not None:
            self._left -= wanted
        spent = self._left is not None and self._left < 0
        if wanted > MAX_PDU_BYTES or self._since_message > self._message_bytes or spent:
            raise OSError("too much data")  # pynetdicom then closes the connection
