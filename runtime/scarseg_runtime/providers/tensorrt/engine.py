"""A model file on TensorRT-RTX or enterprise TensorRT: no torch, nothing allocated per run.

Inputs lie one behind the other in one pinned block, outputs in another, so that a run is one copy
up, one execution, one copy down. Addresses are bound once per shape. While shapes match, the
enterprise flavour replays all three as one CUDA graph; TensorRT-RTX captures by itself, once it has
compiled the kernels of a shape.

Not yet measured on a GPU.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import IMAGE_INPUTS, INPUTS, OUTPUTS
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.model_file.read import ModelFile
from scarseg_runtime.providers.cache_place import Cache, chosen_folder
from scarseg_runtime.providers.cuda_buffers import (
    ALIGNMENT,
    CapturedWork,
    DeviceBlock,
    PairedBlock,
    Slot,
    Stream,
    concrete,
    cuda_call,
    cuda_runtime,
    lay_out,
)
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.tensorrt.api import Flavour
from scarseg_runtime.providers.tensorrt.build import Sizes
from scarseg_runtime.providers.tensorrt.load import LoadedEngine, must
from scarseg_runtime.providers.tensorrt.supported_gpus import check_gpu
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.session import Arrays


class TensorrtSession:
    """One engine on the first GPU. Safe to call from several threads, one run at a time."""

    def __init__(self, loaded: LoadedEngine, *, image_only: bool, cuda_graph: bool = True) -> None:
        """Takes over ``loaded``; see :meth:`open`."""
        self._loaded = loaded
        self._captures = cuda_graph and loaded.needs_capture
        self._inputs = IMAGE_INPUTS if image_only else INPUTS
        self._lock = threading.Lock()
        self._sizes: Sizes | None = None
        self._slots: dict[str, Slot] = {}
        self._bytes = (0, 0)
        self._runs = 0
        """Since the last change of shape."""
        resources = ExitStack()
        self._release = weakref.finalize(self, resources.close)
        self._stream = Stream()
        resources.callback(self._stream.free)
        self._up, self._down, self._scratch = PairedBlock(), PairedBlock(), DeviceBlock()
        for block in (self._up, self._down, self._scratch):
            resources.callback(block.free)
        resources.callback(loaded.close)
        self._captured = CapturedWork()
        resources.callback(self._captured.drop)

    @classmethod
    def open(
        cls, model: ModelFile, flavour: str, *, cache: Cache = True, cuda_graph: bool = True
    ) -> TensorrtSession:
        """Load the engine of a model file, compiling it where none is stored.

        Args:
            flavour: ``tensorrt`` or ``tensorrt-rtx``.
            cache: where engines are kept, if at all.
            cuda_graph: replay the work of a known shape as one launch; without it, to measure
                what that is worth.

        Raises:
            ModelError: the model cannot be compiled.
            ProviderError: GPU, driver or TensorRT are missing, the flavour does not run on this
                GPU, or one of them fails.
        """
        gpu = nvidia_gpu()
        if gpu is None:
            raise ProviderError(
                f"{flavour} finds no NVIDIA GPU or driver",
                "Install NVIDIA's driver, or use another provider",
            )
        check_gpu(flavour, gpu)
        cuda_call(cuda_runtime().cudaSetDevice(0))
        loaded = LoadedEngine(
            model, cast(Flavour, flavour), gpu, cache=chosen_folder(cache), cuda_graph=cuda_graph
        )
        return cls(loaded, image_only=model.metadata.image_only, cuda_graph=cuda_graph)

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Buffers, shapes and addresses for stacks of a size.

        Raises:
            ProviderError: the engine is not built for the size, or the GPU's memory is too small.
        """
        with self._lock:
            self._prepare((slices, height, width))

    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph, in memory of their own.

        What is on the GPU cannot be stopped: ``control`` is looked at before and after.

        Raises:
            ProviderError: the engine is not built for so large a stack, or CUDA fails.
            CancelledError, RunTimeoutError: ``control`` stopped it.
        """
        control.wait(lambda limit_s: self._lock.acquire(timeout=limit_s))
        try:
            control.check()
            slices, height, width = inputs["lge"].shape
            self._prepare((slices, height, width))
            for spec in self._inputs:
                np.copyto(self._up.view(self._slots[spec.name]), inputs[spec.name])
            self._run()
            control.check()
            return {spec.name: self._down.view(self._slots[spec.name]).copy() for spec in OUTPUTS}
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give the GPU's memory back and keep the kernels compiled meanwhile. Also done when the
        session is collected and when the process ends."""
        with self._lock:
            self._release()

    def __enter__(self) -> TensorrtSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, sizes: Sizes) -> None:
        if not self._release.alive:
            raise ProviderError("the TensorRT session is closed", "Load the model again")
        if sizes == self._sizes:
            return
        check_size(sizes, *self._loaded.limits)
        self._sizes, self._runs = None, 0  # half prepared must not pass for prepared
        self._captured.drop()
        up, up_bytes = lay_out(concrete(spec, sizes) for spec in self._inputs)
        down, down_bytes = lay_out(concrete(spec, sizes) for spec in OUTPUTS)
        self._up.reserve(up_bytes)
        self._down.reserve(down_bytes)
        self._bind(up, down)
        self._slots, self._bytes = up | down, (up_bytes, down_bytes)
        self._sizes = sizes

    def _bind(self, up: dict[str, Slot], down: dict[str, Slot]) -> None:
        context = self._loaded.context
        for name, slot in up.items():
            must(context.set_input_shape(name, slot.shape), f"refuses the shape of {name}")
        for slots, block in ((up, self._up), (down, self._down)):
            for name, slot in slots.items():
                address = block.device.address + slot.offset
                must(context.set_tensor_address(name, address), f"refuses the address of {name}")
        must(not context.infer_shapes(), "misses the shape of an input")
        self._scratch.reserve(max(int(context.update_device_memory_size_for_shapes()), ALIGNMENT))
        context.set_device_memory(self._scratch.address, self._scratch.size)

    def _run(self) -> None:
        """Inputs up, execute, outputs down, wait."""
        captured = self._captured
        # Once plainly first: what TensorRT does on a first run must not be in a capture.
        if self._captures and self._runs == 1 and not captured.refused:
            captured.record(self._stream, self._enqueue)
        if captured.recorded:
            captured.replay(self._stream)
        else:
            self._enqueue()
        self._stream.wait()
        self._runs += 1
        if self._runs == 1:
            self._loaded.keep_kernels()

    def _enqueue(self) -> None:
        up_bytes, down_bytes = self._bytes
        self._up.upload(up_bytes, self._stream.handle)
        started = self._loaded.context.execute_async_v3(int(self._stream.handle))
        must(started, f"fails to run: {self._loaded.messages.last}")
        self._down.download(down_bytes, self._stream.handle)


def check_size(sizes: Sizes, smallest: Sizes, largest: Sizes) -> None:
    """Compare a stack with what an engine is built for. Raises ProviderError."""
    for limit, word in ((largest, "at most"), (smallest, "at least")):
        outside = [a > b if word == "at most" else a < b for a, b in zip(sizes, limit, strict=True)]
        if any(outside):
            raise ProviderError(
                "the stack has {} slices of {} × {} pixels, the engine takes ".format(*sizes)
                + "{} {} slices of {} × {}".format(word, *limit),
                "Compile one that does with scarseg-export tensorrt (--min, --max) beside the "
                "model file, or use another provider",
            )
