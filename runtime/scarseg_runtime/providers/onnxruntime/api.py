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

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.providers.environment import variable_set

_SWITCH: Final = "ORT_DISABLE_TELEMETRY"
_LOCK: Final = threading.Lock()

FATAL: Final = 4
"""Severity from which ONNX Runtime writes to stderr by itself: what it says we raise."""


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
        if first:
            # What belongs to no session goes to a log of the process, which is a host's to set.
            onnxruntime.set_default_logger_severity(FATAL)
    onnxruntime.disable_telemetry_events()  # all that older releases listen to, on Windows
    return onnxruntime


def session_options(threads: int) -> Any:
    """Options of any session of ours: ``SessionOptions`` for one study at a time."""
    options = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Never guessed: a few bytes at the start of an ONNX file make it one of ONNX Runtime's own
    # format, which runs another graph than the one that was checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # The arena never returns memory; a host process beside a scanner wants it back. That costs
    # about 15 %; shrinking the arena after every run costs as much.
    options.enable_cpu_mem_arena = False
    # Not session.set_denormal_as_zero: it changes the floating-point mode of the caller's thread,
    # and measured no faster. Nor was binding inputs and outputs to buffers: both are small beside
    # what lies between them.
    options.log_severity_level = FATAL
    return options


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Errors that ONNX Runtime raises; its own errors have no common ancestor but Exception."""
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
