"""Memory, stream and captured graphs of CUDA: the few calls that our sessions need."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scarseg_runtime.contract import TensorSpec
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.install import install_command
from scarseg_runtime.log import LOG

_DTYPES: Final[dict[str, DTypeLike]] = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
ALIGNMENT: Final = 256
"""Bytes; what TensorRT asks of tensor addresses."""


def cuda_runtime() -> Any:
    """The CUDA runtime's bindings. Raises ProviderError where they are not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise ProviderError(
            "cuda-python is not installed", install_command("tensorrt-rtx")
        ) from error
    return runtime


def cuda_call(answer: tuple[Any, ...]) -> Any:
    """The value of a (error, value) answer. Raises ProviderError with CUDA's name of the error."""
    error, *values = answer
    if int(error) != 0:
        raise ProviderError(
            f"CUDA fails with {error.name}",
            "Check the driver and the free memory of the GPU, or use the provider cpu",
        )
    return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Slot:
    """Place of one tensor in a block."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def concrete(
    spec: TensorSpec, sizes: tuple[int, int, int]
) -> tuple[str, tuple[int, ...], DTypeLike]:
    """Name, shape and type of a tensor for a stack of so many slices, rows and columns."""
    axes = dict(zip("SHW", sizes, strict=True))
    shape = tuple(axes[axis] if isinstance(axis, str) else axis for axis in spec.shape)
    return spec.name, shape, _DTYPES[spec.type]


def lay_out(
    tensors: Iterable[tuple[str, tuple[int, ...], DTypeLike]],
) -> tuple[dict[str, Slot], int]:
    """Places of tensors one behind the other, and the bytes they take together."""
    slots, size = {}, 0
    for name, shape, dtype in tensors:
        slots[name] = Slot(size, shape, np.dtype(dtype))
        taken = prod(shape) * np.dtype(dtype).itemsize
        size += -(-taken // ALIGNMENT) * ALIGNMENT
    return slots, size


class DeviceBlock:
    """GPU memory that grows when more is asked for and never shrinks."""

    def __init__(self) -> None:
        self.address = 0
        self.size = 0

    def reserve(self, size: int) -> None:
        """At least ``size`` bytes; what lay there is lost. Raises ProviderError."""
        if size <= self.size:
            return
        self.free()
        self.address = int(cuda_call(cuda_runtime().cudaMalloc(size)))
        self.size = size

    def free(self) -> None:
        """Give everything back."""
        if self.address:
            cuda_runtime().cudaFree(self.address)
        self.address = self.size = 0


class PairedBlock:
    """GPU memory and its pinned twin on the host, which copies reach without a detour."""

    def __init__(self) -> None:
        self.device = DeviceBlock()
        self._host = 0
        self._host_size = 0

    def reserve(self, size: int) -> None:
        """At least ``size`` bytes on both sides; views made before are void. Raises
        ProviderError."""
        self.device.reserve(size)
        if size > self._host_size:
            self._free_host()
            self._host = int(cuda_call(cuda_runtime().cudaMallocHost(size)))
            self._host_size = size

    def view(self, slot: Slot) -> NDArray[Any]:
        """The host's side of a tensor; valid until the block grows or is freed."""
        count = prod(slot.shape) * slot.dtype.itemsize
        raw = (ctypes.c_ubyte * count).from_address(self._host + slot.offset)
        return np.ctypeslib.as_array(raw).view(slot.dtype).reshape(slot.shape)

    def upload(self, size: int, stream: Any) -> None:
        """Start copying the first ``size`` bytes to the GPU."""
        self._copy(self.device.address, self._host, size, "cudaMemcpyHostToDevice", stream)

    def download(self, size: int, stream: Any) -> None:
        """Start copying the first ``size`` bytes from the GPU."""
        self._copy(self._host, self.device.address, size, "cudaMemcpyDeviceToHost", stream)

    def free(self) -> None:
        """Give both sides back."""
        self.device.free()
        self._free_host()

    def _free_host(self) -> None:
        if self._host:
            cuda_runtime().cudaFreeHost(self._host)
        self._host = self._host_size = 0

    @staticmethod
    def _copy(target: int, source: int, size: int, kind: str, stream: Any) -> None:
        cuda = cuda_runtime()
        direction = getattr(cuda.cudaMemcpyKind, kind)
        cuda_call(cuda.cudaMemcpyAsync(target, source, size, direction, stream))


class Stream:
    """A CUDA stream of our own: TensorRT synchronises needlessly on the default one."""

    def __init__(self) -> None:
        cuda = cuda_runtime()
        self.handle = cuda_call(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))

    def wait(self) -> None:
        """Until everything on it is done. Raises ProviderError where something failed."""
        cuda_call(cuda_runtime().cudaStreamSynchronize(self.handle))

    def free(self) -> None:
        """Give it back."""
        cuda_runtime().cudaStreamDestroy(self.handle)


class CapturedWork:
    """Work on a stream, recorded once and replayed as one launch."""

    def __init__(self) -> None:
        self._graph: Any = None
        self.refused = False
        """True where the last recording failed, so that trying again is of no use."""

    @property
    def recorded(self) -> bool:
        """True where there is something to replay."""
        return self._graph is not None

    def record(self, stream: Stream, work: Callable[[], None]) -> None:
        """Record what ``work`` puts on ``stream``; only said where that cannot be.

        Raises:
            ProviderError: the stream takes no recording at all.
        """
        cuda = cuda_runtime()
        # Thread-local: other threads of the host may use CUDA meanwhile.
        mode = cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        cuda_call(cuda.cudaStreamBeginCapture(stream.handle, mode))
        self.refused = True
        try:
            work()
            self.refused = False
        except ProviderError:
            LOG.debug("work failed while it was recorded", exc_info=True)
        finally:  # a stream left recording would refuse all further work
            error, graph = cuda.cudaStreamEndCapture(stream.handle)
        if int(error) == 0 and self.refused:
            cuda.cudaGraphDestroy(graph)  # half of the work
        elif int(error) == 0:
            error, launchable = cuda.cudaGraphInstantiate(graph, 0)
            cuda.cudaGraphDestroy(graph)
            self.refused = int(error) != 0
            if not self.refused:
                self._graph = launchable
                return
        self.refused = True
        LOG.info("the engine cannot be recorded as a CUDA graph; it runs kernel by kernel")

    def replay(self, stream: Stream) -> None:
        """Start what was recorded. Raises ProviderError."""
        cuda_call(cuda_runtime().cudaGraphLaunch(self._graph, stream.handle))

    def drop(self) -> None:
        """Forget it: shapes or addresses have changed."""
        if self._graph is not None:
            cuda_runtime().cudaGraphExecDestroy(self._graph)
        self._graph, self.refused = None, False
