"""A server in a process of its own, and the protocol's own client."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scarseg_infer import ScarResult, Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY


@pytest.fixture(scope="session")
def mrd_factory() -> ModuleType:
    """The module ``mrd_factory`` beside this file, which pytest does not put on the path."""
    if not os.environ.get("CI"):  # there what is missing is an error
        pytest.importorskip("ismrmrd")
    path = Path(__file__).with_name("mrd_factory.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def server(mrd_factory: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that all tests share which do not kill it. Its ECG is the twin's."""
    found = mrd_factory.make_server(
        tmp_path_factory.mktemp("mrd"), "--ecg", str(DEMO_ECG), "--idle-s", "20",
        "--message-mb", "8", "--session-mb", "64",
    )  # fmt: skip
    found.start()
    yield found
    assert found.stop() == 0, "it must end in order, whatever it was sent"
    said = found.log.read_text()
    assert "SECRET" not in said and "TWIN-55" not in said
    assert not found.events("session_crashed") if found.log.exists() else False


@pytest.fixture(scope="session")
def by_dicom() -> ScarResult:
    """The same study by the DICOM path, with the same ECG."""
    with Segmenter.from_model(provider="cpu", threads=1) as segmenter:
        return segmenter.run(DEMO_STUDY, DEMO_ECG)
