"""The provider ``cuda`` on a real NVIDIA GPU: graphs are made, and give what plain runs give."""

from __future__ import annotations

import numpy as np
import pytest

from scarseg_bench.cases import Case, case_arrays
from scarseg_infer.models import model_path
from scarseg_runtime.model_file.gates import MIN_LABEL_AGREEMENT
from scarseg_runtime.model_file.read import ModelFile, with_half_variant
from scarseg_runtime.providers.gpu import nvidia_gpu
from scarseg_runtime.providers.onnxruntime.cuda_session import CudaSession
from scarseg_runtime.providers.onnxruntime.session import OnnxSession
from scarseg_runtime.providers.registry import provider_named, unusable_reason

pytestmark = [pytest.mark.gpu, pytest.mark.serial]  # there is one of it
if nvidia_gpu() is None:
    pytest.skip("needs an NVIDIA GPU", allow_module_level=True)
if reason := unusable_reason(provider_named("cuda")):
    pytest.skip(f"needs the provider cuda: {reason}", allow_module_level=True)


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def model(request: pytest.FixtureRequest) -> ModelFile:
    with model_path(None) as path:
        return next(m for m in with_half_variant(path) if m.metadata.precision == request.param)


def test_graphs_are_made_and_give_what_plain_runs_give(model: ModelFile) -> None:
    session, plain = CudaSession.open(model), OnnxSession.open(model, "cuda")
    for sizes in ((12, 256, 216), (9, 192, 192)):
        inputs = case_arrays(Case(*sizes))
        wanted = plain.execute(inputs)
        for _ in range(4):
            found = session.execute(inputs)
            assert (found["labels"] == wanted["labels"]).mean() >= MIN_LABEL_AGREEMENT
            assert np.isfinite(found["scar_probability"]).all()
    assert len(session._kept) == 2, "no graph was made: see the log for the reason"


def test_a_graph_reads_the_study_at_hand(model: ModelFile) -> None:
    session = CudaSession.open(model)
    first = case_arrays(Case())
    second = first | {"lge": np.ascontiguousarray(first["lge"][:, :, ::-1])}
    session.prepare(12, 256, 216)
    session.execute(first)
    answers = [session.execute(inputs)["scar_probability"] for inputs in (first, second, first)]
    assert not np.array_equal(answers[0], answers[1])
    assert np.allclose(answers[0], answers[2], atol=1e-4)
