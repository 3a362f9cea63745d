"""Fixtures of the product's tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def dicom_factory() -> ModuleType:
    """The module ``dicom_factory`` beside this file, which pytest does not put on the path."""
    spec = importlib.util.spec_from_file_location(
        "dicom_factory", Path(__file__).with_name("dicom_factory.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
