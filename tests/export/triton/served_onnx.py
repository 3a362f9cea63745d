"""A runtime for MLServer, which has none for ONNX of its own: a file with ONNX Runtime.

It runs in an environment of its own, see test_kserve.py.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

KINDS = {"float32": "FP32", "uint8": "UINT8"}


class OnnxFile(MLModel):
    """Every input and output of the graph, named as in it."""

    _session: Any

    async def load(self) -> bool:
        # Not as a statement: in this repository one module alone imports it.
        runtime = import_module("onnxruntime")
        self._session = runtime.InferenceSession(self._settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        names = [output.name for output in self._session.get_outputs()]
        values = zip(names, self._session.run(names, inputs), strict=True)
        # Not by the codec, which gives vectors a second axis.
        outputs = [
            ResponseOutput(
                name=name,
                shape=list(value.shape),
                datatype=KINDS[value.dtype.name],
                data=value.ravel().tolist(),
            )
            for name, value in values
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
