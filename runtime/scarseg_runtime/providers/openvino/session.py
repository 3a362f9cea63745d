"""A graph on OpenVINO's own runtime: the fastest way on CPUs, of any maker.

Not through ONNX Runtime's OpenVINO plugin, which registers no device on processors that are not
Intel's, keeps no compiled model of its own, and is the same library underneath.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from scarseg_runtime.contract import OUTPUTS
from scarseg_runtime.cores import usable_cores
from scarseg_runtime.errors import ModelError, ProviderError
from scarseg_runtime.model_file.read import ModelFile, check_contract, checked_bytes
from scarseg_runtime.providers.cache_place import Cache, chosen_folder
from scarseg_runtime.providers.engine_cache import CacheEntry
from scarseg_runtime.providers.engine_file import SIDECAR_FORMAT, UnusableError
from scarseg_runtime.providers.environment import variable_set
from scarseg_runtime.providers.openvino.api import import_openvino, reader_errors
from scarseg_runtime.providers.openvino.bf16 import check_bf16, turn_to_bf16
from scarseg_runtime.run_control import NO_LIMITS, POLL_S, RunControl
from scarseg_runtime.session import Arrays

if TYPE_CHECKING:
    import openvino

_KERNELS_KEPT: Final = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_ROUNDING: Final = {
    "fp32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bf16": {"EXECUTION_MODE_HINT": "ACCURACY"},  # in the types that the graph names
}
_CONTRACT_TYPES: Final = {"f32": "tensor(float)", "u8": "tensor(uint8)"}


class OpenvinoSession:
    """One graph on the CPU. Callable from several threads, which take turns: OpenVINO uses all
    its cores for one study."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._turn = threading.Lock()
        self._outputs = [spec.name for spec in OUTPUTS]

    @classmethod
    def open(
        cls, model: ModelFile, precision: str, threads: int | None = None, cache: Cache = True
    ) -> OpenvinoSession:
        """Load a model file, compiled before or now.

        Args:
            model: for ``bf16`` the FP16 variant.
            precision: ``fp32`` or ``bf16``.
            threads: cores to compute on; default those the process may use.
            cache: where compiled models are kept, if at all.

        Raises:
            ModelError: OpenVINO cannot read the file, or it breaks the contract.
            ProviderError: OpenVINO cannot compile it in this precision on this processor.
        """
        core = import_openvino().Core()
        with _nothing_kept_of_sizes():
            compiled = _compiled(core, model, precision, threads, chosen_folder(cache))
        check_contract(
            [_Port(port) for port in compiled.inputs],
            [_Port(port) for port in compiled.outputs],
            image_only=model.metadata.image_only,
        )
        return cls(compiled)

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Nothing to do: kernels for a new size are made within its first run."""

    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph by name. See :meth:`Session.execute`."""
        control.wait(lambda limit_s: self._turn.acquire(timeout=limit_s))
        try:
            self._infer(inputs, control)
            # Copied out of the request's buffers, which the next run will overwrite.
            return {name: np.array(self._request.get_tensor(name).data) for name in self._outputs}
        finally:
            self._turn.release()

    def _infer(self, inputs: Arrays, control: RunControl) -> None:
        """Run the request. Inputs are read where they lie."""
        try:
            with _failures():
                self._request.start_async(dict(inputs), share_inputs=True)
            while not self._finished():
                control.check()
        except BaseException:  # an interrupt, or what the host's cancel signal raises, too
            # A request that goes on would refuse every later run, and read inputs long gone.
            self._request.cancel()
            with suppress(RuntimeError):
                self._request.wait()
            raise
        control.check()

    def _finished(self) -> bool:
        """True where the request has come to its end, waiting a little. Raises ProviderError."""
        with _failures():
            return bool(self._request.wait_for(int(POLL_S * 1000)))


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what OpenVINO raises while it computes into ProviderError."""
    try:
        yield
    except RuntimeError as error:
        raise ProviderError("OpenVINO failed on this study", "Use the provider cpu") from error


class _Port:
    """An input or output as ONNX Runtime describes it, which is what the contract is checked on."""

    def __init__(self, port: Any) -> None:
        self.name: str = port.get_any_name()
        kind = port.get_element_type().get_type_name()
        self.type = _CONTRACT_TYPES.get(kind, kind)
        self.shape = [
            size.get_length() if size.is_static else "?" for size in port.get_partial_shape()
        ]


def _hints(precision: str, threads: int | None) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads or usable_cores(),
        "CPU_RUNTIME_CACHE_CAPACITY": "0",  # see _nothing_kept_of_sizes
        **_ROUNDING[precision],
    }


def _nothing_kept_of_sizes() -> AbstractContextManager[None]:
    """OpenVINO and oneDNN inside it each keep the kernels of a thousand or more layers and sizes:
    1 MB for each size of image, which made no run faster. oneDNN asks the environment when it makes
    its first kernel, for the whole process: a host that has chosen keeps its choice."""
    if _KERNELS_KEPT in os.environ:
        return nullcontext()
    return variable_set(_KERNELS_KEPT, "0")


def _compiled(
    core: openvino.Core, model: ModelFile, precision: str, threads: int | None, folder: Path | None
) -> openvino.CompiledModel:
    """The compiled model from the cache, else compiled and kept."""
    hints = _hints(precision, threads)
    entry = CacheEntry(folder, _key_parts(core, model, precision), ".openvino")
    if (stored := _imported(core, entry, hints)) is not None:
        return stored
    with entry.lock() as writable:
        if writable and (stored := _imported(core, entry, hints)) is not None:
            return stored  # another process compiled it meanwhile
        compiled = _compile(core, model, precision, hints)
        if writable:
            entry.write(compiled.export_model().getvalue(), {})
        return compiled


def _key_parts(core: openvino.Core, model: ModelFile, precision: str) -> dict[str, Any]:
    """All that a compiled model depends on; the number of threads is set when it is loaded."""
    return {
        "format": SIDECAR_FORMAT,
        "onnx_sha256": model.sha256,
        "flavour": "openvino",
        "read_as": "onnx",
        "version": import_openvino().get_version(),
        "cpu": core.get_property("CPU", "FULL_DEVICE_NAME"),
        "capabilities": sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
        "precision": precision,
    }


def _imported(
    core: openvino.Core, entry: CacheEntry, hints: dict[str, Any]
) -> openvino.CompiledModel | None:
    try:
        stored = entry.read()
        return None if stored is None else core.import_model(stored[0], "CPU", hints)
    except (UnusableError, RuntimeError):  # damaged or of another build: compiled again
        return None


def _compile(
    core: openvino.Core, model: ModelFile, precision: str, hints: dict[str, Any]
) -> openvino.CompiledModel:
    graph = _as_onnx(checked_bytes(model))
    try:
        if precision == "bf16":
            turn_to_bf16(graph)
        compiled = core.compile_model(graph, "CPU", hints)
    except RuntimeError as error:
        raise ProviderError(
            "OpenVINO cannot compile this model for this processor", "Use the provider cpu"
        ) from error
    if precision == "bf16":
        check_bf16(compiled, model.metadata.half_convolutions)
    return compiled


def _as_onnx(content: bytes) -> openvino.Model:
    """The graph of an ONNX file. Raises ModelError.

    Not by ``Core.read_model``, which guesses the format: XML of OpenVINO's own in a description of
    an ONNX file makes it run that, and not the graph that was checked and verified.
    """
    reader = import_openvino().frontend.FrontEndManager().load_by_framework("onnx")
    try:
        return reader.convert(reader.load(io.BytesIO(content)))
    except reader_errors() as error:
        raise ModelError(
            "the model file cannot be loaded by OpenVINO",
            "Check that it is an ONNX file exported by scarseg-export, or use the provider cpu",
        ) from error
