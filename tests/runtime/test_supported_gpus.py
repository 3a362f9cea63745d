"""Verdicts on a GPU before anything is compiled for it: the capability is the input."""

from __future__ import annotations

import pytest

from scarseg_infer.models import model_path
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers import registry
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.providers.registry import provider_named, unusable_reason
from scarseg_runtime.providers.tensorrt import engine
from scarseg_runtime.providers.tensorrt.supported_gpus import engine_gpus, named, refusal


def gpu(major: int, minor: int) -> Gpu:
    return Gpu(f"a GPU of {major}.{minor}", (major, minor), 13000)


RTX_RUNS = [(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1), (12, 5), (13, 0)]
RTX_REFUSES = [(5, 2), (6, 1), (7, 0), (8, 7), (9, 0), (10, 0), (10, 3), (11, 0)]


@pytest.mark.parametrize("capability", RTX_RUNS)
def test_tensorrt_rtx_takes_what_nvidia_lists(capability: tuple[int, int]) -> None:
    assert refusal("tensorrt-rtx", gpu(*capability), release="1.7.1.116") is None


@pytest.mark.parametrize("capability", RTX_REFUSES)
def test_what_it_refuses_is_said_with_a_way_out(capability: tuple[int, int]) -> None:
    said = str(refusal("tensorrt-rtx", gpu(*capability), release="1.7.1.116"))
    assert said.startswith(f"TensorRT-RTX does not run on {named(capability)}: ")
    assert "{}.{}".format(*capability) in said
    assert "provider cuda" in said
    assert "enterprise TensorRT by NVIDIA's installation guide" in said


def test_hopper_is_named() -> None:
    said = refusal("tensorrt-rtx", gpu(9, 0), release="1.7.1.116")
    assert "does not run on Hopper (compute capability 9.0)" in str(said)


def test_a_release_may_be_too_old_for_a_gpu() -> None:
    assert refusal("tensorrt-rtx", gpu(12, 1), release="1.4.0.76") is not None
    assert refusal("tensorrt-rtx", gpu(12, 1), release="1.5.0.114") is None
    assert refusal("tensorrt-rtx", gpu(12, 1), release="of our own") is None  # the library decides


def test_enterprise_tensorrt_takes_hopper_and_refuses_volta() -> None:
    assert refusal("tensorrt", gpu(9, 0)) is None
    assert "Volta (compute capability 7.0): use the provider cuda" in str(
        refusal("tensorrt", gpu(7, 0))
    )


def test_an_engine_for_turing_is_made_for_nothing_else() -> None:
    assert engine_gpus((7, 5)) == ("SM75",)
    assert engine_gpus((8, 9)) == engine_gpus((12, 0)) == ()


@pytest.mark.parametrize("name", ["tensorrt-rtx", "tensorrt"])
def test_providers_say_it_even_where_nothing_is_installed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody installs what will refuse the GPU."""
    monkeypatch.setattr(registry, "nvidia_gpu", lambda: gpu(7, 0))
    monkeypatch.setattr(registry, "_installed", lambda module: False)
    said = str(unusable_reason(provider_named(name)))
    assert "does not run on Volta" in said
    assert "not installed" in str(unusable_reason(provider_named("cuda")))
    monkeypatch.setattr(registry, "nvidia_gpu", lambda: None)
    assert "not installed" in str(unusable_reason(provider_named(name)))


def test_nothing_is_imported_or_compiled_for_a_gpu_that_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "nvidia_gpu", lambda: gpu(9, 0))
    monkeypatch.setattr(engine, "cuda_runtime", None)  # would fail if it were asked
    monkeypatch.setattr(engine, "LoadedEngine", None)
    with model_path(None) as path, pytest.raises(ProviderError, match="Hopper") as raised:
        engine.TensorrtSession.open(read_model_file(path), "tensorrt-rtx")
    assert "Use the provider cuda" in str(raised.value)
