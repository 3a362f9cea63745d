"""Fixtures of the product's tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def dicom_factory() -> ModuleType:
    """The module ``dicom_factory`` beside this file, which pytest does not put on the path."""
    return _neighbour("dicom_factory")


@pytest.fixture(scope="session")
def ecg_factory() -> ModuleType:
    """The module ``ecg_factory`` beside this file."""
    return _neighbour("ecg_factory")


def _neighbour(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
