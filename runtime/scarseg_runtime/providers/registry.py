"""Execution providers by the names users type, and which one a model runs on by itself.

``auto`` takes the first in the list whose package is installed, whose device is there, and which
this model passed the parity gates on. Nothing heavy is imported to decide that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, get_args

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.install import install_command
from scarseg_runtime.model_file.gates import gate_reason
from scarseg_runtime.model_file.read import ModelFile
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.tensorrt.supported_gpus import refusal

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
OF_THE_VARIANT: Final = ("fp16", "bf16")
"""Precisions in which the FP16 variant of a model file runs; BF16 by casts when it is loaded."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One way to run a graph."""

    name: str
    """As typed on the command line and written into results."""
    precisions: tuple[Precision, ...]
    """In order of preference."""
    packages: tuple[str, ...]
    """Modules that must be importable."""
    extra: str
    """The extra of scarseg-infer that installs them."""
    needs_gpu: bool


PROVIDERS: Final = (
    Provider("tensorrt", ("fp16", "fp32"), ("tensorrt", "cuda.bindings"), "tensorrt", True),
    Provider(
        "tensorrt-rtx", ("fp16", "fp32"), ("tensorrt_rtx", "cuda.bindings"), "tensorrt-rtx", True
    ),
    Provider("cuda", ("fp16", "fp32"), ("onnxruntime",), "cuda", True),
    Provider("openvino", ("bf16", "fp32"), ("openvino",), "openvino", False),
    Provider("cpu", ("fp32", "fp16"), ("onnxruntime",), "", False),
)
"""In order of preference: ``auto`` takes the first that can run here."""

CPU: Final = "cpu"

NO_BF16: Final = "this CPU has neither AMX nor AVX512-BF16"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider, a precision, and the file that would run."""

    provider: Provider
    precision: Precision
    model: ModelFile
    unusable: str | None
    """Reason that it cannot run here; None if it can."""
    gate: str | None
    """Reason that it may not be picked by itself; None if it may."""

    @property
    def reason(self) -> str | None:
        """Reason why it is passed over, or None."""
        return self.unusable or self.gate


def provider_named(name: str) -> Provider:
    """The provider of a name. Raises ProviderError if there is none."""
    for provider in PROVIDERS:
        if provider.name == name:
            return provider
    known = ", ".join(["auto", *(provider.name for provider in PROVIDERS)])
    raise ProviderError(f"unknown provider {name!r}", f"Use one of: {known}")


def unusable_reason(provider: Provider) -> str | None:
    """Reason why a provider cannot run on this machine, or None."""
    gpu = nvidia_gpu() if provider.needs_gpu else None
    # First: whoever has such a GPU should not install in vain.
    if gpu is not None and provider.name.startswith("tensorrt"):
        refused = refusal(provider.name, gpu)
        if refused is not None:
            return refused
    missing = [name for name in provider.packages if not _installed(name)]
    if missing:
        return f"not installed: {install_command(provider.extra)}"
    if provider.name == "cuda" and not _has_cuda_build():
        return f"not installed: {install_command(provider.extra)}"
    if provider.needs_gpu and gpu is None:
        return "no NVIDIA GPU or driver"
    return None


def candidates(models: Iterable[ModelFile]) -> list[Candidate]:
    """Every provider in order of preference, with every precision that one of ``models`` has.

    A file of FP32 weights runs in FP32, its FP16 variant in FP16 or BF16.
    """
    files = list(models)
    found = []
    for provider in PROVIDERS:
        missing = unusable_reason(provider)
        for precision in provider.precisions:
            unusable = missing
            if unusable is None and precision == "bf16" and not computes_bf16():
                unusable = NO_BF16
            stored = "fp16" if precision in OF_THE_VARIANT else "fp32"
            for model in files:
                if model.metadata.precision == stored:
                    table = model.metadata.verification
                    gate = gate_reason(table, model.graph_sha256, provider.name, precision)
                    found.append(Candidate(provider, precision, model, unusable, gate))
    return found


def choose(
    found: list[Candidate], provider: str = "auto", precision: str = "auto", *, once: bool = False
) -> Candidate:
    """The first candidate that fits both names and may run; see :func:`preferred` for ``once``.

    A provider or precision that the user names is taken even where it has not passed its gate;
    the candidate then says so.

    Raises:
        ProviderError: a name is unknown, or nothing that fits can run here.
    """
    if provider != "auto":
        provider_named(provider)
    fitting = [
        c
        for c in found
        if provider in ("auto", c.provider.name) and precision in ("auto", c.precision)
    ]
    if not fitting:
        raise _no_variant(provider, precision)
    best = preferred(fitting, once=once)
    runnable = [candidate for candidate in fitting if candidate.unusable is None]
    if best is None and runnable and (provider, precision) != ("auto", "auto"):
        best = runnable[0]
    if best is None:
        # The plain way: of others there may be no table at all.
        nearest = min(runnable or fitting, key=lambda candidate: candidate.precision != "fp32")
        raise ProviderError(
            f"no provider may run this model; {nearest.provider.name} {nearest.precision}: "
            f"{nearest.reason}",
            "The command scarseg-infer --providers says what can run here",
        )
    return best


def _no_variant(provider: str, precision: str) -> ProviderError:
    """Error where no candidate has both names; advice only that can help."""
    if precision not in PRECISIONS:
        return ProviderError(
            f"unknown precision {precision!r}", f"Use one of: {', '.join(['auto', *PRECISIONS])}"
        )
    known = [one for one in PROVIDERS if precision in one.precisions]
    if provider != "auto" and provider not in [one.name for one in known]:
        computes = " and ".join(provider_named(provider).precisions)
        return ProviderError(
            f"the provider {provider} does not compute in {precision}",
            f"It computes in {computes}: name one of these, or leave the precision out",
        )
    advice = "Leave the precision out"
    if precision in OF_THE_VARIANT:
        advice = (
            "Make its FP16 variant with scarseg-export fp16 and keep both files side by side, or "
            "leave the precision out"
        )
    return ProviderError(f"this model has no {precision} variant", advice)


def preferred(found: Iterable[Candidate], *, once: bool = False) -> Candidate | None:
    """The first that runs here and has passed its gate.

    Args:
        once: there will be one run only. On a CPU that is ``cpu``, which is loaded so much sooner
            than ``openvino`` that one study is done earlier.
    """
    usable = [candidate for candidate in found if candidate.reason is None]
    best = next(iter(usable), None)
    if once and best is not None and not best.provider.needs_gpu:
        return next((one for one in usable if one.provider.name == CPU), best)
    return best


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _has_cuda_build() -> bool:
    """True where the installed ONNX Runtime brings its CUDA provider, told by its files."""
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return False
    folder = Path(next(iter(spec.submodule_search_locations))) / "capi"
    return any(folder.glob("*onnxruntime_providers_cuda*"))


def computes_bf16() -> bool:
    """True where the processor multiplies in BF16; Windows does not tell, so not there."""
    flags = _cpu_facts().split()
    return "amx_bf16" in flags or "avx512_bf16" in flags


def _cpu_facts() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
