"""Verification: PyTorch rebuilt from the file, the table, and files that must not pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from scarseg_export.cli import main
from scarseg_export.deploy.model_io import load_model, set_metadata, write_model
from scarseg_export.deploy.onnx_weights import network_of
from scarseg_export.verify.parity import difference, table_row, verify, write_table
from scarseg_export.verify.studies import studies
from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.models import model_path
from scarseg_runtime.contract import Label
from scarseg_runtime.errors import ModelError, ProviderError
from scarseg_runtime.model import Model
from scarseg_runtime.model_file.read import read_model_file, with_half_variant
from scarseg_runtime.providers.registry import candidates, choose


@pytest.fixture(scope="module")
def shipped() -> Path:
    with model_path(None) as path:
        return path


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    """The shipped files, free to be broken."""
    for name in ("reference.onnx", "reference.fp16.onnx"):
        shutil.copy(shipped.with_name(name), tmp_path / name)
    return tmp_path / "reference.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_shipped_files_carry_a_table_that_passed(shipped: Path, precision: str) -> None:
    model = next(m for m in with_half_variant(shipped) if m.metadata.precision == precision)
    row = model.metadata.verification["rows"][f"cpu {precision}"]
    assert row["passed"]
    assert row["studies"] >= 28
    assert row["reference"] == "pytorch fp32"
    assert model.metadata.verification["graph_sha256"] == model.graph_sha256


def test_verify_measures_both_files_and_writes_their_tables(copy: Path) -> None:
    for model in with_half_variant(copy):
        proto = load_model(model.path)
        set_metadata(proto, {"verification": {}})
        write_model(proto, model.path)
    with pytest.raises(ProviderError, match="not verified"):
        Model.load(copy)
    rows = verify(copy, "cpu", cases=1)
    assert set(rows) == {"cpu fp32", "cpu fp16"}
    assert all(row["passed"] for row in rows.values())
    assert rows["cpu fp16"]["max_abs_probability_difference"] > 0
    single, half = with_half_variant(copy)
    assert list(single.metadata.verification["rows"]) == ["cpu fp32"]
    assert list(half.metadata.verification["rows"]) == ["cpu fp16"]
    assert Model.load(copy).chosen.gate is None


def scaled(path: Path, factor: float) -> None:
    """An FP16 model whose weights overflow on the way: scaled up in one layer, and down again."""
    model = onnx.load(path)
    half = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.FLOAT16]
    first, second = [i for i in half if len(i.dims) == 4 and i.dims[2:] == [3, 3]][-2:]
    for weight, by in ((first, factor), (second, 1 / factor)):
        values = numpy_helper.to_array(weight).astype(np.float32) * by
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))
    onnx.save(model, path)


def test_a_variant_that_overflows_is_caught_and_refused(copy: Path) -> None:
    """The same function in exact arithmetic; in FP16 its features exceed 65504."""
    variant = copy.with_name("reference.fp16.onnx")
    scaled(variant, 3e4)
    found = candidates(with_half_variant(copy))
    assert "other weights" in str(choose(found, "cpu", "fp16").gate)  # the old table is void
    assert main(["verify", str(copy), "--provider", "cpu", "--cases", "1"]) == 5
    row = read_model_file(variant).metadata.verification["rows"]["cpu fp16"]
    assert not row["passed"]
    found = candidates(with_half_variant(copy))
    assert choose(found, "cpu").precision == "fp32"
    forced = Segmenter.from_model(copy, provider="cpu", precision="fp16")
    result = forced.run(DEMO_STUDY, DEMO_ECG)
    assert any("failed verification" in warning for warning in result.warnings)
    assert result.model.precision == "fp16"


def test_only_what_was_asked_for_is_measured(copy: Path) -> None:
    assert set(verify(copy, "cpu", ["fp32"], cases=1)) == {"cpu fp32"}
    with pytest.raises(ProviderError, match="cannot be verified here"):
        verify(copy, "cuda")
    with pytest.raises(ProviderError, match="unknown provider"):
        verify(copy, "quantum")
    with pytest.raises(ModelError, match="FP16 variant"):
        verify(copy.with_name("reference.fp16.onnx"))


def test_rows_measured_elsewhere_are_kept_until_the_graph_changes(copy: Path) -> None:
    before = read_model_file(copy).metadata.verification["rows"]
    assert {"cpu fp32", "openvino fp32"} <= set(before)
    write_table(copy, {"tensorrt-rtx fp32": {"passed": True}})
    rows = read_model_file(copy).metadata.verification["rows"]
    assert rows == before | {"tensorrt-rtx fp32": {"passed": True}}
    model = load_model(copy)
    model.graph.name = "another"
    write_model(model, copy)
    write_table(copy, {"cpu fp32": {"passed": True}})
    assert set(read_model_file(copy).metadata.verification["rows"]) == {"cpu fp32"}


def test_the_network_comes_back_out_of_its_file(shipped: Path) -> None:
    facts = read_model_file(shipped)
    net = network_of(load_model(shipped), facts.metadata)
    assert net.taff.tau_days == pytest.approx(facts.metadata.tau_days, rel=1e-6)
    broken = load_model(shipped)
    weight = next(i for i in broken.graph.initializer if i.name == "image.scar.0.weight")
    weight.name = "gone"
    with pytest.raises(ModelError, match=r"image\.scar\.0\.weight"):
        network_of(broken, facts.metadata)


def test_every_measure_sees_what_it_is_for() -> None:
    study = next(iter(studies(1)))
    truth = study.truth
    same = {"labels": truth, "scar_probability": (truth == Label.SCAR).astype(np.float32)}
    row = table_row([difference(study, same, same)], "itself")
    assert row["passed"]
    assert row["label_agreement"] == 1.0
    labels = truth.copy()
    scar = np.argwhere(truth == Label.SCAR)[:40]
    labels[tuple(scar.T)] = Label.VIABLE_MYOCARDIUM
    seen = difference(study, same | {"labels": labels}, same)
    assert seen.agreement == 1 - 40 / truth.size
    assert seen.dice > 0
    assert seen.burden > 0
    odd = same["scar_probability"].copy()
    odd[0, 0, 0] = np.nan
    assert not table_row([difference(study, same | {"scar_probability": odd}, same)], "")["passed"]
