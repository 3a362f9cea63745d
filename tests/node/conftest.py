"""A node in a process of its own, peers to talk to it, and studies to send."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scarseg_infer.node.queue.outbox import Outbox, ResultFile
from scarseg_infer.node.queue.received import Arrival, Kind, Queue
from scarseg_infer.node.queue.storage import Storage


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node_factory() -> ModuleType:
    """The module ``node_factory`` beside this file, which pytest does not put on the path."""
    if not os.environ.get("CI"):  # there what is missing is an error
        pytest.importorskip("pynetdicom")
    return _load(Path(__file__).with_name("node_factory.py"))


@pytest.fixture(scope="session")
def ecg_factory() -> ModuleType:
    """The maker of ECG files of the product's tests."""
    return _load(Path(__file__).parents[1] / "infer" / "ecg_factory.py")


@pytest.fixture(scope="session")
def archive(node_factory: ModuleType) -> Iterator[Any]:
    """A storage SCP that the shared node sends to."""
    found = node_factory.Archive(*node_factory.free_ports(1))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def node(
    node_factory: ModuleType, archive: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A node that all tests share which do not kill it."""
    found = node_factory.make_node(
        tmp_path_factory.mktemp("node"),
        [node_factory.peer_table(archive.port)],
        api=True,
        limits="min_free_mb = 1\nidle_s = 2\nobject_mb = 8\nassociations = 4",
    )
    found.start()
    yield found
    assert found.stop() == 0, "it must end in order, whatever it was sent"


@pytest.fixture(scope="session")
def dcmtk(
    program: Callable[[str, str], str],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of DCMTK."""

    def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program(name, "dcmtk"), *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    return run


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty one, in this process."""
    return Storage(tmp_path / "data")


@pytest.fixture
def arrival() -> Callable[..., Arrival]:
    """Makes objects of bytes that name them, which is all that the queue asks of them."""

    def make(
        uid: str, study: str = "1.2", patient: str = "p", kind: Kind = "image", taken: str = ""
    ) -> Arrival:
        meta = b"\0" * 128 + b"DICM"
        file = meta + f"data of {uid}".encode()
        return Arrival(uid, study, kind, patient, "", taken, file, len(meta))

    return make


@pytest.fixture
def publish(storage: Storage) -> Callable[..., bool]:
    """Makes a result of the one study that is complete, for peers."""

    def make(uid: str = "9.1", peers: tuple[str, ...] = ("a",), with_ecg: bool = False) -> bool:
        (study,) = Queue(storage).complete(0)
        folder = storage.root / "work" / "out"
        folder.mkdir()
        (folder / "scar.dcm").write_bytes(b"seg")
        files = [ResultFile("seg", "scar.dcm", uid, "1.2.840")]
        return Outbox(storage).publish(study, folder, files, peers, "digest", with_ecg=with_ecg)

    return make
