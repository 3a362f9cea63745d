"""Common parts of NVIDIA's two flavours of TensorRT: import, messages, tensors."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.install import install_command
from scarseg_runtime.log import LOG

Flavour = Literal["tensorrt", "tensorrt-rtx"]
MODULES: Final[dict[str, str]] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}


def import_tensorrt(flavour: str) -> Any:
    """NVIDIA's module of a flavour. Raises ProviderError where it is not installed."""
    try:
        return importlib.import_module(MODULES[flavour])
    except (ImportError, OSError) as error:  # OSError: the bindings without their libraries
        raise ProviderError(f"{flavour} is not installed", install_command(flavour)) from error


class Messages:
    """Messages of TensorRT: passed on to our log, the last error kept for the user's one line."""

    def __init__(self, trt: Any) -> None:
        errors: list[str] = []

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, text: str) -> None:
                if severity <= trt.ILogger.Severity.INFO:
                    LOG.debug("%s", text)
                if severity <= trt.ILogger.Severity.ERROR:
                    errors.append(text)

        self.logger = Logger()
        """Must outlive whatever was made with it."""
        self._errors = errors

    @property
    def last(self) -> str:
        """The last error, without the places in TensorRT's own source."""
        text = self._errors[-1] if self._errors else "it gives no reason"
        text = re.sub(r"^.*?Error Code \d+: (\w+ )*\(", "", text)
        text = re.sub(r"\s*\bIn \w+ at \S+.*$", "", text, flags=re.DOTALL)
        return re.sub(r"\[[^\]]*\]\s*", "", text).strip(" ().\n")


@dataclass(slots=True)
class Tensor:
    """A tensor of TensorRT as ONNX Runtime would describe it."""

    name: str
    type: str
    shape: list[Any]


def as_onnx(trt: Any, name: str, kind: Any, shape: Iterable[int]) -> Tensor:
    """Name, type and shape of a TensorRT tensor in the words of the contract."""
    types = {
        trt.DataType.FLOAT: "tensor(float)",
        trt.DataType.HALF: "tensor(float16)",
        trt.DataType.UINT8: "tensor(uint8)",
    }
    axes = ["dynamic" if axis < 0 else axis for axis in shape]
    return Tensor(name, types.get(kind, str(kind)), axes)
