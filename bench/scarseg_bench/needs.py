"""All that the benchmark wants to find, for machines without a network: installed before."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version

from scarseg_runtime.providers.gpu import nvidia_gpu

PACKAGES = (
    ("torch", "PyTorch rows; for those on a GPU a build with CUDA"),
    ("onnx", "weights of the model file, for PyTorch"),
    ("scipy", "the simulated stack"),
    ("matplotlib", "bench.png"),
    ("onnxruntime", "provider cpu"),
    ("onnxruntime-gpu", "provider cuda, in place of onnxruntime"),
    ("openvino", "provider openvino"),
    ("nnunetv2", "the nnU-Net row"),
    ("tensorrt-rtx", "provider tensorrt-rtx"),
    ("tensorrt", "provider tensorrt"),
    ("cuda-python", "CUDA graphs of the providers cuda, tensorrt and tensorrt-rtx"),
)
PROGRAMS = (
    ("cc", "torch.compile: a C compiler, and on the CPU one for C++"),
    ("nvidia-smi", "name, driver and clocks of the GPU in the report"),
)


def lines() -> list[str]:
    """One line for each thing: whether it is here, and which rows want it."""
    found = [(name, _version(name), what) for name, what in PACKAGES]
    found += [(name, "found" if shutil.which(name) else None, what) for name, what in PROGRAMS]
    card = nvidia_gpu()
    found.append(("NVIDIA driver", card.name if card else None, "every row on a GPU"))
    width = max(len(name) for name, _, _ in found)
    return [f"{name:{width}}  {state or 'missing':12}  {what}" for name, state, what in found]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
