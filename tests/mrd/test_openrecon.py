"""The description of the container keeps the rules of OpenRecon's schema 1.1.0, and is true.

The rules are stated again here in words of our own, from the schema that public recipes carry
(``recipes/OpenReconSchema_1.1.0.json`` of github.com/NeuroDesk/openrecon), which is not ours to
hand on.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import scarseg_infer.mrd
from scarseg_infer.mrd.main import parser
from scarseg_runtime.version import __version__

DEPLOY = Path(scarseg_infer.mrd.__file__).parent / "deploy"
DESCRIPTION = json.loads((DEPLOY / "openrecon.json").read_text(encoding="utf-8"))
Rule = dict[str, Any]

TEXT: Rule = {"type": "string"}
FLAG: Rule = {"type": "boolean"}
TRANSLATED: Rule = {"type": "object", "required": ["en"], "properties": {"en": TEXT}}
MOST_PARAMETERS = 14


def closed(required: Rule, optional: Rule | None = None) -> Rule:
    """An object with these members and no others."""
    return {
        "type": "object", "required": list(required), "additionalProperties": False,
        "properties": required | (optional or {}),
    }  # fmt: skip


def whole(low: int | None = None) -> Rule:
    return {"type": "integer"} | ({} if low is None else {"minimum": low})


def parameter(kind: str, required: Rule, optional: Rule | None = None) -> Rule:
    """A parameter of the user interface."""
    always = {
        "type": {"const": kind}, "id": {"type": "string", "pattern": "^[A-Za-z0-9]+$"},
        "label": TRANSLATED,
    }  # fmt: skip
    return closed(always | required, {"information": TRANSLATED} | (optional or {}))


def number(kind: str) -> Rule:
    value = {"type": "integer" if kind == "int" else "number"}
    unit = {"type": "object", "required": ["en"],
            "properties": {"en": {"type": "string", "minLength": 1, "maxLength": 3}}}  # fmt: skip
    return parameter(kind, {"minimum": value, "maximum": value, "default": value}, {"unit": unit})


CHOICES: Rule = {"type": "array", "minItems": 1, "items": closed({"id": TEXT, "name": TRANSLATED})}
RULES: Rule = closed(
    {
        "general": closed(
            {
                "name": TRANSLATED, "vendor": TEXT, "information": TRANSLATED, "id": TEXT,
                "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
                "regulatory_information": closed(
                    dict.fromkeys(
                        (
                            "device_trade_name", "production_identifier", "manufacturer_address",
                            "made_in", "manufacture_date", "material_number", "gtin", "udi",
                            "safety_advices", "special_operating_instructions",
                            "additional_relevant_information",
                        ),
                        TEXT,
                    )
                ),
            },
            {"license_string": TEXT},
        ),
        "reconstruction": closed(
            {
                "transfer_protocol": {
                    "type": "object", "required": ["protocol", "version"],
                    "properties": {"protocol": {"const": "ISMRMRD"}, "version": {"const": "1.4.1"}},
                },
                "port": whole(), "emitter": {"enum": ["raw", "image"]},
                "injector": {"enum": ["compleximage", "image"]}, "can_use_gpu": FLAG,
                "min_required_memory": whole(0), "min_count_required_cpu_cores": whole(1),
            },
            {
                "can_process_adjustment_data": FLAG, "min_count_required_gpus": whole(0),
                "min_required_gpu_memory": whole(0),
                "content_qualification_type": {"enum": ["PRODUCT", "SERVICE", "RESEARCH"]},
            },
        ),
        "parameters": {
            "type": "array", "maxItems": MOST_PARAMETERS, "uniqueItems": True,
            "items": {
                "oneOf": [
                    number("int"), number("double"), parameter("boolean", {"default": FLAG}),
                    parameter("string", {}, {"default": TEXT, "isLargeText": FLAG}),
                    parameter("choice", {"default": TEXT, "values": CHOICES}),
                ]
            },
        },
    }
)  # fmt: skip


def test_the_description_keeps_the_rules() -> None:
    jsonschema.Draft7Validator.check_schema(RULES)
    jsonschema.validate(DESCRIPTION, RULES, jsonschema.Draft7Validator)


BREAKS: dict[str, Callable[[Any], object]] = {
    "no version": lambda d: d["general"].pop("version"),
    "version of three parts and more": lambda d: d["general"].update(version="0.1.0-rc1"),
    "a member of its own": lambda d: d.update(more=1),
    "port as text": lambda d: d["reconstruction"].update(port="9002"),
    "other protocol": lambda d: d["reconstruction"]["transfer_protocol"].update(version="2"),
    "an id with a sign": lambda d: d["parameters"][0].update(id="send-labels"),
    "a default of another type": lambda d: d["parameters"][0].update(default="true"),
    "too many": lambda d: d["parameters"].extend(
        d["parameters"][0] | {"id": f"a{n}"} for n in range(MOST_PARAMETERS)
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_the_rules_would_notice(name: str) -> None:
    document = copy.deepcopy(DESCRIPTION)
    BREAKS[name](document)
    assert list(jsonschema.Draft7Validator(RULES).iter_errors(document))


def test_parameters_are_the_options() -> None:
    """Each option is a parameter with the same default; each choice is one that is taken."""
    pytest.importorskip("ismrmrd")
    from scarseg_infer.mrd.options import KINDS, PROVIDER_CHOICES, Options, with_parameters

    described = {one["id"]: one for one in DESCRIPTION["parameters"]}
    assert set(described) == {one.name for one in fields(Options)}
    defaults = {name: one["default"] for name, one in described.items()}
    assert with_parameters(Options(), defaults) == Options()
    for name, known in (("provider", PROVIDER_CHOICES), ("prefer", KINDS)):
        values = [one["id"] for one in described[name]["values"]]
        assert sorted(values) == sorted(known)
        for value in values:
            assert getattr(with_parameters(Options(), {name: value}), name) == value


def test_the_description_is_of_this_release_and_its_container() -> None:
    general, regulatory = DESCRIPTION["general"], DESCRIPTION["general"]["regulatory_information"]
    assert general["version"] == regulatory["production_identifier"] == __version__
    assert regulatory["material_number"] == f"{general['id']}_{__version__}"
    assert DESCRIPTION["reconstruction"]["content_qualification_type"] == "RESEARCH"
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    port = DESCRIPTION["reconstruction"]["port"]
    assert f"EXPOSE {port}" in text
    assert parser().get_default("port") == port
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.M)[0])
    arguments = parser().parse_args(entry[1:])
    assert (entry[0], arguments.address) == ("scarseg-mrd", "0.0.0.0")
    assert arguments.sessions * 1024 <= DESCRIPTION["reconstruction"]["min_required_memory"]
