"""What every ECG reader yields: named leads in millivolts, and when they were recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

MAX_ECG_BYTES: Final = 10 << 20
"""More than ten minutes of twelve leads at 500 Hz: not a resting ECG any more."""

MV_PER_UNIT: Final = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "nv": 1e-6}
"""Factor to millivolts by unit in lower case; whatever is not here is no voltage."""

EcgSource = Literal[
    "array", "wfdb", "dicom", "philips-xml", "muse-xml", "hl7-aecg", "scp-ecg", "edf"
]


@dataclass(frozen=True, slots=True)
class EcgRecord:
    """A resting ECG as it stands in its file: nothing filtered, derived or reordered."""

    signals_mv: NDArray[np.float64]
    """[samples, leads]; NaN where the file marks a sample as invalid."""
    rate_hz: float
    lead_names: tuple[str, ...]
    """As the file calls them, whatever the case; extra (Frank) leads included. Readers of formats
    with coded leads give the standard name of each code."""
    recorded: datetime | None = None
    """When the recording began, on the local clock; None where the source does not say."""
    date_only: bool = False
    """True where the source gives a date but no time of day."""
    source: EcgSource = "array"
    warnings: tuple[str, ...] = ()
    patient_id: str | None = field(default=None, repr=False)
    """The patient identifier in the file, for :func:`scarseg_infer.identity.check_identity`
    alone: never shown, logged or written. None where the format or the file has none."""
