"""Myocardial scar from LGE MRI and a 12-lead ECG. Research use only, not a medical device.

>>> from scarseg_infer import Segmenter
>>> result = Segmenter.from_model().run("study/", "ecg.dat", gap_days=3)
>>> result.write("out/")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scarseg_runtime.errors import (
    CancelledError,
    EcgError,
    ModelError,
    OutputError,
    ProviderError,
    RunTimeoutError,
    ScarsegError,
    StudyError,
    UsageError,
)
from scarseg_runtime.version import __version__

if TYPE_CHECKING:
    from scarseg_infer.ecg import EcgRecord, EcgSource
    from scarseg_infer.ecg_reader import read_ecg
    from scarseg_infer.orientation import DisplayTransform
    from scarseg_infer.read_ahead import Pair
    from scarseg_infer.result import EcgUse, GapSource, ModelUse, ScarResult
    from scarseg_infer.segmenter import Segmenter
    from scarseg_infer.series_verdict import PreferredKind, SeriesVerdict
    from scarseg_infer.stack import ImageKind, LgeStack
    from scarseg_infer.stack_arrays import stack_from_arrays
    from scarseg_infer.stages import Progress, Stage
    from scarseg_infer.study_files import Watch
    from scarseg_infer.study_reader import list_series, read_study
    from scarseg_runtime.characteristics import Amount, Characteristics, Zones
    from scarseg_runtime.contract import LEADS, Label
    from scarseg_runtime.ecg_noise import LeadQuality
    from scarseg_runtime.ecg_quality import EcgQuality
    from scarseg_runtime.quantify import Quantities, SegmentQuantities
    from scarseg_runtime.run_control import CancelSignal

_LAZY = {
    "Amount": "scarseg_runtime.characteristics",
    "CancelSignal": "scarseg_runtime.run_control",
    "Characteristics": "scarseg_runtime.characteristics",
    "DisplayTransform": "scarseg_infer.orientation",
    "EcgQuality": "scarseg_runtime.ecg_quality",
    "EcgRecord": "scarseg_infer.ecg",
    "EcgSource": "scarseg_infer.ecg",
    "EcgUse": "scarseg_infer.result",
    "GapSource": "scarseg_infer.result",
    "ImageKind": "scarseg_infer.stack",
    "LEADS": "scarseg_runtime.contract",
    "Label": "scarseg_runtime.contract",
    "LeadQuality": "scarseg_runtime.ecg_noise",
    "LgeStack": "scarseg_infer.stack",
    "ModelUse": "scarseg_infer.result",
    "Pair": "scarseg_infer.read_ahead",
    "PreferredKind": "scarseg_infer.series_verdict",
    "Progress": "scarseg_infer.stages",
    "Quantities": "scarseg_runtime.quantify",
    "ScarResult": "scarseg_infer.result",
    "SegmentQuantities": "scarseg_runtime.quantify",
    "Segmenter": "scarseg_infer.segmenter",
    "SeriesVerdict": "scarseg_infer.series_verdict",
    "Stage": "scarseg_infer.stages",
    "Watch": "scarseg_infer.study_files",
    "Zones": "scarseg_runtime.characteristics",
    "list_series": "scarseg_infer.study_reader",
    "read_ecg": "scarseg_infer.ecg_reader",
    "read_study": "scarseg_infer.study_reader",
    "stack_from_arrays": "scarseg_infer.stack_arrays",
}
"""Module of each name that needs numpy: ``--help`` and ``--providers`` must not wait for it."""

__all__ = [
    "LEADS",
    "Amount",
    "CancelSignal",
    "CancelledError",
    "Characteristics",
    "DisplayTransform",
    "EcgError",
    "EcgQuality",
    "EcgRecord",
    "EcgSource",
    "EcgUse",
    "GapSource",
    "ImageKind",
    "Label",
    "LeadQuality",
    "LgeStack",
    "ModelError",
    "ModelUse",
    "OutputError",
    "Pair",
    "PreferredKind",
    "Progress",
    "ProviderError",
    "Quantities",
    "RunTimeoutError",
    "ScarResult",
    "ScarsegError",
    "SegmentQuantities",
    "Segmenter",
    "SeriesVerdict",
    "Stage",
    "StudyError",
    "UsageError",
    "Watch",
    "Zones",
    "__version__",
    "list_series",
    "read_ecg",
    "read_study",
    "stack_from_arrays",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
