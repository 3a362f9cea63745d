"""Stored engines: found again, shared by processes, and made anew where they do not fit."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scarseg_runtime.errors import ModelError, UsageError
from scarseg_runtime.model_file.read import ModelFile, read_model_file
from scarseg_runtime.providers.cache_place import cache_folder, chosen_folder
from scarseg_runtime.providers.engine_cache import (
    CacheEntry,
    KernelCache,
    beside_model,
    beside_path,
    engine_for,
    key_parts,
)
from scarseg_runtime.providers.engine_file import (
    Built,
    UnusableError,
    read_pair,
    sidecar_path,
    write_pair,
)
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.providers.tensorrt.build import Profile

MODELS = Path(__file__).parents[2] / "scarseg_infer" / "models"
FP16_MODEL = MODELS / "reference.fp16.onnx"
GPU = Gpu("NVIDIA RTX 4000 Ada", (8, 9), 13000)
FLAVOUR = "tensorrt-rtx"
ENGINE = bytes(range(256)) * 16


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    (tmp_path / "model").mkdir()
    shutil.copy(FP16_MODEL, tmp_path / "model" / "model.onnx")
    return read_model_file(tmp_path / "model" / "model.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.WARNING, "scarseg_runtime")
    return lambda: " | ".join(record.getMessage() for record in caplog.records)


class Builder:
    """Stands for the compiler: gives fixed bytes and counts."""

    def __init__(self, model: ModelFile, engine: bytes = ENGINE) -> None:
        self.calls = 0
        self.engine = engine
        self.sidecar: dict[str, Any] = {
            "onnx_sha256": model.sha256, "runtime": FLAVOUR, "version": "1.7",
            "target": {"gpus": [], "portable": False, "any_version": False}, "built_on": None,
        }  # fmt: skip

    def __call__(self) -> Built:
        self.calls += 1
        return self.engine, self.sidecar


def get(
    model: ModelFile,
    build: Callable[[], Built],
    folder: Path | None,
    version: str = "1.7",
    **more: Any,
) -> bytes:  # fmt: skip
    options = {"gpu": GPU, "version": version, "build": build, "folder": folder} | more
    return engine_for(model, FLAVOUR, **options)[0]


def stored(folder: Path) -> Path:
    """The one engine in the cache."""
    (path,) = folder.glob("*.engine")
    return path


def test_an_engine_is_built_once_and_found_again(model, folder, warnings) -> None:
    build = Builder(model)
    assert [get(model, build, folder) for _ in range(3)] == [ENGINE] * 3
    assert build.calls == 1
    assert warnings() == ""
    assert not list(folder.glob("*.part"))


def test_the_cache_lies_in_the_users_cache_folder() -> None:
    assert cache_folder().name == "engines"
    assert "scarseg-infer" in str(cache_folder())
    assert chosen_folder(True) == cache_folder()


def test_where_the_user_keeps_caches_is_not_asked_for_nothing() -> None:
    code = (
        "import sys; from scarseg_infer import Segmenter; Segmenter.from_model(provider='cpu');"
        "print('platformdirs' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_a_host_may_move_the_cache_or_do_without(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chosen_folder("mine") == chosen_folder(tmp_path / "mine") == tmp_path / "mine"
    before, build = sorted(tmp_path.rglob("*")), Builder(model)
    assert [get(model, build, chosen_folder(False)) for _ in range(2)] == [ENGINE] * 2
    assert build.calls == 2 and sorted(tmp_path.rglob("*")) == before
    wrong: list[Any] = ["", None, 1]
    for choice in wrong:
        with pytest.raises(UsageError, match="folder"):
            chosen_folder(choice)


def test_every_part_of_the_key_counts(model) -> None:
    base: dict[str, Any] = {
        "onnx_sha256": "a" * 64, "flavour": FLAVOUR, "version": "1.7", "gpu": GPU,
        "profile": Profile(),
    }  # fmt: skip
    others = (
        {"onnx_sha256": "b" * 64},
        {"flavour": "tensorrt"},
        {"version": "1.8"},
        {"gpu": None},
        {"gpu": dataclasses.replace(GPU, name="another")},
        {"gpu": dataclasses.replace(GPU, compute_capability=(12, 0))},
        {"gpu": dataclasses.replace(GPU, driver=13010)},
        {"profile": Profile(smallest=(2, 16, 16))},
        {"profile": Profile(usual=(10, 256, 216))},
        {"profile": Profile(largest=(41, 1024, 1024))},
    )
    names = [CacheEntry(Path(), key_parts(**(base | other))).path.name for other in ({}, *others)]
    assert len(set(names)) == len(names)
    assert CacheEntry(Path(), key_parts(**base)).path.name == names[0]


def test_another_release_or_driver_gets_an_engine_of_its_own(model, folder) -> None:
    build = Builder(model)
    get(model, build, folder)
    get(model, build, folder, version="1.8")
    get(model, build, folder, gpu=dataclasses.replace(GPU, driver=13010))
    assert build.calls == 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def other_version(path: Path) -> None:
    content, sidecar = read_pair(path)
    sidecar["key"]["version"] = "1.6"
    write_pair(path, content, sidecar)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut, "is damaged"),
        (flip, "is damaged"),
        (Path.unlink, "lacks one of its two files"),
        (lambda path: sidecar_path(path).unlink(), "lacks one of its two files"),
        (lambda path: sidecar_path(path).write_bytes(b"\xff\x00{"), "damaged sidecar"),
        (lambda path: sidecar_path(path).write_bytes(b"[" * 100_000), "damaged sidecar"),
        (lambda path: sidecar_path(path).write_text("[]"), "another format"),
        (lambda path: sidecar_path(path).write_text("{}"), "another format"),
        (other_version, "another model, release or GPU"),
    ],
    ids=("cut", "flipped", "no engine", "no sidecar", "garbage", "nested", "list", "empty",
         "stale"),
)  # fmt: skip
def test_what_is_damaged_or_stale_is_built_again_and_said(
    model, folder, warnings, harm: Callable[[Path], None], words: str
) -> None:
    build = Builder(model)
    get(model, build, folder)
    harm(stored(folder))
    assert get(model, build, folder) == ENGINE
    assert words in warnings() and "compiled again" in warnings()
    assert str(folder.parent) not in warnings()
    get(model, build, folder)
    assert build.calls == 2


def test_an_engine_that_did_not_load_is_built_again_on_demand(model, folder) -> None:
    build = Builder(model)
    get(model, build, folder)
    assert get(model, Builder(model, b"new"), folder, fresh=True) == b"new"
    assert get(model, build, folder) == b"new"


def test_a_failed_build_leaves_nothing_and_frees_the_lock(model, folder) -> None:
    def fail() -> Built:
        raise ModelError("no")

    with pytest.raises(ModelError):
        get(model, fail, folder)
    assert not list(folder.glob("*.engine*json"))
    assert get(model, Builder(model), folder) == ENGINE


def test_an_engine_beside_the_model_comes_first(model, folder, warnings) -> None:
    build = Builder(model)
    write_pair(beside_path(model.path, FLAVOUR), b"beside", build.sidecar)
    assert beside_path(model.path, FLAVOUR).name == "model.tensorrt-rtx.engine"
    assert get(model, build, folder) == b"beside"
    assert (build.calls, warnings()) == (0, "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"onnx_sha256": "0" * 64}, "from another model file"),
        ({"version": "1.6"}, "another release"),
        ({"runtime": "tensorrt"}, "another kind"),
        ({"target": None}, "another kind"),
        ({"target": {"gpus": ["SM86", "SM120"]}}, "for other GPUs"),
        ({"built_on": {"name": "another", "compute_capability": [8, 9]}}, "on another GPU"),
        ({"built_on": {"name": GPU.name, "compute_capability": [8, 6]}}, "on another GPU"),
    ],
)
def test_an_engine_beside_the_model_that_does_not_fit_is_refused(
    model, folder, warnings, change: dict[str, Any], words: str
) -> None:
    build = Builder(model)
    write_pair(beside_path(model.path, FLAVOUR), b"beside", build.sidecar | change)
    assert get(model, build, folder) == ENGINE
    assert words in warnings() and "not used" in warnings()


@pytest.mark.parametrize(
    "change",
    [
        {"target": {"gpus": ["SM86", "SM89"]}},
        {"target": {"any_version": True}, "version": "1.6"},
        {"target": {"portable": True}, "built_on": {"name": "another"}},
        {"built_on": {"name": GPU.name, "compute_capability": [8, 9]}},
    ],
)
def test_an_engine_beside_the_model_may_be_for_more_than_this_gpu(
    model, folder, change: dict[str, Any]
) -> None:
    build = Builder(model)
    write_pair(beside_path(model.path, FLAVOUR), b"beside", build.sidecar | change)
    assert get(model, build, folder) == b"beside"


CHILD = """
import sys, time
from pathlib import Path
from scarseg_runtime.providers.engine_cache import engine_for
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.model_file.read import read_model_file

