"""Importing OpenVINO without its telemetry.

On import its package starts a thread and a child process that report to Google Analytics, unless
the user has opted out by a file in his home folder, and leaves an identifier there. Nothing of that
belongs beside a scanner. Without the package ``openvino_telemetry`` it falls back to a stub.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Final

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.install import install_command

_TELEMETRY: Final = "openvino_telemetry"
_LOCK: Final = threading.Lock()


def import_openvino() -> Any:
    """The module ``openvino``, silent unless the host itself imported it before.

    Raises ProviderError where it is not installed.
    """
    with _LOCK:
        hide = "openvino" not in sys.modules and _TELEMETRY not in sys.modules
        if hide:
            sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes its import fail
        try:
            import openvino
        except (ImportError, OSError) as error:  # OSError: the bindings without their libraries
            raise ProviderError("openvino is not installed", install_command("openvino")) from error
        finally:
            if hide:
                del sys.modules[_TELEMETRY]
        return openvino


def reader_errors() -> tuple[type[Exception], ...]:
    """Errors that OpenVINO's reader of a format raises; its own errors have no common ancestor but
    Exception."""
    frontend = import_openvino().frontend
    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )
