"""The ONNX file of the repository behind a real server of the KServe v2 protocol (MLServer), as the
page about it says to try it.

Triton itself is no Python package, so it has not run. MLServer has no runtime for ONNX; the one
beside this file hands requests to ONNX Runtime. The server lives in an environment of its own:
what it needs would change ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from scarseg_export.cli import main
from scarseg_export.triton.warmup import warmup_inputs
from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.models import model_path
from scarseg_runtime.contract import INPUTS, OUTPUTS
from scarseg_runtime.model import Model
from scarseg_runtime.run_control import NO_LIMITS, RunControl
from scarseg_runtime.taff import decide

pytestmark = pytest.mark.slow

RUNTIME = Path(__file__).with_name("served_onnx.py")
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "triton.md"
NEEDED = ("mlserver>=1.7,<2", "onnxruntime>=1.20,<2")
TYPES = {"tensor(float)": "FP32", "tensor(uint8)": "UINT8"}


@pytest.fixture(scope="module")
def server_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that has MLServer."""
    folder = tmp_path_factory.mktemp("mlserver")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [python, "-m", "pip", "install", "--quiet", *NEEDED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"MLServer cannot be installed: {done.stderr[-300:]}"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return python


def printed(language: str, start: str) -> str:
    """A block of the page, which is all there is of its beginning."""
    blocks = re.findall(f"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (found,) = (block for block in blocks if block.startswith(start))
    return str(found)


@pytest.fixture(scope="module")
def served(
    server_python: Path, free_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path]]:  # fmt: skip
    """Address of the model on a server that is ready, and the folder that holds its repository."""
    place = tmp_path_factory.mktemp("served")
    with model_path(None) as path:
        assert main(["triton", str(path), "-o", str(place / "repository")]) == 0
    (place / "server").symlink_to(server_python.parents[1])
    (place / "tests" / "export" / "triton").mkdir(parents=True)
    shutil.copy(RUNTIME, place / "tests" / "export" / "triton")
    _, install, *commands = printed("bash", "python -m venv server").splitlines()
    assert all(f"'{one}'" in install for one in NEEDED)
    script, ports = "\n".join(commands), free_ports(3)
    for port, free in zip(("8000", "8001", "8002"), ports, strict=True):
        assert script.count(port) == 1
        script = script.replace(port, str(free))
    starts = script.rindex("PYTHONPATH=")  # exec: so that it is the server that is ended
    script = f"{script[:starts]}exec env {script[starts:]}"
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-ec", script], cwd=place, env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    address = f"http://127.0.0.1:{ports[0]}/v2/models/scarseg-reference"
    try:
        end = time.monotonic() + 120
        while not is_ready(address):
            assert server.poll() is None and time.monotonic() < end, (place / "log").read_text()
            time.sleep(0.2)
        yield address, place
    finally:
        server.terminate()
        server.wait(30)


def is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def infer(address: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Outputs by name, as the protocol names them."""
    kinds = {spec.name: TYPES[spec.type] for spec in INPUTS}
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": kinds[name],
         "data": array.ravel().tolist()}
        for name, array in arrays.items()
    ]  # fmt: skip
    body = json.dumps({"inputs": inputs}).encode()
    request = Request(f"{address}/infer", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=120) as answer:
        return {one["name"]: one for one in json.loads(answer.read())["outputs"]}


@pytest.mark.parametrize("slices", [9, 4])
def test_outputs_are_those_of_the_runtime(served: tuple[str, Path], slices: int) -> None:
    arrays, _ = warmup_inputs()
    arrays["lge"], arrays["slice_level"] = arrays["lge"][:slices], arrays["slice_level"][:slices]
    found = infer(served[0], arrays)
    with model_path(None) as path:
        model = Model.load(path, "cpu", "fp32", threads=1)
    expected = model.run(
        arrays["lge"], tuple(arrays["pixel_spacing"]), arrays["slice_level"], arrays["ecg"],
        decide(float(arrays["gap_days"][0]), ecg_given=True),
    )  # fmt: skip
    assert found.keys() == {spec.name for spec in OUTPUTS}
    for spec in OUTPUTS:
        said = found[spec.name]
        assert said["datatype"] == TYPES[spec.type]
        array = np.array(said["data"]).reshape(said["shape"])
        wanted = np.atleast_1d(getattr(expected, spec.name))
        assert array.shape == wanted.shape
        if spec.type == "tensor(uint8)":
            assert (array == wanted).mean() > 0.9999
            assert spec.name != "labels" or len(np.unique(array)) >= 4
        else:
            assert np.allclose(array, wanted, atol=1e-4)


class Served:
    """A session of the runtime whose graph runs behind the server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def prepare(self, slices: int, height: int, width: int) -> None:
        pass

    def execute(
        self, inputs: Mapping[str, np.ndarray], control: RunControl = NO_LIMITS
    ) -> dict[str, np.ndarray]:
        found = infer(self._address, inputs)
        kinds = {"FP32": np.float32, "UINT8": np.uint8}
        return {
            name: np.array(said["data"], kinds[said["datatype"]]).reshape(said["shape"])
            for name, said in found.items()
        }


def test_a_study_gives_the_same_scar(served: tuple[str, Path]) -> None:
    """The product around the served graph: the row of this entrance in the matrix of studies."""
    with model_path(None) as path:
        model = Model.load(path, "cpu", "fp32", threads=1)
    loaded: Future[Model] = Future()
    loaded.set_result(model)
    segmenter = Segmenter(loaded)
    here = segmenter.run(DEMO_STUDY, DEMO_ECG)
    model.session = Served(served[0])
    there = segmenter.run(DEMO_STUDY, DEMO_ECG)
    assert (there.labels == here.labels).mean() > 0.9999
    assert there.quantities.scar_ml == pytest.approx(here.quantities.scar_ml, rel=1e-3)
    assert there.ecg.weight == pytest.approx(here.ecg.weight, abs=1e-6)


def test_the_printed_request_is_answered(served: tuple[str, Path]) -> None:
    address, place = served
    code = printed("python", "import json").replace("http://localhost:8000/v2/models/scarseg-reference",
                                                    address)  # fmt: skip
    assert address in code
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    burden = json.loads(done.stdout)
    assert len(burden) == 17 and max(burden) > 0.5
