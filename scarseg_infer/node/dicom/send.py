"""Sending results to peers by C-STORE."""

from __future__ import annotations

import threading
from typing import Final

from pydicom import dcmread
from pynetdicom.association import Association

from scarseg_infer.node.config import Config, Peer
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.client import Client, NoAssociationError
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.outbox import Delivery, Outbox
from scarseg_infer.node.sender import PeerSender
from scarseg_infer.study.dicom.parse import PARSE_ERRORS

_WARNING: Final = range(0xB000, 0xC000)
"""Stored, with something to say about it (PS3.4, B.2.3)."""
_DUPLICATE: Final = 0x0111
"""An object of this UID is there (PS3.7, C.5.8). The UIDs are ours alone, so it is this one, whose
acknowledgement was lost."""


class Sender(PeerSender):
    """Sends what waits for one peer; see :class:`PeerSender`.

    Raises:
        UsageError: the TLS files do not fit.
    """

    def __init__(
        self, config: Config, peer: Peer, outbox: Outbox, counters: Counters, log: Log
    ) -> None:
        super().__init__(config, peer.name, outbox, counters, log)
        self._client = Client(config, peer)

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
                if not self._still_waits(delivery):
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
            self._sent(delivery)
        else:
            self._failed_one(delivery, "no answer" if code is None else f"status 0x{code:04X}")
