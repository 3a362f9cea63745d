"""The ONNX file of the repository behind a real server of the KServe v2 protocol (MLServer).

Triton itself is no Python package, so it has not run. MLServer has no runtime for ONNX; the one
beside this file hands requests to ONNX Runtime. The server lives in an environment of its own:
what it needs would change ours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from scarseg_export.cli import main
from scarseg_export.triton.warmup import warmup_inputs
from scarseg_infer.models import model_path
from scarseg_runtime.contract import INPUTS, OUTPUTS
from scarseg_runtime.model import Model
from scarseg_runtime.taff import decide

pytestmark = pytest.mark.slow

RUNTIME = Path(__file__).with_name("served_onnx.py")
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


@pytest.fixture(scope="module")
def served(
    server_python: Path, free_ports: Callable[[int], list[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:  # fmt: skip
    """Address of the model on a server that is ready."""
    place = tmp_path_factory.mktemp("served")
    with model_path(None) as path:
        assert main(["triton", str(path), "-o", str(place / "repository"), "--name", "scar"]) == 0
    folder = place / "repository" / "scar"
    shutil.copy(RUNTIME, folder)
    http, grpc, metrics = free_ports(3)
    settings = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics,
                "host": "127.0.0.1", "parallel_workers": 0}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    parameters = {"uri": str(folder / "1" / "model.onnx"), "version": "1"}
    model = {"name": "scar", "implementation": "served_onnx.OnnxFile", "parameters": parameters}
    (folder / "model-settings.json").write_text(json.dumps(model))
    with (place / "log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(
            [server_python, "-m", "mlserver.cli.main", "start", "."],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    address = f"http://127.0.0.1:{http}/v2/models/scar"
    try:
        end = time.monotonic() + 120
        while not is_ready(address):
            assert server.poll() is None and time.monotonic() < end, (place / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def is_ready(address: str) -> bool:
    try:
        with urlopen(f"{address}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def infer(address: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
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
def test_outputs_are_those_of_the_runtime(served: str, slices: int) -> None:
    arrays, _ = warmup_inputs()
    arrays["lge"], arrays["slice_level"] = arrays["lge"][:slices], arrays["slice_level"][:slices]
    found = infer(served, arrays)
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
