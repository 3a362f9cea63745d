"""Limits of a peer that we call: how much of what it sends is read, and an end at once."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.association import Association

from scarseg_infer.node.dicom.limits import MAX_PDU_BYTES, check_command_sets
from scarseg_infer.node.dicom.pynetdicom_parts import (
    between_messages,
    plain_socket,
    reader,
    replace_reader,
)

ACKNOWLEDGEMENT_BYTES: Final = 1 << 20
"""For what only says that something has arrived, some 200 bytes."""


class OutgoingLimits:
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
        self._association: Association | None = None
        self._over = False

    def handlers(self) -> list[Any]:
        """Of pynetdicom's events, to be bound when the association is asked for."""
        return [(evt.EVT_CONN_OPEN, self._opened)]

    def hang_up(self) -> None:
        """Close the connection, or the one that is still to be opened. From any thread.

        An A-ABORT would wait for the peer where that sends, or lets us send, byte by byte.
        """
        self._over = True
        plain = plain_socket(self._association) if self._association else None
        if plain:
            with suppress(OSError):  # it is closed already
                # Not TLS's own, which takes its state from the thread that reads.
                socket.socket.shutdown(plain, socket.SHUT_RDWR)

    def _opened(self, event: evt.Event) -> None:
        self._association = association = event.assoc
        read = reader(association)
        if read is None:
            return

        def bounded(wanted: int) -> bytearray:
            if between_messages(association):
                self._since_message = 0
            self._count(wanted)
            return read(wanted)

        replace_reader(association, bounded)
        # Of an A-ABORT of pynetdicom's own, who waits for an answer is not told.
        check_command_sets(association, lambda _: self.hang_up())
        if self._over:
            self.hang_up()

    def _count(self, wanted: int) -> None:
        self._since_message += wanted
        if self._left is not None:
            self._left -= wanted
        spent = self._left is not None and self._left < 0
        if wanted > MAX_PDU_BYTES or self._since_message > self._message_bytes or spent:
            raise OSError("too much data")  # pynetdicom then closes the connection
