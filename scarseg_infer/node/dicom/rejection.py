"""Reasons for the rejection of an association, by us or by a peer (PS3.8, table 9-21)."""

from __future__ import annotations

from typing import Final

from pynetdicom.association import Association

from scarseg_infer.node.dicom.pynetdicom_parts import answer_to_request

Reason = tuple[int, int]
"""Source and diagnostic."""
CALLING_AE: Final[Reason] = (1, 3)
CALLED_AE: Final[Reason] = (1, 7)
BUSY: Final[Reason] = (3, 2)


def reason(association: Association) -> Reason:
    """Of an association that is rejected."""
    answer = answer_to_request(association)
    return answer.result_source, answer.diagnostic
