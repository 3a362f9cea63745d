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
    from scarseg_infer.ecg.read import read_ecg
    from scarseg_infer.ecg.record import EcgRecord, EcgSource
    from scarseg_infer.host.stages import Progress, Stage
    from scarseg_infer.read_ahead import Pair
    from scarseg_infer.result import EcgUse, GapSource, ModelUse, ScarResult
    from scarseg_infer.segmenter import Segmenter
    from scarseg_infer.study.files import Watch
    from scarseg_infer.study.from_arrays import stack_from_arrays
    from scarseg_infer.study.geometry.orientation import DisplayTransform
    from scarseg_infer.study.read import list_series, read_study
    from scarseg_infer.study.series_verdict import PreferredKind, SeriesVerdict
    from scarseg_infer.study.stack import ImageKind, LgeStack
    from scarseg_runtime.contract import LEADS, Label
    from scarseg_runtime.ecg.noise import LeadQuality
    from scarseg_runtime.ecg.quality import EcgQuality
    from scarseg_runtime.quantify.characteristics import Amount, Characteristics, Zones
    from scarseg_runtime.quantify.quantities import Quantities, SegmentQuantities
    from scarseg_runtime.run_control import CancelSignal

_LAZY = {
    "Amount": "scarseg_runtime.quantify.characteristics",
    "CancelSignal": "scarseg_runtime.run_control",
    "Characteristics": "scarseg_runtime.quantify.characteristics",
    "DisplayTransform": "scarseg_infer.study.geometry.orientation",
    "EcgQuality": "scarseg_runtime.ecg.quality",
    "EcgRecord": "scarseg_infer.ecg.record",
    "EcgSource": "scarseg_infer.ecg.record",
    "EcgUse": "scarseg_infer.result",
    "GapSource": "scarseg_infer.result",
    "ImageKind": "scarseg_infer.study.stack",
    "LEADS": "scarseg_runtime.contract",
    "Label": "scarseg_runtime.contract",
    "LeadQuality": "scarseg_runtime.ecg.noise",
    "LgeStack": "scarseg_infer.study.stack",
    "ModelUse": "scarseg_infer.result",
    "Pair": "scarseg_infer.read_ahead",
    "PreferredKind": "scarseg_infer.study.series_verdict",
    "Progress": "scarseg_infer.host.stages",
    "Quantities": "scarseg_runtime.quantify.quantities",
    "ScarResult": "scarseg_infer.result",
    "SegmentQuantities": "scarseg_runtime.quantify.quantities",
    "Segmenter": "scarseg_infer.segmenter",
    "SeriesVerdict": "scarseg_infer.study.series_verdict",
    "Stage": "scarseg_infer.host.stages",
    "Watch": "scarseg_infer.study.files",
    "Zones": "scarseg_runtime.quantify.characteristics",
    "list_series": "scarseg_infer.study.read",
    "read_ecg": "scarseg_infer.ecg.read",
    "read_study": "scarseg_infer.study.read",
    "stack_from_arrays": "scarseg_infer.study.from_arrays",
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
