"""Choice of a provider by itself, and what is said of those passed over."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scarseg_infer.models import model_path
from scarseg_runtime.errors import ProviderError
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.gates import gate_reason, passes
from scarseg_runtime.model_file.read import ModelFile, with_half_variant
from scarseg_runtime.providers import registry
from scarseg_runtime.providers.registry import PROVIDERS, Candidate, candidates, choose, preferred

GOOD = {
    "finite": True, "label_agreement": 0.9995, "max_scar_dice_difference": 0.001,
    "max_burden_difference": 0.1, "worst_study": "twin 3",
}  # fmt: skip


@pytest.fixture(scope="module")
def files() -> list[ModelFile]:
    with model_path(None) as path:
        return with_half_variant(path)


def with_table(model: ModelFile, rows: dict, graph: str | None = None) -> ModelFile:
    table = {"rows": rows, "graph_sha256": graph or model.graph_sha256}
    return replace(model, metadata=replace(model.metadata, verification=table))


def every(model: ModelFile, unusable: dict[str, str], rows: dict) -> list[Candidate]:
    """Candidates of a machine on which all but ``unusable`` providers can run."""
    found = candidates([with_table(model, rows)])
    return [replace(c, unusable=unusable.get(c.provider.name)) for c in found]


def test_the_order_is_the_documented_one() -> None:
    names = [provider.name for provider in PROVIDERS]
    assert names == ["tensorrt", "tensorrt-rtx", "cuda", "openvino", "cpu"]


def test_the_first_that_runs_and_passed_is_taken(files: list[ModelFile]) -> None:
    rows = {f"{p.name} fp32": GOOD for p in PROVIDERS}
    assert choose(every(files[0], {}, rows)).provider.name == "tensorrt"
    missing = {"tensorrt": "not installed", "tensorrt-rtx": "no NVIDIA GPU or driver"}
    assert choose(every(files[0], missing, rows)).provider.name == "cuda"
    rows["cuda fp32"] = GOOD | {"label_agreement": 0.9}
    assert choose(every(files[0], missing, rows)).provider.name == "openvino"


def test_for_one_study_a_cpu_takes_what_loads_sooner(files: list[ModelFile]) -> None:
    rows = {f"{p.name} fp32": GOOD for p in PROVIDERS}
    no_gpu = {p.name: "no NVIDIA GPU or driver" for p in PROVIDERS if p.needs_gpu}

    def names(rows: dict, unusable: dict[str, str]) -> list[str]:
        found = every(files[0], unusable, rows)
        return [choose(found, once=once).provider.name for once in (True, False)]

    assert names(rows, no_gpu) == ["cpu", "openvino"]
    assert names(rows, {}) == ["tensorrt", "tensorrt"]
    failed = rows | {"cpu fp32": GOOD | {"label_agreement": 0.9}}
    assert names(failed, no_gpu) == ["openvino", "openvino"]
    assert choose(every(files[0], no_gpu, rows), "openvino", once=True).provider.name == "openvino"


@pytest.mark.parametrize(
    "change",
    [{"finite": False}, {"label_agreement": 0.9989}, {"label_agreement": float("nan")},
     {"max_scar_dice_difference": 0.0051}, {"max_burden_difference": 0.51}],
)  # fmt: skip
def test_every_gate_counts(change: dict) -> None:
    assert passes(GOOD)
    assert not passes(GOOD | change)


def test_a_table_of_other_weights_counts_nothing(files: list[ModelFile]) -> None:
    table = {"rows": {"cpu fp32": GOOD}, "graph_sha256": "0" * 64}
    assert "other weights" in str(gate_reason(table, "1" * 64, "cpu", "fp32"))
    assert gate_reason(table, "0" * 64, "cpu", "fp32") is None
    assert "not verified" in str(gate_reason({}, "0" * 64, "cpu", "fp32"))
    damaged = {"rows": {"cpu fp32": {}}, "graph_sha256": "0" * 64}
    assert "damaged" in str(gate_reason(damaged, "0" * 64, "cpu", "fp32"))
    with pytest.raises(ProviderError, match="no provider may run this model"):
        choose(every(with_table(files[0], {"cpu fp32": GOOD}, "0" * 64), {}, {}))


def test_what_failed_runs_only_where_it_is_asked_for(files: list[ModelFile]) -> None:
    rows = {"cpu fp32": GOOD, "cuda fp32": GOOD | {"finite": False}}
    found = every(files[0], {"tensorrt": "x", "tensorrt-rtx": "x"}, rows)
    assert choose(found).provider.name == "cpu"
    forced = choose(found, "cuda")
    assert forced.provider.name == "cuda"
    assert forced.gate == "failed verification (worst study: twin 3)"
    with pytest.raises(ProviderError, match="tensorrt fp32: x"):
        choose(found, "tensorrt")


def test_the_shipped_files_run_here_by_themselves(files: list[ModelFile]) -> None:
    assert [model.metadata.precision for model in files] == ["fp32", "fp16"]
    taken = preferred(candidates(files))
    assert taken is not None
    assert taken.reason is None


@pytest.mark.parametrize(
    ("provider", "precision"), [("auto", "int8"), ("cpu", "bf16"), ("quantum", "auto")]
)
def test_what_cannot_be_had_is_no_advice_about_options(
    files: list[ModelFile], provider: str, precision: str
) -> None:
    with pytest.raises(ProviderError) as raised:
        choose(candidates(files), provider, precision)
    assert not re.search("(?<!scarseg-infer) --", str(raised.value))  # of no command


@pytest.mark.parametrize(
    ("provider", "precision", "says"),
    [
        ("openvino", "fp16", "openvino does not compute in fp16. It computes in bf16 and fp32"),
        ("cpu", "bf16", "cpu does not compute in bf16. It computes in fp32 and fp16"),
        ("auto", "int8", "unknown precision 'int8'. Use one of: auto, fp32, fp16, bf16"),
        ("cpu", "fp16", "no fp16 variant. Make its FP16 variant with scarseg-export fp16"),
        ("auto", "fp16", "no fp16 variant. Make its FP16 variant with scarseg-export fp16"),
        ("openvino", "bf16", "no bf16 variant. Make its FP16 variant with scarseg-export fp16"),
    ],
)
def test_advice_can_help(files: list[ModelFile], provider: str, precision: str, says: str) -> None:
    with pytest.raises(ProviderError) as raised:
        choose(candidates(files[:1]), provider, precision)
    assert says in str(raised.value)


@pytest.mark.parametrize("able", [True, False])
def test_bf16_comes_first_where_the_cpu_has_it_and_the_variant_passed(
    files: list[ModelFile], monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(registry, "unusable_reason", lambda provider: None)
    monkeypatch.setattr(registry, "computes_bf16", lambda: able)
    passed = [
        with_table(files[0], {"openvino fp32": GOOD}),
        with_table(files[1], {"openvino bf16": GOOD}),
    ]
    taken = choose(candidates(passed))
    assert taken.precision == ("bf16" if able else "fp32")
    assert taken.model.metadata.precision == ("fp16" if able else "fp32")
    failed = [passed[0], with_table(files[1], {"openvino bf16": GOOD | {"finite": False}})]
    assert choose(candidates(failed)).precision == "fp32"


def test_the_fp16_variant_runs_on_the_cpu_where_it_is_asked_for(files: list[ModelFile]) -> None:
    chosen = Model.load(files[0].path, "cpu", "fp16").chosen
    assert chosen.model.path.name == "reference.fp16.onnx"
    assert (chosen.provider.name, chosen.precision) == ("cpu", "fp16")


def test_a_variant_of_another_training_is_left_alone(
    files: list[ModelFile], tmp_path: Path
) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(files[0].path.read_bytes())
    assert len(with_half_variant(model)) == 1
    variant = tmp_path / "mine.fp16.onnx"
    variant.write_bytes(files[1].path.read_bytes())
    assert len(with_half_variant(model)) == 2
    own = files[1].metadata.fp32_graph_sha256.encode()
    variant.write_bytes(files[1].path.read_bytes().replace(own, b"0" * 64))
    assert len(with_half_variant(model)) == 1
    variant.write_bytes(b"damaged")
    assert len(with_half_variant(model)) == 1


def test_unknown_names_are_refused_with_the_known_ones(files: list[ModelFile]) -> None:
    with pytest.raises(ProviderError, match="auto, tensorrt, tensorrt-rtx, cuda, openvino, cpu"):
        choose(candidates(files), "quantum")
    with pytest.raises(ProviderError, match="unknown precision 'int4'"):
        choose(candidates(files), "cpu", "int4")


def test_providers_are_listed_with_reasons_and_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from scarseg_infer.cli import main; main(['--providers']);"
        "print([m for m in ('onnxruntime', 'numpy', 'onnx', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert lines[-1] == "[]"
    assert {line.split()[0] for line in lines[:-1]} == {provider.name for provider in PROVIDERS}
    taken = {line.split(maxsplit=2)[2] for line in lines[:-1] if line.split()[2] == "auto"}
    assert taken in ({"auto"}, {"auto for one study", "auto for many studies"})
    assert all(len(line.split()) > 2 for line in lines[:-1])


def test_a_provider_that_did_not_start_is_never_reported(files: list[ModelFile]) -> None:
    """ONNX Runtime without CUDA's libraries loads on the CPU and logs."""
    from scarseg_runtime.providers.onnxruntime.api import import_onnxruntime
    from scarseg_runtime.providers.onnxruntime.session import check_taken

    onnxruntime = import_onnxruntime()
    session = onnxruntime.InferenceSession(str(files[0].path), providers=["CPUExecutionProvider"])
    check_taken(session, "cpu")
    with pytest.raises(ProviderError, match="could not start its cuda provider"):
        check_taken(session, "cuda")


def test_a_model_file_may_have_the_longest_name(tmp_path: Path) -> None:
    """Name of its FP16 variant would be too long: there is none."""
    path = tmp_path / f"{'m' * 250}.onnx"
    with model_path(None) as shipped:
        path.write_bytes(shipped.read_bytes())
    assert [one.path for one in with_half_variant(path)] == [path]
