"""Sending results to peers, again and again until each has acknowledged them."""

from __future__ import annotations

import random
import sqlite3
import threading
from typing import Final

from pydicom import dcmread
from pynetdicom.association import Association

from scarseg_infer.node.config import Config, Peer
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.client import Client, NoAssociationError
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import Delivery, Outbox
from scarseg_infer.study.dicom.parse import PARSE_ERRORS

POLL_S: Final = 0.2
_WARNING: Final = range(0xB000, 0xC000)
"""Stored, with something to say about it (PS3.4, B.2.3)."""
_DUPLICATE: Final = 0x0111
"""An object of this UID is there (PS3.7, C.5.8). The UIDs are ours alone, so it is this one, whose
acknowledgement was lost."""


class Sender:
    """Sends what waits for one peer, in a thread of its own: a peer that is down delays no other.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self, config: Config, peer: Peer, outbox: Outbox, counters: Counters, log: Log
    ) -> None:
        self._config, self._peer, self._outbox = config, peer, outbox
        self._counters, self._log = counters, log
        self._client = Client(config, peer)

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop; an object being sent is finished first."""
        while not stop.is_set():
            try:
                waiting = self._outbox.due(self._peer.name)
                if waiting:
                    self._send(waiting, stop)
            except (OSError, sqlite3.Error, RuntimeError) as error:
                self._log.write("send_failed", peer=self._peer.name, reason=type(error).__name__)
                stop.wait(self._config.send.retry_s)
            stop.wait(POLL_S)

    def _send(self, waiting: list[Delivery], stop: threading.Event) -> None:
        classes = sorted({delivery.sop_class for delivery in waiting})
        try:
            association = self._client.associate(classes)
        except NoAssociationError as failure:
            self._failed(waiting, str(failure))
            return
        try:
            for delivery in waiting:
                if stop.is_set():
                    return
                if not self._outbox.waits(delivery, self._peer.name):
                    continue
                if not association.is_established:
                    self._failed_one(delivery, "association lost")
                    continue
                self._send_one(association, delivery)
        finally:
            if association.is_established:
                association.release()

    def _send_one(self, association: Association, delivery: Delivery) -> None:
        try:
            found = dcmread(delivery.path)
        except PARSE_ERRORS:
            self._failed_one(delivery, "file not readable")
            return
        try:
            status = association.send_c_store(found)
        except ValueError:  # the peer did not accept this class in any syntax that we have
            self._failed_one(delivery, "class not accepted")
            return
        code = getattr(status, "Status", None)
        if code in (0, _DUPLICATE) or code in _WARNING:
            self._outbox.sent(delivery, self._peer.name)
            self._counters.add("objects_sent_total", peer=self._peer.name)
            self._log.write(
                "sent", study=delivery.study, object=delivery.name, peer=self._peer.name
            )
        else:
            self._failed_one(delivery, "no answer" if code is None else f"status 0x{code:04X}")

    def _failed_one(self, delivery: Delivery, why: str) -> None:
        self._failed([delivery], why, study=delivery.study, object=delivery.name)

    def _failed(self, deliveries: list[Delivery], why: str, **which: str | int) -> None:
        """Wait twice as long each time, a little less or more so that nodes keep out of step."""
        rules = self._config.send
        attempts = min(delivery.attempts for delivery in deliveries)
        seconds = min(rules.retry_s * 2.0 ** min(attempts, 30), rules.retry_max_s)
        seconds *= random.uniform(0.8, 1.0)
        for delivery in deliveries:
            self._outbox.refused(delivery, self._peer.name, seconds, why)
        self._counters.add("send_failures_total", peer=self._peer.name)
        self._log.write(
            "send_postponed", peer=self._peer.name, objects=len(deliveries), reason=why,
            seconds=round(seconds, 1), **which,
        )  # fmt: skip
