"""Importing ONNX Runtime without its telemetry.

From some release on (1.32 does) its import alone, on Linux too, leaves an identifier and a database
in the user's cache folder and starts a thread that reports to Microsoft. Nothing of that belongs
beside a scanner. It looks at an environment variable, once, while it is imported.
"""

from __future__ import annotations

import sys
import threading
from contextlib import nullcontext
from typing import Any, Final

from scarseg_runtime.environment import variable_set
from scarseg_runtime.errors import ProviderError

_SWITCH: Final = "ORT_DISABLE_TELEMETRY"
_LOCK: Final = threading.Lock()


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``, silent unless the host itself imported it before.

    Raises ProviderError where it is not installed.
    """
    with _LOCK:
        # Only where it matters: other threads of the host may be reading the environment.
        first = "onnxruntime" not in sys.modules
        with variable_set(_SWITCH, "1") if first else nullcontext():
            try:
                import onnxruntime
            except (ImportError, OSError) as error:  # OSError: bindings without their libraries
                raise ProviderError(
                    "onnxruntime cannot be imported", "pip install onnxruntime"
                ) from error
    onnxruntime.disable_telemetry_events()  # all that older releases listen to, on Windows
    return onnxruntime


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its own errors have no common ancestor but Exception."""
    import_onnxruntime()
    from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

    return (
        ort_errors.EPFail,
        ort_errors.EngineError,
        ort_errors.Fail,
        ort_errors.InvalidArgument,
        ort_errors.InvalidGraph,
        ort_errors.InvalidProtobuf,
        ort_errors.NotImplemented,
        ort_errors.RuntimeException,
        RuntimeError,
        MemoryError,
    )
