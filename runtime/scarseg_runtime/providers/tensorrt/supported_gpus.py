"""GPUs that each flavour of TensorRT runs on, known before anything is imported or compiled.

Compiling takes seconds to minutes, and the library looks at the GPU only afterwards. The facts:

- TensorRT-RTX: 8.6, 8.9, 12.0 and from release 1.5 on 12.1, and 7.5 with an engine made for nothing
  else (NVIDIA's support matrices of TensorRT-RTX 1.0 to 1.5); 8.0 and what comes after 12.1 (what
  release 1.7.1 itself names as supported when it refuses a GPU). No 9.0, 10.x or 11.0.
- Enterprise TensorRT 10.12 and later: 7.5 and newer (the release notes of 10.5 remove 7.0). What a
  later release drops it says itself.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

from scarseg_runtime.errors import ProviderError
from scarseg_runtime.providers.gpu import Gpu

Capability = tuple[int, int]
"""Major and minor number of CUDA's compute capability."""

_RTX: Final[frozenset[Capability]] = frozenset({(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)})
_RTX_SINCE: Final[dict[Capability, tuple[int, int]]] = {(12, 1): (1, 5)}
"""First release where it is later than the lowest that we allow."""
_ALONE: Final[frozenset[Capability]] = frozenset({(7, 5)})
"""An engine for these is made for nothing else: no engine of the default runs on them."""
_NEWEST: Final[Capability] = (12, 1)
"""Engines of TensorRT-RTX run on newer ones too."""
_ENTERPRISE_OLDEST: Final[Capability] = (7, 5)

_ARCHITECTURES: Final[dict[Capability, str]] = {
    (5, 0): "Maxwell", (5, 2): "Maxwell", (6, 0): "Pascal", (6, 1): "Pascal", (7, 0): "Volta",
    (7, 5): "Turing", (8, 0): "Ampere", (8, 6): "Ampere", (8, 9): "Ada Lovelace",
    (9, 0): "Hopper", (10, 0): "data-centre Blackwell", (10, 3): "data-centre Blackwell",
    (12, 0): "Blackwell", (12, 1): "Blackwell",
}  # fmt: skip
"""NVIDIA's names (its list of CUDA GPUs)."""

_ADVICE: Final = {
    "tensorrt": "use the provider cuda",
    "tensorrt-rtx": "use the provider cuda, or enterprise TensorRT by NVIDIA's installation guide",
}


def refusal(flavour: str, gpu: Gpu, *, release: str | None = None) -> str | None:
    """Reason why a flavour does not run on a GPU, with what to do; None where it does.

    Args:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        gpu: what the driver says.
        release: of the library; None asks what is installed.
    """
    what = _refused(flavour, gpu.compute_capability, release)
    return None if what is None else f"{what}: {_ADVICE[flavour]}"


def check_gpu(flavour: str, gpu: Gpu) -> None:
    """Raises ProviderError where a flavour does not run on a GPU."""
    what = _refused(flavour, gpu.compute_capability, None)
    if what is not None:
        advice = _ADVICE[flavour]
        raise ProviderError(what, advice[0].upper() + advice[1:])


def engine_gpus(capability: Capability) -> tuple[str, ...]:
    """GPUs to name when an engine of TensorRT-RTX is compiled to run on this one: none, which means
    all that are made by default, or this one alone."""
    return ("SM{}{}".format(*capability),) if capability in _ALONE else ()


def named(capability: Capability) -> str:
    """A compute capability with the name of its architecture."""
    number = "compute capability {}.{}".format(*capability)
    name = _ARCHITECTURES.get(capability)
    return f"{name} ({number})" if name else f"GPUs of {number}"


def _refused(flavour: str, capability: Capability, release: str | None) -> str | None:
    if flavour == "tensorrt":
        runs, name = capability >= _ENTERPRISE_OLDEST, "TensorRT"
    else:
        runs, name = _rtx_runs_on(capability, release or _installed_release()), "TensorRT-RTX"
    return None if runs else f"{name} does not run on {named(capability)}"


def _rtx_runs_on(capability: Capability, release: str) -> bool:
    if capability > _NEWEST:
        return True
    since = _RTX_SINCE.get(capability, (0, 0))
    return capability in _RTX and _major_minor(release) >= since


def _installed_release() -> str:
    """Release of TensorRT-RTX, without importing it; empty where it came another way."""
    try:
        return version("tensorrt_rtx")
    except PackageNotFoundError:
        return ""


def _major_minor(release: str) -> tuple[int, int]:
    """Numbers of a release; the highest where it cannot be read, so that the library decides."""
    numbers = release.split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, IndexError):
        return 999, 0
