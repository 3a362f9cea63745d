"""What every ECG reader yields: named leads in millivolts, and when they were recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.errors import EcgError

MAX_ECG_BYTES: Final = 10 << 20
"""More than ten minutes of twelve leads at 500 Hz: not a resting ECG any more."""

MAX_RATE_HZ: Final = 100_000.0
"""Far beyond what resting ECGs are sampled at (design choice)."""
MAX_DURATION_S: Final = 3600.0
"""What is filtered and resampled at once; a recording over hours is not a resting ECG."""

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


def checked(record: EcgRecord) -> EcgRecord:
    """A record that a reader made of a file, if its numbers can be those of an ECG.

    Raises:
        EcgError: no samples, a sampling rate or length beyond any resting ECG, or a scale that
            makes samples infinite.
    """
    count = record.signals_mv.shape[0]
    if not record.signals_mv.size:
        raise EcgError("the ECG has no samples", "Export the ECG again")
    if not 0.0 < record.rate_hz <= MAX_RATE_HZ:
        raise EcgError("the ECG's sampling rate is not that of an ECG", "Export the ECG again")
    if count > MAX_DURATION_S * record.rate_hz:
        raise EcgError(
            f"the ECG is longer than {MAX_DURATION_S / 60:g} minutes",
            "Give a resting ECG: cut 10 s to some minutes out of a long recording",
        )
    if np.isinf(record.signals_mv).any():
        raise EcgError("the ECG's scale is not that of an ECG", "Export the ECG again")
    return record
