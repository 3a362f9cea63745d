"""The JSON result keeps its schema in every corner."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from scarseg_infer.write.json import SCHEMA_VERSION, result_document, write_json

SCHEMA = json.loads(
    (resources.files("scarseg_infer") / "schema" / "result.schema.json").read_text("utf-8")
)


@pytest.mark.parametrize("options", [{}, {"ecg": False}, {"lv": False}])
@pytest.mark.parametrize("slices", [1, 6])
def test_documents_keep_the_schema(
    make_result: Callable, make_stack: Callable, tmp_path: Path, slices: int, options: dict
) -> None:
    result = make_result(make_stack(slices), **options)
    write_json(result, tmp_path / "result.json", {"json": "result.json"})
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["quantities"]["scar_ml"] == pytest.approx(result.quantities.scar_ml, abs=1e-5)


def test_the_schema_itself_is_valid_and_strict(make_result: Callable, make_stack: Callable) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    document = result_document(make_result(make_stack()))
    for broken in (document | {"extra": 1}, document | {"schema_version": "0.9"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


@pytest.mark.parametrize("gap", [math.nan, math.inf, -4.0, None])
def test_an_impossible_gap_is_still_valid_json(
    make_result: Callable, make_stack: Callable, tmp_path: Path, gap: float | None
) -> None:
    result = make_result(make_stack())
    result = replace(result, ecg=replace(result.ecg, gap_days=gap, weight=0.0))
    write_json(result, tmp_path / "result.json", {})
    jsonschema.validate(json.loads((tmp_path / "result.json").read_text("utf-8")), SCHEMA)
