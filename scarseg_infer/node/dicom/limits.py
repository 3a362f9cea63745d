"""Limits of what comes over an association, whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from scarseg_infer.node.dicom.pynetdicom_parts import between_messages, review_messages
from scarseg_infer.study.dicom.parse import PARSE_ERRORS

MAX_PDU_BYTES: Final = 1 << 20
"""A request for an association with 128 contexts takes 30 kB; peers are asked to keep data PDUs to
128 kB or less."""
MAX_COMMAND_BYTES: Final = 64 << 10
"""A command set takes some 200; pynetdicom takes 1 s and 35 MB for each MB of one."""


def check_command_sets(association: Association, end: Callable[[bool], None]) -> None:
    """Have the command set of each message checked before pynetdicom decodes it.

    Args:
        association: before it has begun, or in pynetdicom's own thread.
        end: has to end the association; told whether it was for a size. An error in pynetdicom's
            thread would leave it standing.
    """
    size = 0

    def checked(primitive: P_DATA, decode: Callable[[P_DATA], None]) -> None:
        nonlocal size
        if between_messages(association):
            size = 0
        parts = [data for _, data in primitive.presentation_data_value_list]
        size += sum(len(data) for data in parts if data[:1] and data[0] & 1)
        if size > MAX_COMMAND_BYTES:
            end(True)
            return
        try:
            decode(primitive)
        except PARSE_ERRORS:
            end(False)

    review_messages(association, checked)
