"""Fixtures for the page in the browser: its build, and its core in Node beside Python."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scarseg_infer import Segmenter
from scarseg_infer.models import model_path
from scarseg_infer.web.build import install, write_bundle

RUNNER = Path(__file__).with_name("run_core.mjs")


@dataclass
class Web:
    """A folder with the installed source, and what was built in it."""

    folder: Path
    page: Path
    core: Path


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Packages from npm, the page, and its core as a module."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            message = f"{program} is not installed (Debian: npm)"
            pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("web")
    found = Web(folder, folder / "scarseg.html", folder / "core.mjs")
    install(folder)
    write_bundle(folder, None, {"page": str(found.page), "core": str(found.core)})
    yield found
    shutil.rmtree(folder / "node_modules")


@dataclass
class Answer:
    """Document of a result, or the error; its volumes by name, and the report."""

    document: dict[str, Any]
    volumes: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    report: str = ""

    @property
    def error(self) -> str | None:
        return self.document.get("error")


Files = Sequence[tuple[str, Path]]
"""Place of a file within what is dropped, and on disk."""
RunCore = Callable[[Sequence[tuple[Files, Files, float | None]]], list[Answer]]
ReadCore = Callable[[Sequence[Files]], list[NDArray[np.float32] | str]]


@pytest.fixture(scope="session")
def run_core(web: Web, tmp_path_factory: pytest.TempPathFactory) -> RunCore:
    """Runs cases through the page's core in Node, in one process."""

    def run(cases: Sequence[tuple[Files, Files, float | None]]) -> list[Answer]:
        folder = tmp_path_factory.mktemp("core")
        jobs = [
            {"study": _named(study), "ecg": _named(ecg), "gapDays": gap_days}
            for study, ecg, gap_days in cases
        ]
        with model_path(None) as model:
            return [_answer(out) for out in _run_jobs(web, str(model), jobs, folder)]

    return run


@pytest.fixture(scope="session")
def read_core(web: Web, tmp_path_factory: pytest.TempPathFactory) -> ReadCore:
    """Reads studies by the page's core in Node: pixels [S, H, W], or the error."""

    def read(studies: Sequence[Files]) -> list[NDArray[np.float32] | str]:
        jobs = [{"study": _named(study)} for study in studies]
        outs = _run_jobs(web, "", jobs, tmp_path_factory.mktemp("core"))
        return [_pixels(out) for out in outs]

    return read


def _named(files: Files) -> list[list[str]]:
    return [[name, str(path)] for name, path in files]


def _run_jobs(web: Web, model: str, jobs: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Run the jobs; return where the outputs of each are, without their suffix."""
    outs = [folder / str(index) for index in range(len(jobs))]
    for job, out in zip(jobs, outs, strict=True):
        job["out"] = str(out)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    ort = web.folder / "node_modules" / "onnxruntime-web" / "dist" / "ort.node.min.mjs"
    command = ["node", str(RUNNER), str(web.core), str(ort), model, str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
    return outs


def _pixels(out: Path) -> NDArray[np.float32] | str:
    document = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    if "error" in document:
        return str(document["error"])
    return np.fromfile(out.with_suffix(".bin"), np.float32).reshape(document["shape"])


def _answer(out: Path) -> Answer:
    document = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    if "error" in document:
        return Answer(document)
    shape = [document["input"][key] for key in ("slices", "rows", "columns")]
    volumes = np.fromfile(out.with_suffix(".bin"), np.uint8).reshape(3, *shape)
    names = ("labels", "image_only_labels", "segments")
    report = out.with_suffix(".html").read_text(encoding="utf-8")
    return Answer(document, dict(zip(names, volumes, strict=True)), report)


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return Segmenter.from_model(provider="cpu")


@pytest.fixture(scope="session")
def study_changes() -> ModuleType:
    """The module ``study_changes.py`` beside this file."""
    path = Path(__file__).with_name("study_changes.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
