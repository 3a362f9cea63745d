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
    from scarseg_infer.ecg import EcgRecord
    from scarseg_infer.ecg_reader import read_ecg
    from scarseg_infer.result import EcgUse, ModelUse, ScarResult
    from scarseg_infer.segmenter import Segmenter
    from scarseg_infer.series_verdict import SeriesVerdict
    from scarseg_infer.stack import LgeStack
    from scarseg_infer.stack_arrays import stack_from_arrays
    from scarseg_infer.study_reader import list_series, read_study

_LAZY = {
    "EcgRecord": "ecg",
    "EcgUse": "result",
    "LgeStack": "stack",
    "ModelUse": "result",
    "ScarResult": "result",
    "Segmenter": "segmenter",
    "SeriesVerdict": "series_verdict",
    "list_series": "study_reader",
    "read_ecg": "ecg_reader",
    "read_study": "study_reader",
    "stack_from_arrays": "stack_arrays",
}
"""Module of each name that needs numpy: ``--help`` and ``--providers`` must not wait for it."""

__all__ = [
    "CancelledError",
    "EcgError",
    "EcgRecord",
    "EcgUse",
    "LgeStack",
    "ModelError",
    "ModelUse",
    "OutputError",
    "ProviderError",
    "RunTimeoutError",
    "ScarResult",
    "ScarsegError",
    "Segmenter",
    "SeriesVerdict",
    "StudyError",
    "UsageError",
    "__version__",
    "list_series",
    "read_ecg",
    "read_study",
    "stack_from_arrays",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
