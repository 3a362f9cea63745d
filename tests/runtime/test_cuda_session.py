"""The provider ``cuda`` with the CPU in place of the GPU: real sessions of ONNX Runtime, bound to
fixed addresses; sizes kept and dropped; and plain runs wherever a graph fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scarseg_infer.models import model_path
from scarseg_runtime.contract import INPUTS
from scarseg_runtime.errors import CancelledError, ProviderError
from scarseg_runtime.model_file.read import ModelFile, read_model_file
from scarseg_runtime.providers.cuda_buffers import ALIGNMENT, Slot
from scarseg_runtime.providers.onnxruntime.bound_graph import (
    BoundGraph,
    Sizes,
    fixed_size_options,
)
from scarseg_runtime.providers.onnxruntime.cuda_session import CudaSession
from scarseg_runtime.providers.onnxruntime.kept_graphs import KeptGraphs
from scarseg_runtime.providers.onnxruntime.session import OnnxSession, load_session
from scarseg_runtime.run_control import RunControl

CPU = "CPUExecutionProvider"


class HostMemory:
    """The device is the host: two blocks, and copies between them."""

    device = "cpu"

    def __init__(self) -> None:
        self.blocks: list[np.ndarray] = []

    def reserve(self, up: int, down: int) -> tuple[int, int]:
        self.blocks = [np.zeros(size + ALIGNMENT, np.uint8) for size in (up, up, down, down)]
        return self.blocks[1].ctypes.data, self.blocks[3].ctypes.data

    def up_view(self, slot: Slot) -> np.ndarray:
        return self._view(0, slot)

    def down_view(self, slot: Slot) -> np.ndarray:
        return self._view(2, slot)

    def upload(self) -> None:
        self.blocks[1][:] = self.blocks[0]

    def download(self) -> None:
        self.blocks[2][:] = self.blocks[3]

    def free(self) -> None:
        self.blocks = []

    def _view(self, block: int, slot: Slot) -> np.ndarray:
        size = int(np.prod(slot.shape)) * slot.dtype.itemsize
        raw = self.blocks[block][slot.offset : slot.offset + size]
        return raw.view(slot.dtype).reshape(slot.shape)


class HostMaker:
    """Makes graphs on the CPU; says what they take as it is told."""

    def __init__(self, model: ModelFile, most_bytes: int = 10**9, taken: int = 10) -> None:
        self.model, self.most_bytes, self.taken = model, most_bytes, taken
        self.made: list[Sizes] = []
        self._free = 10**12

    def make(self, sizes: Sizes) -> BoundGraph:
        self.made.append(sizes)
        self._free -= self.taken
        session = load_session(self.model, fixed_size_options(sizes, 1), [CPU])
        return BoundGraph(session, INPUTS, sizes, HostMemory())

    def free_bytes(self) -> int:
        return self._free


@pytest.fixture(scope="module")
def model() -> ModelFile:
    with model_path(None) as path:
        return read_model_file(path)


@pytest.fixture(scope="module")
def plain(model: ModelFile) -> OnnxSession:
    return OnnxSession.open(model, "cpu", 1)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.INFO, "scarseg_runtime")
    return lambda: " | ".join(record.getMessage() for record in caplog.records)


def study(slices: int = 1, height: int = 48, width: int = 40, seed: int = 0) -> dict[str, Any]:
    noise = np.random.default_rng(seed)
    return {
        "lge": noise.uniform(0, 500, (slices, height, width)).astype(np.float32),
        "pixel_spacing": np.array([1.6, 1.6], np.float32),
        "slice_level": np.linspace(0, 1, slices, dtype=np.float32),
        "ecg": noise.normal(0, 0.3, (12, 512)).astype(np.float32),
        "gap_days": np.array([3.0], np.float32),
        "ecg_valid": np.array([1.0], np.float32),
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return set(first) == set(second) and all(
        first[name].dtype == value.dtype and np.allclose(first[name], value, atol=1e-5)
        for name, value in second.items()
    )


def test_a_size_that_comes_again_gets_a_graph_with_the_same_results(
    model: ModelFile, plain: OnnxSession
) -> None:
    maker = HostMaker(model)
    session = CudaSession(plain, maker)
    for seed in range(4):
        inputs = study(seed=seed)
        assert same(session.execute(inputs), plain.execute(inputs))
        assert maker.made == ([] if seed == 0 else [(1, 48, 40)])


def test_a_prepared_size_gets_it_at_once_and_outputs_stay(
    model: ModelFile, plain: OnnxSession
) -> None:
    maker = HostMaker(model)
    session = CudaSession(plain, maker)
    session.prepare(1, 48, 40)
    session.execute(study())
    assert maker.made == [(1, 48, 40)]
    first = session.execute(study(seed=1))
    kept = {name: value.copy() for name, value in first.items()}
    session.execute(study(seed=2))
    assert same(first, kept)


class Kept:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_the_size_not_used_for_longest_is_dropped() -> None:
    kept: KeptGraphs[Kept] = KeptGraphs(most_bytes=100, most=3)
    graphs = [Kept() for _ in range(4)]
    for index, graph in enumerate(graphs[:3]):
        assert kept.add((index, 1, 1), graph, 10)
    assert kept.find((0, 1, 1)) is graphs[0]
    assert kept.add((3, 1, 1), graphs[3], 10)
    assert [graph.closed for graph in graphs] == [False, True, False, False]
    assert kept.find((1, 1, 1)) is None


def test_the_limit_of_memory_is_kept() -> None:
    kept: KeptGraphs[Kept] = KeptGraphs(most_bytes=100, most=9)
    graphs = [Kept() for _ in range(4)]
    for index, graph in enumerate(graphs[:3]):
        kept.add((index, 1, 1), graph, 40)
    assert [graph.closed for graph in graphs[:3]] == [True, False, False]
    assert not kept.add((9, 1, 1), graphs[3], 101)
    assert graphs[3].closed and len(kept) == 2
    assert kept.clear() and not kept.clear()
    assert all(graph.closed for graph in graphs)


def test_a_graph_that_is_too_large_ends_in_plain_runs(
    model: ModelFile, plain: OnnxSession, said: Callable[[], str]
) -> None:
    maker = HostMaker(model, most_bytes=5, taken=10)
    session = CudaSession(plain, maker)
    for seed in range(3):
        assert same(session.execute(study(seed=seed)), plain.execute(study(seed=seed)))
    assert len(maker.made) == 1
    assert "1 × 48 × 40 needs too much memory" in said()


@pytest.mark.parametrize("fault", ["make", "run", "differs"])
def test_plain_runs_go_on_where_a_graph_fails(
    model: ModelFile, plain: OnnxSession, said: Callable[[], str], fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    maker = HostMaker(model)
    run = BoundGraph.run

    def broken(*_: Any) -> Any:
        raise ProviderError("nodes are left on the CPU")

    def wrong(self: BoundGraph, inputs: Any) -> dict[str, Any]:
        found = run(self, inputs)
        return found | {"labels": found["labels"] ^ 1}

    if fault == "make":
        monkeypatch.setattr(maker, "make", broken)
    else:
        monkeypatch.setattr(BoundGraph, "run", broken if fault == "run" else wrong)
    session = CudaSession(plain, maker)
    for seed in range(3):
        assert same(session.execute(study(seed=seed)), plain.execute(study(seed=seed)))
    reason = "of labels are those of a plain run" if fault == "differs" else "left on the CPU"
    assert said().count("no CUDA graphs from now on") == 1
    assert reason in said()


def test_graphs_give_their_memory_back_to_a_study_that_needs_it(
    model: ModelFile, plain: OnnxSession, said: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    session = CudaSession(plain, HostMaker(model))
    session.prepare(1, 48, 40)
    session.execute(study())
    execute, failures = plain.execute, [ProviderError("no memory")]

    def short_of_memory(inputs: Any, control: Any) -> Any:
        if failures:
            raise failures.pop()
        return execute(inputs, control)

    monkeypatch.setattr(plain, "execute", short_of_memory)
    assert session.execute(study(height=64))["labels"].shape == (1, 64, 40)
    assert "dropped for the memory" in said()
    failures.append(ProviderError("no memory"))
    with pytest.raises(ProviderError, match="no memory"):
        session.execute(study(height=80))


def test_without_a_maker_runs_are_plain(plain: OnnxSession) -> None:
    session = CudaSession(plain, None)
    session.prepare(1, 48, 40)
    for _ in range(2):
        assert same(session.execute(study()), plain.execute(study()))


def test_a_run_that_is_cancelled_says_so(model: ModelFile, plain: OnnxSession) -> None:
    session = CudaSession(plain, HostMaker(model))
    session.prepare(1, 48, 40)
    session.execute(study())
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        session.execute(study(), RunControl(cancel))
    assert session.execute(study())["labels"].shape == (1, 48, 40)


def test_threads_take_turns(model: ModelFile, plain: OnnxSession) -> None:
    session = CudaSession(plain, HostMaker(model))
    session.prepare(1, 48, 40)
    wanted = [plain.execute(study(seed=seed)) for seed in range(4)]
    found: dict[int, dict[str, Any]] = {}

    def work(seed: int) -> None:
        for _ in range(2):
            found[seed] = session.execute(study(seed=seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(found[seed], wanted[seed]) for seed in range(4))


def test_a_graph_takes_no_other_size(model: ModelFile) -> None:
    graph = HostMaker(model).make((1, 48, 40))
    with pytest.raises(ValueError, match="broadcast"):
        graph.run(study(height=64))
    graph.close()
