"""Sending results to DICOMweb servers by STOW-RS."""

from __future__ import annotations

import threading
from typing import Final

from scarseg_infer.dicomweb.client import DicomWeb
from scarseg_infer.dicomweb.errors import NO_ANSWER, TLS_FAILED, DicomWebError
from scarseg_infer.dicomweb.session import MAX_ANSWER_BYTES
from scarseg_infer.node.config import Config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicomweb.peer import WebPeer
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import Delivery, Outbox
from scarseg_infer.node.sender import PeerSender
from scarseg_runtime.errors import RunTimeoutError, UsageError
from scarseg_runtime.run_control import RunControl

OBJECT_S: Final = 600.0
"""For one object: one that is read or answered byte by byte holds up the others no longer."""


class WebSender(PeerSender):
    """Sends what waits for one server; see :class:`PeerSender`."""

    def __init__(
        self, config: Config, peer: WebPeer, outbox: Outbox, counters: Counters, log: Log
    ) -> None:
        super().__init__(config, peer.name, outbox, counters, log)
        self._server = peer.server

    def _send(self, waiting: list[Delivery], stop: threading.Event) -> None:
        for delivery in waiting:
            if stop.is_set():
                return
            if not self._still_waits(delivery):
                continue
            try:
                file = delivery.path.read_bytes()
            except OSError:
                self._failed_one(delivery, "file not readable")
                continue
            if why := self._store(file, delivery.result):
                self._failed_one(delivery, why)
            else:
                self._sent(delivery)

    def _store(self, file: bytes, sop_uid: str) -> str:
        """Store an object; returns why that failed, "" where it did not."""
        control = RunControl(None, OBJECT_S)
        try:
            with DicomWeb(self._server, control, object_bytes=0, all_bytes=MAX_ANSWER_BYTES) as web:
                web.store(file, sop_uid)
        except DicomWebError as failure:
            return failure.what
        except RunTimeoutError:
            return NO_ANSWER
        except UsageError:  # files that were good at the start
            return TLS_FAILED
        return ""
