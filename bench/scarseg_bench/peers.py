"""PyTorch as a session: the peer that every provider is measured against, on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scarseg_export.deploy.model_io import load_model
from scarseg_export.deploy.onnx_weights import network_of
from scarseg_export.net.network import ScarNet
from scarseg_infer import Segmenter
from scarseg_infer.models import model_path
from scarseg_runtime.contract import OUTPUTS
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.read import read_model_file, with_half_variant
from scarseg_runtime.providers.registry import candidates, choose
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.session import Arrays

EAGER, AUTOCAST, COMPILED = "eager fp32", "bf16 autocast, channels last", "torch.compile fp32"
WAYS = (EAGER, AUTOCAST, COMPILED)


class TorchSession:
    """The network of a model file in PyTorch, as it would be run without an export."""

    def __init__(self, path: Path, way: str, threads: int) -> None:
        torch.set_num_threads(threads)
        net = network_of(load_model(path), read_model_file(path).metadata)
        if way == AUTOCAST:
            net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._autocast = way == AUTOCAST
        self._run: Callable[..., Any] = torch.compile(net) if way == COMPILED else net
        self.net: ScarNet = net

    def prepare(self, slices: int, height: int, width: int) -> None:
        """Nothing to do."""

    @torch.no_grad()
    def execute(self, inputs: Arrays, control: RunControl = NO_LIMITS) -> dict[str, NDArray[Any]]:
        """All outputs of the graph by name; nothing stops it."""
        tensors = [torch.from_numpy(np.asarray(value)) for value in inputs.values()]
        with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            values = self._run(*tensors)
        names = (spec.name for spec in OUTPUTS)
        plain = (v.float() if v.dtype == torch.bfloat16 else v for v in values)
        return {name: value.numpy() for name, value in zip(names, plain, strict=True)}


def torch_segmenter(way: str, threads: int) -> Segmenter:
    """The product with PyTorch in place of a runtime."""
    with model_path(None) as path:
        session = TorchSession(path, way, threads)
        chosen = choose(candidates(with_half_variant(path)), "cpu", "fp32")
    loaded: Future[Model] = Future()
    loaded.set_result(Model(session, chosen))
    return Segmenter(loaded)


def write_demo_with_torch(out: Path) -> None:
    """The PyTorch route from start to files on disk."""
    from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

    threads = torch.get_num_threads()
    torch_segmenter(EAGER, threads).run(DEMO_STUDY, DEMO_ECG).write(out, overwrite=True)


if __name__ == "__main__":
    import sys

    write_demo_with_torch(Path(sys.argv[1]))
