"""The provider ``cuda``: plain runs, and one CUDA graph for each size that comes again.

On a GPU this network is launches, not arithmetic: hundreds of small kernels, which a CUDA graph
starts as one. ONNX Runtime records one where every node runs on the GPU, the size is fixed, and
inputs and outputs lie where they lay (its page on the CUDA provider, "Using CUDA Graphs"). So each
size has a session of its own, with the size folded into the graph. It is made when a size comes for
the second time, or is prepared for: a single study does not wait for it.

Before a graph is used its labels must be those of a plain run, by the gate that models are verified
with. Whatever fails, or differs, is logged with its reason, and plain runs go on.

Not run on a GPU since this was written. What is around the calls of CUDA is tested on the CPU.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from numpy.typing import NDArray

from scarseg_runtime.contract import IMAGE_INPUTS, INPUTS
from scarseg_runtime.cores import usable_cores
from scarseg_runtime.errors import ModelError, ProviderError
from scarseg_runtime.log import LOG
from scarseg_runtime.model_file.gates import MIN_LABEL_AGREEMENT
from scarseg_runtime.model_file.read import ModelFile
from scarseg_runtime.providers.cuda_buffers import cuda_call, cuda_runtime
from scarseg_runtime.providers.onnxruntime.bound_graph import (
    BoundGraph,
    CudaMemory,
    Sizes,
    fixed_size_options,
)
from scarseg_runtime.providers.onnxruntime.kept_graphs import MOST_KEPT, KeptGraphs
from scarseg_runtime.providers.onnxruntime.session import (
    OnnxSession,
    check_taken,
    cuda_provider,
    load_session,
)
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.session import Arrays

Found = TypeVar("Found")

SHARE_OF_MEMORY: Final = 0.5
"""Of the GPU's memory that graphs may hold."""


class GraphMaker(Protocol):
    """Makes graphs of a size: the one place that asks for a GPU."""

    most_bytes: int
    """Bytes that all graphs together may hold."""

    def make(self, sizes: Sizes) -> BoundGraph:
        """A graph of a size. Raises ModelError or ProviderError."""

    def free_bytes(self) -> int:
        """Memory of the device that nobody holds."""


class CudaGraphMaker:
    """Graphs of a model file on the first GPU. Raises ProviderError without cuda-python."""

    def __init__(self, model: ModelFile, threads: int) -> None:
        self._model, self._threads = model, threads
        self._inputs = IMAGE_INPUTS if model.metadata.image_only else INPUTS
        cuda_call(cuda_runtime().cudaSetDevice(0))
        _, total = cuda_call_pair(cuda_runtime().cudaMemGetInfo())
        self.most_bytes = int(SHARE_OF_MEMORY * total)

    def make(self, sizes: Sizes) -> BoundGraph:
        """See :class:`GraphMaker`."""
        options = fixed_size_options(sizes, self._threads)
        session = load_session(self._model, options, [cuda_provider(enable_cuda_graph="1")])
        check_taken(session, "cuda")
        return BoundGraph(session, self._inputs, sizes, CudaMemory())

    def free_bytes(self) -> int:
        """See :class:`GraphMaker`."""
        return cuda_call_pair(cuda_runtime().cudaMemGetInfo())[0]


class CudaSession:
    """A model on the first GPU. Safe to call from several threads; graphs run one at a time.

    Args:
        plain: takes any size.
        maker: None where graphs cannot be made.
    """

    def __init__(self, plain: OnnxSession, maker: GraphMaker | None) -> None:
        self._plain, self._maker = plain, maker
        self._turn = threading.RLock()
        self._kept: KeptGraphs[BoundGraph] = KeptGraphs(maker.most_bytes if maker else 0)
        self._came: deque[Sizes] = deque(maxlen=2 * MOST_KEPT)
        """Sizes that came lately, or that are prepared for."""
        self._release = weakref.finalize(self, self._kept.clear)

    @classmethod
    def open(cls, model: ModelFile, threads: int | None = None) -> CudaSession:
        """Load a model file. Raises what :meth:`OnnxSession.open` raises."""
        plain = OnnxSession.open(model, "cuda", threads)
        try:
            maker = CudaGraphMaker(model, threads or usable_cores())
        except ProviderError as error:
            LOG.info("no CUDA graphs: %s", error)
            return cls(plain, None)
        return cls(plain, maker)

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Have a graph made by the next study of this size."""
        with self._turn:
            self._came.append((slices, height, width))

    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph by name. See :meth:`Session.execute`.

        What runs as a CUDA graph cannot be stopped: ``control`` is looked at before and after.
        """
        slices, height, width = inputs["lge"].shape
        sizes = (slices, height, width)
        control.wait(lambda limit_s: self._turn.acquire(timeout=limit_s))
        try:
            graph = self._kept.find(sizes)
            if graph is not None:
                control.check()
                found = self._attempt(lambda: graph.run(inputs))
                control.check()
                if found is not None:
                    return found
            elif self._maker is not None and sizes in self._came:
                outputs = self._run_plainly(inputs, control)
                self._attempt(lambda: self._make(sizes, inputs, outputs))
                return outputs
            self._came.append(sizes)
        finally:
            self._turn.release()
        return self._run_plainly(inputs, control)

    def _run_plainly(self, inputs: Arrays, control: RunControl) -> dict[str, NDArray[Any]]:
        """Without a graph; where that fails with graphs kept, once more with their memory."""
        try:
            return self._plain.execute(inputs, control)
        except ProviderError:
            with self._turn:  # none of them is running
                had = self._kept.clear()
            if not had:
                raise
            LOG.info("CUDA graphs are dropped for the memory that they hold")
            return self._plain.execute(inputs, control)

    def _make(self, sizes: Sizes, inputs: Arrays, plain: dict[str, NDArray[Any]]) -> None:
        """Record the graph of a size, and keep it where it gives what a plain run gave."""
        assert self._maker is not None
        before = self._maker.free_bytes()
        graph = self._maker.make(sizes)
        try:
            graph.run(inputs)  # records
            replayed = graph.run(inputs)
        except ProviderError:
            graph.close()
            raise
        agreement = float((replayed["labels"] == plain["labels"]).mean())
        if not agreement >= MIN_LABEL_AGREEMENT:
            graph.close()
            raise ProviderError(f"only {100 * agreement:.2f} % of labels are those of a plain run")
        taken = max(0, before - self._maker.free_bytes())
        if not self._kept.add(sizes, graph, taken):
            LOG.info("the CUDA graph for %s × %s × %s needs too much memory", *sizes)
            self._maker = None

    def _attempt(self, work: Callable[[], Found]) -> Found | None:
        """Result of ``work``; None where it fails: then graphs are given up, with the reason."""
        try:
            return work()
        except (ModelError, ProviderError) as error:
            cause = error.__cause__ or error
            LOG.info("no CUDA graphs from now on: %s", str(cause).splitlines()[0][:300])
            self._maker = None
            self._kept.clear()
            return None


def cuda_call_pair(answer: tuple[Any, Any, Any]) -> tuple[int, int]:
    """The two numbers of a CUDA call that gives two. Raises ProviderError."""
    error, first, second = answer
    cuda_call((error,))
    return int(first), int(second)