model, folder, log = map(Path, sys.argv[1:4])

def build():
    with log.open("a") as file:
        file.write("built ")
    time.sleep(1.0)
    return b"engine" * 1000, {}

while not (folder.parent / "go").exists():
    time.sleep(0.01)
engine, _ = engine_for(
    read_model_file(model), "tensorrt-rtx", gpu=Gpu("g", (8, 9), 1), version="1", build=build,
    folder=folder,
)
sys.exit(engine != b"engine" * 1000)
"""


def test_two_processes_that_need_the_same_engine_build_it_once(model, tmp_path) -> None:
    log = tmp_path / "builds"
    arguments = [sys.executable, "-c", CHILD, model.path, tmp_path / "cache", log]
    children = [subprocess.Popen(arguments) for _ in range(2)]
    (tmp_path / "go").touch()
    assert [child.wait(60) for child in children] == [0, 0]
    assert log.read_text() == "built "


FULL_DISK = """
import logging, random, resource, sys
from pathlib import Path
from scarseg_runtime.providers.engine_cache import engine_for
from scarseg_runtime.providers.engine_file import write_pair
from scarseg_runtime.errors import OutputError
from scarseg_runtime.providers.gpu import Gpu
from scarseg_runtime.model_file.read import read_model_file
from scarseg_runtime.providers.tensorrt.build import write_engine

