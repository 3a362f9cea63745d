"""A graph on ONNX Runtime: CPU or CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from scarseg_runtime.contract import OUTPUTS
from scarseg_runtime.cores import usable_cores
from scarseg_runtime.errors import ModelError, ProviderError
from scarseg_runtime.install import install_command
from scarseg_runtime.model_file.read import ModelFile, check_contract, checked_bytes
from scarseg_runtime.providers.onnxruntime.api import (
    FATAL,
    import_onnxruntime,
    onnxruntime_errors,
    session_options,
)
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.session import Arrays

if TYPE_CHECKING:
    import onnxruntime

ONNXRUNTIME_NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}


class OnnxSession:
    """One graph on one provider of ONNX Runtime. Safe to call from several threads."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [spec.name for spec in OUTPUTS]

    @classmethod
    def open(cls, model: ModelFile, provider: str, threads: int | None = None) -> OnnxSession:
        """Load a model file.

        Raises:
            ModelError: ONNX Runtime cannot load the file, or it breaks the contract.
            ProviderError: the provider is not there after all.
        """
        options = session_options(threads or usable_cores())
        providers = [ONNXRUNTIME_NAMES["cpu"]] if provider == "cpu" else [cuda_provider()]
        session = load_session(model, options, providers)
        check_taken(session, provider)
        check_contract(
            session.get_inputs(), session.get_outputs(), image_only=model.metadata.image_only
        )
        return cls(session)

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Nothing to do: ONNX Runtime takes any size."""

    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph by name. See :meth:`Session.execute`."""
        options = import_onnxruntime().RunOptions()
        options.log_severity_level = FATAL

        def stop() -> None:
            options.terminate = True  # looked at before every operator

        with control.stopping(stop):
            try:
                values = self._session.run(self._outputs, dict(inputs), options)
            except onnxruntime_errors() as error:
                raise ProviderError(
                    "ONNX Runtime failed on this study",
                    "Check that there is memory enough for a stack of its size",
                ) from error
        return dict(zip(self._outputs, values, strict=True))


def cuda_provider(**settings: str) -> tuple[str, dict[str, str]]:
    """Provider as InferenceSession takes it, with more of its settings. Raises ProviderError
    where this ONNX Runtime has no CUDA."""
    if ONNXRUNTIME_NAMES["cuda"] not in import_onnxruntime().get_available_providers():
        raise ProviderError("this ONNX Runtime has no CUDA", install_command("cuda"))
    # TF32 would keep 10 bits of the 23 of FP32: not what the gate of fp32 was measured on.
    return ONNXRUNTIME_NAMES["cuda"], {"use_tf32": "0", **settings}


def check_taken(session: onnxruntime.InferenceSession, provider: str) -> None:
    """ONNX Runtime computes on the CPU, with a line in its log, where a provider does not start:
    no result of ours may say that another did. Raises ProviderError."""
    session.disable_fallback()
    if ONNXRUNTIME_NAMES[provider] not in session.get_providers():
        raise ProviderError(
            f"ONNX Runtime could not start its {provider} provider",
            "Check the driver and libraries that it needs, or use the provider cpu",
        )


def load_session(
    model: ModelFile, options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    """A session of a model file. Raises ModelError where ONNX Runtime does not take it."""
    content = checked_bytes(model)
    try:
        return import_onnxruntime().InferenceSession(content, options, providers=providers)
    except onnxruntime_errors() as error:
        raise ModelError(
            "the model file cannot be loaded by ONNX Runtime",
            "Check that it is an ONNX file exported by scarseg-export and not cut short",
        ) from error
