"""A session of ONNX Runtime for stacks of one size, its inputs and outputs at fixed addresses.

That is what a CUDA graph asks for: what was recorded reads and writes the same places again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import OUTPUTS, TensorSpec
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.providers.cuda_buffers import (
    PairedBlock,
    Slot,
    Stream,
    concrete,
    cuda_call,
    cuda_runtime,
    lay_out,
)
from scarseg_runtime.providers.onnxruntime.api import onnxruntime_errors, session_options
from scarseg_runtime.session import Arrays

if TYPE_CHECKING:
    import onnxruntime

Sizes = tuple[int, int, int]
"""Slices, rows, columns."""
AXES = ("S", "H", "W")
"""Names of the dynamic axes in a model file."""


class Memory(Protocol):
    """Places of inputs and outputs on a device, with their twins on the host."""

    device: str
    """As ONNX Runtime's IO binding names it."""

    def reserve(self, up: int, down: int) -> tuple[int, int]:
        """Bytes for inputs and for outputs; their addresses on the device."""

    def up_view(self, slot: Slot) -> NDArray[Any]:
        """The host's side of an input."""

    def down_view(self, slot: Slot) -> NDArray[Any]:
        """The host's side of an output."""

    def upload(self) -> None:
        """Copy all inputs to the device, and wait."""

    def download(self) -> None:
        """Copy all outputs from the device, and wait."""

    def free(self) -> None:
        """Give everything back."""


class CudaMemory:
    """Memory of the first GPU and pinned memory of the host. Not run on a GPU since it was made of
    the parts of the TensorRT session, which have not been either."""

    device = "cuda"

    def __init__(self) -> None:
        cuda_call(cuda_runtime().cudaSetDevice(0))
        self._stream = Stream()
        self._up, self._down = PairedBlock(), PairedBlock()
        self._bytes = (0, 0)

    def reserve(self, up: int, down: int) -> tuple[int, int]:
        """See :class:`Memory`. Raises ProviderError where there is too little."""
        self._up.reserve(up)
        self._down.reserve(down)
        self._bytes = (up, down)
        return self._up.device.address, self._down.device.address

    def up_view(self, slot: Slot) -> NDArray[Any]:
        """See :class:`Memory`."""
        return self._up.view(slot)

    def down_view(self, slot: Slot) -> NDArray[Any]:
        """See :class:`Memory`."""
        return self._down.view(slot)

    def upload(self) -> None:
        """See :class:`Memory`. ONNX Runtime computes on a stream of its own: so it has to wait."""
        self._up.upload(self._bytes[0], self._stream.handle)
        self._stream.wait()

    def download(self) -> None:
        """See :class:`Memory`."""
        self._down.download(self._bytes[1], self._stream.handle)
        self._stream.wait()

    def free(self) -> None:
        """See :class:`Memory`."""
        for part in (self._up, self._down, self._stream):
            part.free()


def fixed_size_options(sizes: Sizes, threads: int) -> Any:
    """Options of a session that takes one size only: what depends on the size alone is folded."""
    options = session_options(threads)
    for axis, size in zip(AXES, sizes, strict=True):
        options.add_free_dimension_override_by_name(axis, size)
    return options


class BoundGraph:
    """One size. Not for several threads at once.

    Args:
        session: of :func:`fixed_size_options`.
        inputs: of the graph.
        memory: empty; taken over.

    Raises:
        ProviderError: there is too little memory.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Iterable[TensorSpec],
        sizes: Sizes,
        memory: Memory,
    ) -> None:
        self._up, up_bytes = lay_out(concrete(spec, sizes) for spec in inputs)
        self._down, down_bytes = lay_out(concrete(spec, sizes) for spec in OUTPUTS)
        self._session: Any = session
        self._memory = memory
        self._binding: Any = session.io_binding()
        up, down = memory.reserve(up_bytes, down_bytes)
        for bind, slots, address in (
            (self._binding.bind_input, self._up, up),
            (self._binding.bind_output, self._down, down),
        ):
            for name, slot in slots.items():
                place = address + slot.offset
                bind(name, memory.device, 0, slot.dtype.type, slot.shape, place)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """All outputs, in memory of their own. Raises ProviderError."""
        for name, slot in self._up.items():
            np.copyto(self._memory.up_view(slot), inputs[name])
        self._memory.upload()
        try:
            self._session.run_with_iobinding(self._binding)
        except onnxruntime_errors() as error:
            raise ProviderError("ONNX Runtime failed on this study", "See its log") from error
        self._memory.download()
        return {name: self._memory.down_view(slot).copy() for name, slot in self._down.items()}

    def close(self) -> None:
        """Let go of the session, with what it recorded, and then of the memory."""
        self._binding = self._session = None
        self._memory.free()
