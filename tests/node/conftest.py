"""A node in a process of its own, peers to talk to it, and studies to send."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


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
    pytest.importorskip("pynetdicom")
    return _load(Path(__file__).with_name("node_factory.py"))


@pytest.fixture(scope="session")
def ecg_factory() -> ModuleType:
    """The maker of ECG files of the product's tests."""
    return _load(Path(__file__).parents[1] / "infer" / "ecg_factory.py")
