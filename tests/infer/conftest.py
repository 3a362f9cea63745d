"""Fixtures of the product's tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from scarseg_infer.study_reader import read_study
from scarseg_runtime.errors import StudyError


def _beside(name: str) -> ModuleType:
    """A module beside this file, which pytest does not put on the path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def dicom_factory() -> ModuleType:
    """Classic MR series of any geometry and any fault."""
    return _beside("dicom_factory")


@pytest.fixture(scope="session")
def enhanced_factory() -> ModuleType:
    """Enhanced (multi-frame) MR objects made of classic series."""
    return _beside("enhanced_factory")


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


@pytest.fixture(scope="session")
def check_dicom() -> Callable[[Path], None]:
    """dciodvfy (dicom3tools) finds no error in a file; where CI runs it must be installed."""

    def check(path: Path) -> None:
        found = shutil.which("dciodvfy")
        if found is None:
            message = "dciodvfy is not installed (Debian: dicom3tools)"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
        run = subprocess.run([found, path], capture_output=True, text=True, check=False)
        said = run.stdout + run.stderr
        assert run.returncode == 0, said
        assert not [line for line in said.splitlines() if line.startswith("Error")], said

    return check
