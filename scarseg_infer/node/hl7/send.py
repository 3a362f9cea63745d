"""Sending results to systems that speak HL7 v2."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.tls import client_context
from scarseg_infer.node.hl7.message import (
    NoAcknowledgementError,
    addressed,
    check_acknowledgement,
    control_id,
)
from scarseg_infer.node.hl7.mllp import Connection
from scarseg_infer.node.hl7.peer import Hl7Peer
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import Delivery, Outbox
from scarseg_infer.node.sender import PeerSender

if TYPE_CHECKING:
    from scarseg_infer.node.config import Config


class Hl7Sender(PeerSender):
    """Sends the messages that wait for one receiver; see :class:`PeerSender`.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self, config: Config, peer: Hl7Peer, outbox: Outbox, counters: Counters, log: Log
    ) -> None:
        super().__init__(config, peer.name, outbox, counters, log)
        self._peer = peer
        self._tls = client_context(config.tls) if peer.tls and config.tls else None

    def _send(self, waiting: list[Delivery], stop: threading.Event) -> None:
        try:
            connection = Connection(self._peer, self._tls)
        except NoAcknowledgementError as failure:
            self._failed(waiting, str(failure))
            return
        try:
            for delivery in waiting:
                if stop.is_set():
                    return
                if not self._still_waits(delivery):
                    continue
                if not self._send_one(connection, delivery):
                    return  # a late answer would be taken for that to the next
        finally:
            connection.close()

    def _send_one(self, connection: Connection, delivery: Delivery) -> bool:
        """Was it taken?"""
        try:
            stored = delivery.path.read_bytes()
        except OSError:
            self._failed_one(delivery, "file not readable")
            return True
        try:
            answer = connection.ask(addressed(stored, self._peer))
            check_acknowledgement(answer, control_id(stored))
        except NoAcknowledgementError as failure:
            self._failed_one(delivery, str(failure))
            return False
        self._sent(delivery)
        return True
