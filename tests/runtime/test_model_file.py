"""The model file: what it says of itself, and every way in which it can break the contract."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from scarseg_runtime.contract import IMAGE_INPUTS, INPUTS, OUTPUTS, Label
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model_file.read import PREFIX, check_contract, encode_metadata, parse_metadata


@dataclass
class Tensor:
    name: str
    type: str
    shape: list


def tensors(specs: tuple) -> list[Tensor]:
    return [Tensor(s.name, s.type, list(s.shape)) for s in specs]


@pytest.fixture
def metadata() -> dict:
    return {
        "name": "toy", "version": "1", "training_data": "none", "licence": "Apache-2.0",
        "intended_use": "tests", "recipe_revision": "abc", "recipe": {"seed": 1},
        "tau_days": 120, "delta_max": 4.0, "disagreement_threshold": 0.8,
        "working_spacing_mm": 1.5, "min_scar_ml": 0.3,
        "classes": [{"value": int(v), "name": v.name, "colour": "#000000"} for v in Label],
        "precision": "fp32", "half_convolutions": 0, "image_only": False,
        "fp32_graph_sha256": "", "twin_scores": {}, "verification": {},
    }  # fmt: skip


def test_metadata_survives_the_round_trip(metadata: dict) -> None:
    parsed = parse_metadata(encode_metadata(metadata))
    assert parsed.name == "toy" and parsed.tau_days == 120.0 and parsed.recipe == {"seed": 1}


def test_foreign_entries_are_left_alone(metadata: dict) -> None:
    assert parse_metadata({"producer": "not json", **encode_metadata(metadata)}).name == "toy"


@pytest.mark.parametrize("missing", ["tau_days", "classes", "min_scar_ml", "training_data"])
def test_a_missing_entry_is_named(metadata: dict, missing: str) -> None:
    del metadata[missing]
    with pytest.raises(ModelError, match=missing):
        parse_metadata(encode_metadata(metadata))


@pytest.mark.parametrize(
    ("key", "value"),
    [("tau_days", "long"), ("tau_days", -5), ("tau_days", None), ("classes", [{"value": 9}]),
     ("classes", 3), ("classes", [{"colour": "x"}]), ("min_scar_ml", []),
     ("largest_field_mm", 300.0), ("largest_field_mm", [300.0]), ("largest_field_mm", [300, 0]),
     ("precision", "int8")],
)  # fmt: skip
def test_odd_values_are_refused(metadata: dict, key: str, value: object) -> None:
    with pytest.raises(ModelError):
        parse_metadata(encode_metadata(metadata | {key: value}))


def test_a_file_without_metadata_is_refused() -> None:
    with pytest.raises(ModelError, match="no scarseg metadata"):
        parse_metadata({"producer_name": "pytorch"})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("format_version", json.dumps("99"), "format version 99"),
     ("ecg", json.dumps({"leads": ["I"]}), "another ECG"),
     ("name", "{not json", "damaged")],
)  # fmt: skip
def test_another_format_is_refused(metadata: dict, key: str, value: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        parse_metadata(encode_metadata(metadata) | {PREFIX + key: value})


def test_the_contract_accepts_itself() -> None:
    check_contract(tensors(INPUTS), tensors(OUTPUTS))


def test_an_image_only_graph_has_no_ecg_inputs() -> None:
    check_contract(tensors(IMAGE_INPUTS), tensors(OUTPUTS), image_only=True)
    with pytest.raises(ModelError, match="ecg"):
        check_contract(tensors(IMAGE_INPUTS), tensors(OUTPUTS))
    with pytest.raises(ModelError, match="unknown input ecg"):
        check_contract(tensors(INPUTS), tensors(OUTPUTS), image_only=True)


@pytest.mark.parametrize("index", range(len(INPUTS)))
def test_a_missing_renamed_or_reshaped_input_is_named(index: int) -> None:
    name = INPUTS[index].name
    for change in ("drop", "type", "shape"):
        inputs = tensors(INPUTS)
        if change == "drop":
            del inputs[index]
        elif change == "type":
            inputs[index].type = "tensor(double)"
        else:
            inputs[index].shape = [*inputs[index].shape, 2]
        with pytest.raises(ModelError, match=name):
            check_contract(inputs, tensors(OUTPUTS))


def test_an_extra_output_is_named() -> None:
    with pytest.raises(ModelError, match="surprise"):
        extra = Tensor("surprise", "tensor(float)", [1])
        check_contract(tensors(INPUTS), [*tensors(OUTPUTS), extra])


def test_a_fixed_size_graph_is_refused() -> None:
    inputs = tensors(INPUTS)
    inputs[0].shape = [10, 256, 256]
    with pytest.raises(ModelError, match="lge"):
        check_contract(inputs, tensors(OUTPUTS))


def test_a_field_of_view_is_covered_or_not(metadata: dict) -> None:
    any_size = parse_metadata(encode_metadata(metadata))
    assert any_size.covers((4096, 4096), (3.0, 3.0))
    fixed = parse_metadata(encode_metadata(metadata | {"largest_field_mm": [300, 250]}))
    assert fixed.largest_field_mm == (300.0, 250.0)
    assert fixed.covers((300, 250), (1.0, 1.0))
    assert not fixed.covers((301, 250), (1.0, 1.0))
    assert not fixed.covers((300, 125), (1.0, 2.01))
