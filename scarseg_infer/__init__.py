"""Myocardial scar from LGE MRI and a 12-lead ECG. Research use only, not a medical device.

>>> from scarseg_infer import Segmenter
>>> result = Segmenter.from_model().run("study/", "ecg.dat", gap_days=3)
>>> result.write("out/")
"""

from scarseg_infer.ecg import EcgRecord
from scarseg_infer.read_ecg import read_ecg
from scarseg_infer.read_study import read_study
from scarseg_infer.result import EcgUse, ModelUse, ScarResult
from scarseg_infer.segmenter import Segmenter
from scarseg_infer.stack import LgeStack
from scarseg_runtime.errors import (
    EcgError,
    ModelError,
    OutputError,
    ProviderError,
    ScarsegError,
    StudyError,
    UsageError,
)
from scarseg_runtime.version import __version__

__all__ = [
    "EcgError",
    "EcgRecord",
    "EcgUse",
    "LgeStack",
    "ModelError",
    "ModelUse",
    "OutputError",
    "ProviderError",
    "ScarResult",
    "ScarsegError",
    "Segmenter",
    "StudyError",
    "UsageError",
    "__version__",
    "read_ecg",
    "read_study",
]
