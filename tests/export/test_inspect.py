"""Commands on the shipped model file, and what inspection counts against PyTorch's own counter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scarseg_export.cli import main
from scarseg_export.deploy.model_io import load_model
from scarseg_export.deploy.onnx_weights import network_of
from scarseg_export.verify.inspect_model import convolution_flops, inspect_model
from scarseg_infer.models import model_path
from scarseg_runtime.model_file.read import read_model_file


@pytest.fixture(scope="module")
def shipped() -> Path:
    with model_path(None) as path:
        return path


@pytest.mark.parametrize("sizes", [{"S": 2, "H": 96, "W": 128}, {"S": 12, "H": 256, "W": 216}])
def test_work_is_what_pytorch_counts(shipped: Path, sizes: dict[str, int]) -> None:
    net = network_of(load_model(shipped), read_model_file(shipped).metadata)
    shape = tuple(sizes.values())
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net(
            torch.rand(shape), torch.tensor([1.5, 1.5]), torch.linspace(0, 1, shape[0]),
            torch.zeros(12, 512), torch.zeros(1), torch.ones(1),
        )  # fmt: skip
    operators = counter.get_flop_counts()["Global"].items()
    theirs = sum(flops for operator, flops in operators if "conv" in str(operator))
    ours = convolution_flops(load_model(shipped), sizes)
    assert ours["unknown"] == 0
    assert ours["convolution_gflop"] == pytest.approx(theirs / 1e9, rel=1e-3)


MOST_NODES = 760
"""On a GPU each is a launch."""


def test_the_shipped_graph_stays_lean(shipped: Path) -> None:
    assert len(onnx.load(shipped).graph.node) <= MOST_NODES


def test_the_fp16_variant_is_smaller(shipped: Path) -> None:
    single = inspect_model(shipped)
    half = inspect_model(shipped.with_name("reference.fp16.onnx"))
    assert single["convolutions"]["fp16"] == 0
    assert half["convolutions"]["fp16"] == half["metadata"]["half_convolutions"] >= 18
    assert half["weights"]["count"] == single["weights"]["count"]
    # A fifth are tables of places and the localiser, which stay in FP32.
    assert half["weights"]["bytes"] < 0.82 * single["weights"]["bytes"]
    assert half["work"] == single["work"]
    assert single["verification_is_of_this_graph"] and half["verification_is_of_this_graph"]


def test_inspect_does_without_torch(shipped: Path) -> None:
    code = (
        "import sys; from scarseg_export.cli import main;"
        f"main(['inspect', {str(shipped)!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    for word in ("lge", "['S', 'H', 'W']", "Not a medical device", "GFLOP", "Conv", "cpu fp32"):
        assert word in done.stdout


def test_the_whole_chain_on_the_shipped_model(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fp16 → verify → tensorrt → inspect, as the README shows it, each with its JSON report."""
    model, report = tmp_path / "mine.onnx", tmp_path / "report.json"
    shutil.copy(shipped, model)
    half, engine = tmp_path / "mine.fp16.onnx", tmp_path / "mine.fp16.tensorrt-rtx.engine"

    def run(*command: object) -> dict:
        assert main([*map(str, command), "--report", str(report)]) == 0
        return json.loads(report.read_text(encoding="utf-8"))

    assert "cpu fp16" in run("fp16", model, "--cases", 1)["verification"]
    assert set(run("verify", model, "--provider", "cpu", "--cases", 1)) == {"cpu fp32", "cpu fp16"}
    facts = run("tensorrt", half)
    assert facts["bytes"] == engine.stat().st_size
    assert facts["engine"]["precision"] == "fp16"
    assert run("inspect", engine)["engine"]["onnx_sha256"] == read_model_file(half).sha256
    assert "20 convolutions in FP16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["inspect", "nowhere.onnx"], 5, "does not exist"),
        (["inspect", "nowhere.engine"], 5, "does not exist"),
        (["fp16", "nowhere.onnx"], 5, "does not exist"),
        (["verify", "nowhere.onnx"], 5, "does not exist"),
        (["tensorrt", "nowhere.onnx"], 5, "does not exist"),
        (["onnx", "nowhere.pt", "-o", "m.onnx"], 5, "checkpoint is missing"),
    ],
)
def test_one_line_says_what_is_missing(
    command: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == code
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
