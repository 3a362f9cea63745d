"""Session that runs a graph: the small interface between a model and ONNX Runtime or TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from scarseg_runtime.run_control import NO_LIMITS, RunControl

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by the names of the contract (scarseg_runtime.contract)."""


class Session(Protocol):
    """One graph on one provider."""

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Get ready for stacks of a size: buffers, shapes, compilation. Optional; ``execute``
        prepares by itself where the size is new. Raises ProviderError where it is too large."""

    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph for contiguous inputs of the contract's types.

        Raises:
            ProviderError: the provider failed.
            CancelledError, RunTimeoutError: ``control`` stopped it; the session stays usable.
        """
