"""PyTorch on a GPU as its users would run it, with the copies that every row pays for.

Each way runs under ``inference_mode``, is warmed by its first runs, takes its inputs from pinned
memory and brings its outputs back there. This module has not been run on a GPU yet: what is around
the calls of CUDA (gpu_timing.py) is tested on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import OUTPUTS
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.session import Arrays

if TYPE_CHECKING:
    from torch import Tensor

    from scarseg_bench.gpu_timing import Timing

REFERENCE_WAY: Final = "eager fp32"
TF32, HALF, GRAPH = "eager tf32", "autocast fp16, channels last", "CUDA graph fp32"
COMPILED, COMPILED_HALF = "torch.compile reduce-overhead fp32", "torch.compile reduce-overhead fp16"
GPU_WAYS: Final = (REFERENCE_WAY, TF32, HALF, GRAPH, COMPILED, COMPILED_HALF)

_WARM_RUNS: Final = 3
"""Before a capture, and so that reduce-overhead has recorded its own graphs."""


def torch_cuda_missing() -> str | None:
    """Reason why PyTorch cannot use the GPU, or None."""
    import torch

    return None if torch.cuda.is_available() else "this PyTorch has no CUDA, or an older driver"


class GpuSession:
    """The network of a model file in PyTorch on a device.

    Args:
        way: one of ``GPU_WAYS``.
        timing: the device and its clock.
    """

    def __init__(self, path: Path, way: str, timing: Timing) -> None:
        import torch

        from scarseg_export.deploy.model_io import load_model
        from scarseg_export.deploy.onnx_weights import network_of
        from scarseg_runtime.model_file.read import read_model_file

        # cuDNN takes TF32 by itself unless it is told not to.
        torch.backends.cuda.matmul.allow_tf32 = way == TF32
        torch.backends.cudnn.allow_tf32 = way == TF32
        net = network_of(load_model(path), read_model_file(path).metadata).to(timing.device)
        if way == HALF:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._timing, self._way = timing, way
        self._half = way in (HALF, COMPILED_HALF)
        self._network: Callable[..., Any] = net
        if way in (COMPILED, COMPILED_HALF):
            self._network = torch.compile(net, mode="reduce-overhead")
        self._up: tuple[list[Tensor], list[Tensor]] | None = None
        self._down: list[Tensor] = []
        self._graph: CapturedNetwork | None = None
        self.phases_s: dict[str, float] = {}
        """Of the last run: enqueue, h2d, device, d2h."""

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Nothing to do: the first run prepares."""

    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph by name; nothing stops it."""
        import torch

        with torch.inference_mode():
            if self._up is None:
                self._get_ready(inputs)
            self._run(inputs)
        names = (spec.name for spec in OUTPUTS)
        # Memory of its own, as every session gives it.
        return {name: value.numpy().copy() for name, value in zip(names, self._down, strict=True)}

    def _get_ready(self, inputs: Arrays) -> None:
        """Buffers, warm runs, and the capture where the way has one."""
        import torch

        arrays = [torch.from_numpy(np.asarray(value)) for value in inputs.values()]
        pinned = [self._timing.pinned(array) for array in arrays]
        for place, array in zip(pinned, arrays, strict=True):
            place.copy_(array)
        device = [array.to(self._timing.device) for array in arrays]
        self._up = pinned, device
        for _ in range(_WARM_RUNS):
            outputs = self._forward(device)
        if self._way == GRAPH:
            self._graph = CapturedNetwork(lambda: self._forward(device))
            outputs = self._graph.outputs
        self._down = [self._timing.pinned(value) for value in outputs]
        self._timing.wait()

    def _run(self, inputs: Arrays) -> None:
        assert self._up is not None
        pinned, device = self._up
        start = time.perf_counter()
        for place, array in zip(pinned, inputs.values(), strict=True):
            np.copyto(place.numpy(), array)
        marks = [self._timing.mark()]
        for target, place in zip(device, pinned, strict=True):
            target.copy_(place, non_blocking=True)
        marks.append(self._timing.mark())
        outputs = self._graph.replay() if self._graph else self._forward(device)
        marks.append(self._timing.mark())
        for place, value in zip(self._down, outputs, strict=True):
            place.copy_(value, non_blocking=True)
        marks.append(self._timing.mark())
        queued = time.perf_counter() - start
        self._timing.wait()
        spans = [self._timing.between_s(a, b) for a, b in pairwise(marks)]
        self.phases_s = dict(zip(("h2d", "device", "d2h"), spans, strict=True), enqueue=queued)

    def _forward(self, device: Sequence[Tensor]) -> list[Tensor]:
        """Outputs in the contract's types."""
        import torch

        with torch.autocast(self._timing.device.type, torch.float16, enabled=self._half):
            values = self._network(*device)
        return [v.float() if v.dtype == torch.float16 else v for v in values]


class CapturedNetwork:
    """Work recorded as one CUDA graph; its outputs lie where they lay when it was recorded."""

    def __init__(self, work: Callable[[], list[Tensor]]) -> None:
        import torch

        side = torch.cuda.Stream()  # a capture wants warm work on a stream of its own
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self.outputs = work()

    def replay(self) -> list[Tensor]:
        """Start it again."""
        self._graph.replay()
        return self.outputs
