"""Limb electrodes that look exchanged, on a mean beat: only what is seldom wrong.

Exchanged electrodes leave Einthoven's law intact, so shape alone can tell. Signs as in the
REVERSE mnemonic (PMC10902517, table 5): P and R upright in aVR with P-QRS-T inverted in I for
the arms; below 0.1 mV in one limb lead alone for the right leg on an arm. Left arm and left
leg, or the two legs, leave no reliable sign and are not looked for.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import LEADS
from scarseg_runtime.ecg.beats import samples
from scarseg_runtime.ecg.conduction import Qrs

FLAT_MV: Final = 0.1
"""Peak to peak of a limb lead between two legs, which are at the same potential (the table)."""
LIVING_MV: Final = 0.4
"""The other two of I, II and III must reach this: hearts of low voltage are low in all."""
P_WAVE_MV: Final = 0.03
"""An inverted P is at least this deep. Without a P wave, as in atrial fibrillation, inversion
proves nothing: an infarct or the axis may turn QRS as well (design choice)."""
_P_WAVE_MS: Final = (-240.0, -40.0)  # relative to QRS onset

FLAT_LEADS: Final = {
    "II": "right arm and right leg",
    "III": "left arm and right leg",
    "I": "both arms and both legs",
}


def suspected_exchange(beat_mv: NDArray[np.floating[Any]], qrs: Qrs) -> str | None:
    """Limb electrodes that look exchanged ("right arm and left arm"), or None.

    Args:
        beat_mv: [12, 512] mean beat in the order of ``contract.LEADS``.
        qrs: its extent.
    """
    beat = np.asarray(beat_mv, dtype=np.float64)
    span = {lead: float(np.ptp(beat[LEADS.index(lead)])) for lead in FLAT_LEADS}
    for lead, electrodes in FLAT_LEADS.items():
        others = min(value for name, value in span.items() if name != lead)
        if span[lead] < FLAT_MV and others > LIVING_MV:
            return electrodes
    p_wave = dict(zip(LEADS, _p_wave_mv(beat, qrs), strict=True))
    area = dict(zip(LEADS, beat[:, qrs.onset : qrs.offset].sum(axis=1), strict=True))
    # Chest leads that look to the left like I and II rule out dextrocardia.
    usual_chest = area["V6"] > 0.0 and p_wave["V6"] > -P_WAVE_MV
    if not usual_chest:
        return None
    for lead, electrodes in (("II", "right arm and left leg"), ("I", "right arm and left arm")):
        inverted = p_wave[lead] < -P_WAVE_MV and area[lead] < 0.0
        against_v6 = beat[LEADS.index(lead)] @ beat[LEADS.index("V6")] < 0.0
        upright = lead == "I" or (p_wave["aVR"] > P_WAVE_MV and area["aVR"] > 0.0)
        if inverted and against_v6 and upright:
            return electrodes
    return None


def _p_wave_mv(beat: NDArray[np.float64], qrs: Qrs) -> NDArray[np.float64]:
    """[12] height of each lead where all leads together are highest before QRS."""
    first, last = (max(qrs.onset + samples(t), 0) for t in _P_WAVE_MS)
    window = beat[:, first:last]
    if not window.size:
        return np.zeros(len(beat))
    return np.asarray(window[:, int(np.argmax(np.sum(window**2, axis=0)))])
