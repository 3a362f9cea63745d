"""Myocardial scar from LGE MRI and a 12-lead ECG. Research use only, not a medical device.

>>> from scarseg_infer import Segmenter
>>> result = Segmenter.from_model().run("study/", "ecg.dat", gap_days=3)
>>> result.write("out/")
"""

# ruff: noqa: I001, PLE0604 - one import a module; the names are put together from the table
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scarseg_runtime.errors import (
    CancelledError as CancelledError,
    EcgError as EcgError,
    ModelError as ModelError,
    OutputError as OutputError,
    ProviderError as ProviderError,
    RunTimeoutError as RunTimeoutError,
    ScarsegError as ScarsegError,
    StudyError as StudyError,
    UsageError as UsageError,
)
from scarseg_runtime.version import __version__ as __version__

if TYPE_CHECKING:  # what type checkers see of the table below; tests/test_public_api.py compares
    from scarseg_infer.ecg.read import read_ecg as read_ecg
    from scarseg_infer.ecg.record import EcgRecord as EcgRecord, EcgSource as EcgSource
    from scarseg_infer.host.stages import Progress as Progress, Stage as Stage
    from scarseg_infer.read_ahead import Pair as Pair
    from scarseg_infer.result import (
        EcgUse as EcgUse,
        GapSource as GapSource,
        ModelUse as ModelUse,
        ScarResult as ScarResult,
    )
    from scarseg_infer.segmenter import Segmenter as Segmenter
    from scarseg_infer.study.files import Watch as Watch
    from scarseg_infer.study.from_arrays import stack_from_arrays as stack_from_arrays
    from scarseg_infer.study.geometry.orientation import DisplayTransform as DisplayTransform
    from scarseg_infer.study.read import list_series as list_series, read_study as read_study
    from scarseg_infer.study.series_verdict import (
        PreferredKind as PreferredKind,
        SeriesVerdict as SeriesVerdict,
    )
    from scarseg_infer.study.stack import ImageKind as ImageKind, LgeStack as LgeStack
    from scarseg_runtime.contract import LEADS as LEADS, Label as Label
    from scarseg_runtime.ecg.noise import LeadQuality as LeadQuality
    from scarseg_runtime.ecg.quality import EcgQuality as EcgQuality
    from scarseg_runtime.quantify.characteristics import (
        Amount as Amount,
        Characteristics as Characteristics,
        Zones as Zones,
    )
    from scarseg_runtime.quantify.quantities import (
        Quantities as Quantities,
        SegmentQuantities as SegmentQuantities,
    )
    from scarseg_runtime.run_control import CancelSignal as CancelSignal

_NAMES = {
    "scarseg_infer.ecg.read": "read_ecg",
    "scarseg_infer.ecg.record": "EcgRecord EcgSource",
    "scarseg_infer.host.stages": "Progress Stage",
    "scarseg_infer.read_ahead": "Pair",
    "scarseg_infer.result": "EcgUse GapSource ModelUse ScarResult",
    "scarseg_infer.segmenter": "Segmenter",
    "scarseg_infer.study.files": "Watch",
    "scarseg_infer.study.from_arrays": "stack_from_arrays",
    "scarseg_infer.study.geometry.orientation": "DisplayTransform",
    "scarseg_infer.study.read": "list_series read_study",
    "scarseg_infer.study.series_verdict": "PreferredKind SeriesVerdict",
    "scarseg_infer.study.stack": "ImageKind LgeStack",
    "scarseg_runtime.contract": "LEADS Label",
    "scarseg_runtime.ecg.noise": "LeadQuality",
    "scarseg_runtime.ecg.quality": "EcgQuality",
    "scarseg_runtime.quantify.characteristics": "Amount Characteristics Zones",
    "scarseg_runtime.quantify.quantities": "Quantities SegmentQuantities",
    "scarseg_runtime.run_control": "CancelSignal",
}
"""Public names of what needs numpy, by module: ``--help`` and ``--providers`` do not wait."""

_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*sorted(_MODULES), "__version__", *(n for n in globals() if n.endswith("Error"))]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