logging.basicConfig(level=logging.WARNING, format="%(message)s")
model, folder = read_model_file(Path(sys.argv[1])), Path(sys.argv[2])
write_pair(folder / "old.engine", b"old", {})
plan = random.Random(0).randbytes(200_000)  # cannot be packed
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
engine, _ = engine_for(
    model, "tensorrt-rtx", gpu=Gpu("g", (8, 9), 1), version="1", build=lambda: (plan, {}),
    folder=folder,
)
assert engine == plan
try:
    write_engine(folder / "old.engine", plan, {})
except OutputError as error:
    logging.warning("%s", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits on file size")
def test_a_full_disk_costs_the_cache_but_not_the_engine(model, folder) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, model.path, folder],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cache, output = done.stderr.splitlines()
    assert "the engine cache cannot be written" in cache and "nothing is kept" in cache
    assert "the engine cannot be written" in output
    assert read_pair(folder / "old.engine")[0] == b"old"
    left = {path.name for path in folder.iterdir() if path.suffix != ".lock"}
    assert left == {"old.engine", "old.engine.json"}


def test_an_engine_never_unpacks_to_more_than_its_sidecar_says(folder) -> None:
    path = folder / "bomb.engine"
    write_pair(path, b"e" * 10_000_000, {})
    place = sidecar_path(path)
    place.write_text(place.read_text().replace("10000000", "1000"))
    with pytest.raises(UnusableError, match="is damaged"):
        read_pair(path)
    place.write_text(place.read_text().replace("1000", "-1"))
    with pytest.raises(UnusableError, match="damaged sidecar"):
        read_pair(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_engine_or_sidecar_that_is_a_pipe_holds_nothing_up(folder) -> None:
    path = folder / "e.engine"
    write_pair(path, b"engine", {})
    for name in (path, sidecar_path(path)):
        kept = name.read_bytes()
        name.unlink()
        os.mkfifo(name)
        with pytest.raises(UnusableError, match=r"cannot be read \(no regular file\)"):
            read_pair(path)
        name.unlink()
        name.write_bytes(kept)
    assert read_pair(path) is not None


def test_a_cache_that_takes_no_files_costs_only_time(model, folder, warnings) -> None:
    folder.touch()
    build = Builder(model)
    assert [get(model, build, folder / "engines") for _ in range(2)] == [ENGINE] * 2
    assert build.calls == 2
    assert "the engine cache cannot be written" in warnings()
    assert str(folder) not in warnings()


class Kernels:
    """Stands for IRuntimeCache, which exists on a GPU only."""

    def __init__(self, content: bytes = b"", takes: bool = True) -> None:
        self.content = content
        self.takes = takes

    def serialize(self) -> bytes:
        return self.content

    def deserialize(self, content: bytes) -> bool:
        if self.takes:
            self.content = content
        return self.takes


def test_kernels_compiled_while_running_are_kept(folder, warnings) -> None:
    entry = CacheEntry(folder, {"gpu": "g"}, ".kernels")
    empty = Kernels()
    KernelCache(entry).load(empty)
    KernelCache(entry).save(empty)
    assert empty.content == b"" and not entry.path.exists()
    KernelCache(entry).save(Kernels(b"first"))
    cache, kernels = KernelCache(entry), Kernels()
    cache.load(kernels)
    assert kernels.content == b"first"
    written = entry.path.stat().st_mtime_ns
    cache.save(kernels)
    assert entry.path.stat().st_mtime_ns == written
    kernels.content = b"more"
    cache.save(kernels)
    assert entry.read()[0] == b"more"
    assert warnings() == ""


def test_kernels_that_do_not_fit_are_said_and_replaced(folder, warnings) -> None:
    entry = CacheEntry(folder, {"gpu": "g"}, ".kernels")
    KernelCache(entry).save(Kernels(b"first"))
    cache, kernels = KernelCache(entry), Kernels(b"own", takes=False)
    cache.load(kernels)
    assert "compiled again" in warnings()
    cache.save(kernels)
    cut(entry.path)
    cache = KernelCache(entry)
    cache.load(Kernels())
    assert "is damaged" in warnings()
    cache.save(Kernels(b"own"))
    assert entry.read()[0] == b"own"


def test_an_engine_of_the_default_is_not_for_turing(model) -> None:
    turing = dataclasses.replace(GPU, compute_capability=(7, 5))
    for gpus, fits in (([], False), (["SM75"], True), (["SM89"], False)):
        build = Builder(model)
        sidecar = build.sidecar | {"target": {"gpus": gpus}, "built_on": None}
        write_pair(beside_path(model.path, FLAVOUR), b"beside", sidecar)
        found = beside_model(model, FLAVOUR, turing, "1.7")
        assert (found is not None) is fits
