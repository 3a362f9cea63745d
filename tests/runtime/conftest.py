"""The shipped model to be changed, and what a changed one is refused with."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from scarseg_infer.models import model_path
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import read_model_file


@pytest.fixture(scope="session")
def shipped() -> onnx.ModelProto:
    with model_path(None) as path:
        return onnx.load(path)


@pytest.fixture
def model(shipped: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to be changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(shipped)
    return copy


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[onnx.ModelProto | bytes], str]:
    """Refusal of a file: by the reader already, in little time, in one line."""

    def refused_with(content: onnx.ModelProto | bytes) -> str:
        path = tmp_path / "Secretname.onnx"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        start = time.process_time()  # of this process alone: what else runs does not count
        with pytest.raises(ModelError) as caught:
            read_model_file(path)
        assert time.process_time() - start < 3.0
        message = str(caught.value)
        assert "Secretname" not in message and message.isprintable() and len(message) < 400
        return message

    return refused_with
