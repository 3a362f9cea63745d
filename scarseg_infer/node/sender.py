"""Sending results to one peer, again and again until it has acknowledged them, by any protocol."""

from __future__ import annotations

import random
import sqlite3
import threading
from abc import ABC, abstractmethod
from typing import Final

from scarseg_infer.node.config import Config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import Delivery, Outbox

POLL_S: Final = 0.2


class PeerSender(ABC):
    """Sends what waits for one peer, in a thread of its own: a peer that is down delays no other.

    Args:
        name: of the peer, in logs, metrics and the queue.
    """

    def __init__(
        self, config: Config, name: str, outbox: Outbox, counters: Counters, log: Log
    ) -> None:
        self._config, self._name, self._outbox = config, name, outbox
        self._counters, self._log = counters, log

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop; an object being sent is finished first."""
        while not stop.is_set():
            try:
                waiting = self._outbox.due(self._name)
                if waiting:
                    self._send(waiting, stop)
            except (OSError, sqlite3.Error, RuntimeError) as error:
                self._log.write("send_failed", peer=self._name, reason=type(error).__name__)
                stop.wait(self._config.send.retry_s)
            stop.wait(POLL_S)

    @abstractmethod
    def _send(self, waiting: list[Delivery], stop: threading.Event) -> None:
        """Send what waits, and say of each by the methods below what became of it."""

    def _still_waits(self, delivery: Delivery) -> bool:
        """Is it still to be sent? A newer result may have come."""
        return self._outbox.waits(delivery, self._name)

    def _sent(self, delivery: Delivery) -> None:
        self._outbox.sent(delivery, self._name)
        self._counters.add("objects_sent_total", peer=self._name)
        self._log.write("sent", study=delivery.study, object=delivery.name, peer=self._name)

    def _failed_one(self, delivery: Delivery, why: str) -> None:
        self._failed([delivery], why, study=delivery.study, object=delivery.name)

    def _failed(self, deliveries: list[Delivery], why: str, **which: str | int) -> None:
        """Wait twice as long each time, a little less or more so that nodes keep out of step."""
        rules = self._config.send
        attempts = min(delivery.attempts for delivery in deliveries)
        seconds = min(rules.retry_s * 2.0 ** min(attempts, 30), rules.retry_max_s)
        seconds *= random.uniform(0.8, 1.0)
        for delivery in deliveries:
            self._outbox.refused(delivery, self._name, seconds, why)
        self._counters.add("send_failures_total", peer=self._name)
        self._log.write(
            "send_postponed", peer=self._name, objects=len(deliveries), reason=why,
            seconds=round(seconds, 1), **which,
        )  # fmt: skip
