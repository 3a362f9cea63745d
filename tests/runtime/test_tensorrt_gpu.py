"""The shipped model on a real NVIDIA GPU. Every flavour of TensorRT that is installed is tested."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scarseg_runtime.contract import Label
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.model_file.gates import (
    MAX_BURDEN_DIFFERENCE,
    MAX_DICE_DIFFERENCE,
    MIN_LABEL_AGREEMENT,
)
from scarseg_runtime.model_file.read import ModelFile, read_model_file
from scarseg_runtime.providers import cache_place
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.onnxruntime.session import OnnxSession
from scarseg_runtime.providers.tensorrt.engine import TensorrtSession

pytestmark = [pytest.mark.gpu, pytest.mark.serial]  # there is one of it
if nvidia_gpu() is None:
    pytest.skip("needs an NVIDIA GPU", allow_module_level=True)

MODELS = Path(__file__).parents[2] / "scarseg_infer" / "models"
FP32_MODEL = MODELS / "reference.onnx"
FP16_MODEL = MODELS / "reference.fp16.onnx"
FLAVOURS = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}

Outputs = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_place, "cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return read_model_file(FP16_MODEL)


@pytest.fixture(scope="module", params=sorted(FLAVOURS))
def flavour(request: pytest.FixtureRequest) -> str:
    if find_spec(FLAVOURS[request.param]) is None:
        pytest.skip(f"needs {request.param}")
    return str(request.param)


@pytest.fixture(scope="module")
def session(model: ModelFile, flavour: str, cache: Path) -> Iterator[TensorrtSession]:
    with TensorrtSession.open(model, flavour) as opened:
        yield opened


@pytest.fixture(scope="module")
def cpu() -> OnnxSession:
    return OnnxSession.open(read_model_file(FP32_MODEL), "cpu")


def study(slices: int = 8, height: int = 128, width: int = 120, seed: int = 0) -> dict[str, Any]:
    """A crude heart: dark ring, bright blood, bright patch in the ring; ECG three days old."""
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] * 1.6
    y, x = y - 0.8 * height, x - 0.8 * width
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(-y, x))
    image = np.full(radius.shape, 250.0)
    image[radius < 34] = 60
    image[(radius < 34) & (np.abs(angle) < 35)] = 330
    image[radius < 24] = 300
    return {
        "lge": (image + noise.normal(0, 8, (slices, *image.shape))).astype(np.float32),
        "pixel_spacing": np.array([1.6, 1.6], np.float32),
        "slice_level": np.linspace(0, 1, slices, dtype=np.float32),
        "ecg": noise.normal(0, 0.3, (12, 512)).astype(np.float32),
        "gap_days": np.array([3.0], np.float32),
        "ecg_valid": np.array([1.0], np.float32),
    }


def equal(first: Outputs, second: Outputs) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def check_parity(found: Outputs, wanted: Outputs) -> None:
    for name, values in wanted.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape), name
        assert np.isfinite(found[name]).all(), name
    assert (found["labels"] == wanted["labels"]).mean() >= MIN_LABEL_AGREEMENT
    scars = [outputs["labels"] == Label.SCAR for outputs in (found, wanted)]
    dice = 2 * (scars[0] & scars[1]).sum() / max(scars[0].sum() + scars[1].sum(), 1)
    assert not scars[1].any() or 1 - dice <= MAX_DICE_DIFFERENCE
    walls = [scar.sum() / max(np.isin(outputs["labels"], (2, 3)).sum(), 1)
             for scar, outputs in zip(scars, (found, wanted), strict=True)]  # fmt: skip
    assert 100 * abs(walls[0] - walls[1]) <= MAX_BURDEN_DIFFERENCE
    assert found["ecg_weight"] == pytest.approx(wanted["ecg_weight"], abs=1e-4)


def test_the_engine_keeps_the_gates(session: TensorrtSession, cpu: OnnxSession) -> None:
    for seed in range(3):
        inputs = study(seed=seed)
        check_parity(session.execute(inputs), cpu.execute(inputs))


def test_replays_give_what_the_first_run_gave(session: TensorrtSession, flavour: str) -> None:
    first_study, second_study = study(9, seed=1), study(9, seed=2)
    first = session.execute(first_study)
    if flavour == "tensorrt":
        runs = [session.execute(first_study) for _ in range(4)]
        assert all(equal(first, run) for run in runs)
        assert session._captured.recorded
    else:  # swaps in kernels made for the shape once it has compiled them: equal but for rounding
        for _ in range(4):
            check_parity(session.execute(first_study), first)
    other = session.execute(second_study)
    assert not equal(other, first)
    check_parity(session.execute(first_study), first)


def test_stacks_may_grow_and_shrink(session: TensorrtSession, cpu: OnnxSession) -> None:
    for sizes in ((1, 96, 96), (12, 256, 216), (30, 160, 192), (2, 100, 90), (12, 256, 216)):
        session.prepare(*sizes)
        inputs = study(*sizes)
        check_parity(session.execute(inputs), cpu.execute(inputs))


def test_outputs_stay_when_the_next_study_runs(session: TensorrtSession) -> None:
    first = session.execute(study(seed=1))
    kept = {name: values.copy() for name, values in first.items()}
    session.execute(study(seed=2))
    assert equal(first, kept)


def test_a_stack_that_is_too_large_is_refused_and_the_next_one_runs(
    session: TensorrtSession,
) -> None:
    with pytest.raises(ProviderError, match="at most 40 slices of 1024 × 1024"):
        session.prepare(41, 64, 64)
    assert session.execute(study())["labels"].shape == (8, 128, 120)


def test_engine_and_kernels_are_kept(
    model: ModelFile, flavour: str, session: TensorrtSession, cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    inputs = study()
    first = session.execute(inputs)
    assert list(cache.glob("*.engine"))
    assert flavour == "tensorrt" or list(cache.glob("*.kernels"))
    monkeypatch.setattr("scarseg_runtime.providers.tensorrt.load.build_engine", None)
    with TensorrtSession.open(model, flavour) as again:
        check_parity(again.execute(inputs), first)


def test_a_damaged_engine_is_compiled_again(
    model: ModelFile, flavour: str, session: TensorrtSession, cache: Path
) -> None:
    for path in cache.glob("*.engine"):
        path.write_bytes(path.read_bytes()[:-1000])
    with TensorrtSession.open(model, flavour) as again:
        assert again.execute(study())["labels"].any()


def test_a_closed_session_says_so(model: ModelFile, flavour: str, cache: Path) -> None:
    session = TensorrtSession.open(model, flavour)
    session.close()
    session.close()
    with pytest.raises(ProviderError, match="closed"):
        session.execute(study())
