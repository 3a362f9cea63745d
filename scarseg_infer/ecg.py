"""What every ECG reader yields: named leads in millivolts, and when they were recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EcgRecord:
    """A resting ECG as it stands in its file: nothing filtered, derived or reordered."""

    signals_mv: NDArray[np.float64]
    """[samples, leads]; NaN where the file marks a sample as invalid."""
    rate_hz: float
    lead_names: tuple[str, ...]
    """As written in the file, whatever the case; extra (Frank) leads included."""
    recorded: datetime | None = None
    """When the recording began; None where the source does not say."""
    date_only: bool = False
    """True where the source gives a date but no time of day."""
    source: Literal["wfdb", "array"] = "array"
    warnings: tuple[str, ...] = ()
