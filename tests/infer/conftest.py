"""Fixtures of the product's tests."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scarseg_infer import ScarResult, Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError


@pytest.fixture(scope="session")
def ecg_factory() -> ModuleType:
    """The module ``ecg_factory`` beside this file."""
    return _beside("ecg_factory")


@pytest.fixture(scope="session")
def mrd_factory() -> ModuleType:
    """Images as a scanner streams them: the module in tests/mrd."""
    if not os.environ.get("CI"):  # there what is missing is an error
        pytest.importorskip("ismrmrd")
    return _beside("../mrd/mrd_factory")


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    """The shipped model on the CPU, loaded once. A test that closes one makes its own."""
    return Segmenter.from_model(provider="cpu")


@pytest.fixture(scope="session")
def demo(segmenter: Segmenter) -> ScarResult:
    """The demo study with its ECG. Who changes something of it works on a copy."""
    return segmenter.run(DEMO_STUDY, DEMO_ECG)


def _beside(name: str) -> ModuleType:
    path = (Path(__file__).parent / f"{name}.py").resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def dicom_tool(program: Callable[[str, str], str]) -> Callable[..., str]:
    """Runs a DICOM program that is not Python (dicom3tools, DCMTK) and returns all it says.

    It must succeed.
    """

    def run(name: str, *arguments: str | Path) -> str:
        path = program(name, "dicom3tools, dcmtk")
        done = subprocess.run(
            [path, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def verify_dicom(dicom_tool: Callable[..., str]) -> Callable[[Path], dict[str, Any]]:
    """Checks a file: dciodvfy finds no error, and what dcm2json reads is returned as its JSON."""

    def verify(path: Path) -> dict[str, Any]:
        said = dicom_tool("dciodvfy", path)
        assert not [line for line in said.splitlines() if line.startswith("Error")], said
        document: dict[str, Any] = json.loads(dicom_tool("dcm2json", path))
        return document

    return verify


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
