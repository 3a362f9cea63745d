"""AHA segments behind the infarct codes of PTB-XL, and the class of a record by its codes.

A code is a reading of the ECG, not an MRI. ``core`` segments are likely scarred, ``flank`` ones the
code does not tell, the rest is likely free. From the territories of Cerqueira 2002 and what CMR
shows behind Q waves: of infarcts with Q in V1–V3, 43 % have more than half of the mid
anteroseptal, 43 % of the apical anterior, 50–57 % of the apical septal and only 0–14 % of the
basal anteroseptal segment enhanced (Allencherril et al. 2018); 13 % of anterior scars reach the
apical inferior segment, 6 % the apical lateral one (after Bayés de Luna 2006). The rows of
inferior, lateral and posterior codes are our judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import SEGMENT_COUNT

Kind = Literal["infarct", "normal", "other"]
Territory = Literal["LAD", "RCA", "LCx"]

PTBXL_STATEMENT: Final = (
    "ECGs: PTB-XL 1.0.3 by P. Wagner, N. Strodthoff, R.-D. Bousseljot, W. Samek and T. Schaeffter "
    "(PhysioNet 2022, doi:10.13026/kfzx-aw45, CC BY 4.0), resampled and averaged to mean beats."
)
"""Attribution that the licence asks of whatever was trained on PTB-XL; the publications that it
wants named stand in the model card."""

CORE_FLANK: Final[dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "ASMI": ((7, 8, 13, 14), (1, 2, 9, 15, 16, 17)),
    "AMI": ((7, 8, 13, 14, 17), (1, 2, 9, 12, 15, 16)),
    "ALMI": ((7, 12, 13, 16), (1, 6, 8, 11, 14, 15, 17)),
    "LMI": ((5, 6, 11, 12, 16), (1, 4, 7, 10, 13, 15, 17)),
    "IMI": ((4, 10, 15), (3, 5, 9, 11, 17)),
    "ILMI": ((4, 5, 10, 11), (3, 6, 9, 12, 15, 16, 17)),
    "IPMI": ((4, 5, 10, 11), (3, 6, 9, 12, 15, 16)),
    "IPLMI": ((4, 5, 10, 11, 16), (3, 6, 9, 12, 15, 17)),
    "PMI": ((5, 11), (4, 6, 10, 12, 15, 16)),
}
"""Core and flank segments of every infarct code."""

INJURY: Final = frozenset({"INJAS", "INJAL", "INJIN", "INJLA", "INJIL"})
"""Subendocardial injury: of the class MI in PTB-XL, but no infarct."""

_TERRITORY: Final[dict[str, Territory]] = {
    "ASMI": "LAD", "AMI": "LAD", "ALMI": "LAD", "LMI": "LCx", "IMI": "RCA", "ILMI": "RCA",
    "IPMI": "RCA", "IPLMI": "RCA", "PMI": "LCx",
}  # fmt: skip

SURE: Final = 50.0
"""Likelihood in % from which a code counts; 0 stands for one that was not stated, and counts."""
VERY_SURE: Final = 80.0
CORE_BURDEN: Final = 0.6
"""Scar share that a core segment is taught: transmural in its midst, less at its borders."""
DOUBTED: Final = 0.8
"""Factor where the likelihood was stated and below ``VERY_SURE``."""


def infarct_codes(codes: Mapping[str, float]) -> tuple[str, ...]:
    """Infarct codes that count, of a record's codes with their likelihood in %."""
    return tuple(
        code for code in CORE_FLANK if code in codes and (codes[code] == 0 or codes[code] >= SURE)
    )


def kind_of(codes: Mapping[str, float], diagnostic_class: Mapping[str, str]) -> Kind | None:
    """Class of a record; None for those that tell nothing: doubtful infarct or injury only.

    Args:
        diagnostic_class: of every diagnostic code, as ``scp_statements.csv`` gives it.
    """
    if infarct_codes(codes):
        return "infarct"
    if any(code in CORE_FLANK or code in INJURY for code in codes):
        return None
    classes = {diagnostic_class[code] for code in codes if code in diagnostic_class}
    return "normal" if classes == {"NORM"} else "other"


def target_of(codes: Mapping[str, float]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scar burden [17] that a record teaches, and the segments [17] of which it says anything."""
    burden = np.zeros(SEGMENT_COUNT, np.float32)
    told = np.ones(SEGMENT_COUNT, np.bool_)
    for code in infarct_codes(codes):
        core, flank = CORE_FLANK[code]
        value = CORE_BURDEN * (DOUBTED if 0 < codes[code] < VERY_SURE else 1.0)
        rows = np.array(core) - 1
        burden[rows] = np.maximum(burden[rows], np.float32(value))
        told[np.array(flank) - 1] = False
    return burden, told | (burden > 0)


def territories_of(codes: tuple[str, ...]) -> tuple[Territory, ...]:
    """Coronary territories that infarct codes mean, each once, in the twin's names."""
    return tuple(dict.fromkeys(_TERRITORY[code] for code in codes))
