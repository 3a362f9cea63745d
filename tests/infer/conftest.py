"""Fixtures of the product's tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scarseg_infer.study_reader import read_study
from scarseg_runtime.errors import StudyError


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


@pytest.fixture(scope="session")
def refusal() -> Callable[[Path], str]:
    """The one line with which a study is refused; it never names the patient or a file."""

    def refuse(path: Path) -> str:
        with pytest.raises(StudyError) as caught:
            read_study(path)
        message = str(caught.value)
        assert caught.value.exit_code == 3
        assert "\n" not in message
        for secret in ("SECRET", "Secretname", ".dcm", str(path)):
            assert secret not in message
        return message

    return refuse
