"""The node keeps its own description: schemathesis asks a running one what it allows and not."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import Request, urlopen

import jsonschema
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY

if not os.environ.get("CI"):  # there what is missing is an error
    pytest.importorskip("schemathesis")
    pytest.importorskip("pynetdicom")

import schemathesis

from scarseg_infer.node.http.status import description

API = ("/studies", "/studies/{id}", "/studies/{id}/{name}")
MONITORING = ("/", "/healthz", "/metrics", "/openapi.json")
ECG = DEMO_ECG.with_suffix(".dcm")
STUDY = "1.2.826.0.1.3680043.8.498.7.1"
ZIP = "application/zip"


@cache
def images_and_ecg() -> dict[str, bytes]:
    """The demo study and its ECG, which is a study of its own, under UIDs that are the same at
    every post, so that none opens the study again."""
    found = {}
    for number, path in enumerate([*sorted(DEMO_STUDY.glob("*.dcm")), ECG]):
        dataset = pydicom.dcmread(path)
        study = f"{STUDY}.2" if path == ECG else STUDY
        dataset.PatientID, dataset.StudyInstanceUID = "OPENAPI", study
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = f"{study}.1", f"{study}.1.{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        stream = BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        found[f"{number}.dcm"] = stream.getvalue()
    return found


def zipped(contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return stream.getvalue()


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    """Some of the images and the ECG among other files, in folders or not, packed or not."""
    names = draw(st.sets(st.sampled_from(sorted(images_and_ecg())), min_size=1))
    folder = draw(st.from_regex(r"([a-z0-9]{1,9}/){0,3}", fullmatch=True))
    others = draw(st.dictionaries(st.from_regex(r"[a-z]{1,8}\.txt", fullmatch=True), st.binary()))
    contents = {folder + name: images_and_ecg()[name] for name in sorted(names)} | others
    return zipped(contents, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))


schemathesis.openapi.media_type(ZIP, zips())
schema = schemathesis.openapi.from_dict(
    json.loads(description([*API, *MONITORING])),
    config=schemathesis.Config.from_dict(
        {"seed": 1, "generation": {"deterministic": True, "max-examples": 15}}
    ),
)


def url(node: Any) -> str:
    return f"http://127.0.0.1:{node.status_port}"


@pytest.fixture(scope="module")
def done(node_factory: ModuleType, node: Any) -> int:
    """Number of the study once it is done."""
    request = Request(f"{url(node)}/studies", zipped(images_and_ecg()), {"Content-Type": ZIP})
    with urlopen(request, timeout=30) as answer:
        number = int(json.load(answer)["studies"][0]["id"])
    node_factory.wait_for(lambda: json.loads(node.get(f"/studies/{number}")[1])["state"] == "done")
    return number


@schema.parametrize()
@settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck))
def test_node_keeps_its_description(case: Any, node: Any, done: int) -> None:
    case.call_and_validate(base_url=url(node), timeout=30)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/studies/{id}", "application/json"),
        ("/studies/{id}/{name}", "application/dicom"),
    ],
)
def test_study_that_is_there(path: str, kind: str, node: Any, done: int) -> None:
    values = {"id": done, "name": "seg"} if "name" in path else {"id": done}
    answer = schema[path]["GET"].Case(path_parameters=values).call_and_validate(url(node))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == [kind]


@given(zips(), st.data())
@settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
def test_damaged_zips_are_answered(node: Any, done: int, body: bytes, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 200)))
    body = body[:start] + data.draw(st.binary(max_size=200)) + body[end:]
    case = schema["/studies"]["POST"].Case(body=body, media_type=ZIP)
    assert case.call_and_validate(url(node), timeout=30).status_code in (202, 409, 422)


def test_node_serves_this_description(node: Any) -> None:
    assert node.get("/openapi.json") == (200, description([*API, *MONITORING]).decode())


def test_worked_example_works(
    node: Any, done: int, tmp_path: Path, program: Callable[[str, str], str]
) -> None:
    curl = program("curl", "curl")
    (tmp_path / "study.zip").write_bytes(zipped(images_and_ecg()))
    words = json.loads(description(API))["info"]["description"].replace("\\\n", "")
    said = []
    for line in re.findall("^    curl (.*)$", words, re.MULTILINE):
        line = line.replace("http://127.0.0.1:8104", url(node))
        line = line.replace("/studies/1", f"/studies/{done}")
        found = subprocess.run(
            [curl, "-sS", "--fail", *shlex.split(line)],
            cwd=tmp_path, capture_output=True, check=True, timeout=30,
        )  # fmt: skip
        said.append(found.stdout)
    taken = {
        "studies": [{"id": done, "objects": len(images_and_ecg()) - 1}],
        "ecgs": 1,
        "files_left_out": 0,
        "conflicts": 0,
    }
    assert json.loads(said[0]) == taken
    assert json.loads(said[1])["state"] == "done"
    assert pydicom.dcmread(tmp_path / "scar.dcm").Modality == "SEG"


def test_paths_of_studies_are_described_only_where_served() -> None:
    assert sorted(json.loads(description(MONITORING))["paths"]) == sorted(MONITORING)


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON document."""
    for inside in value.values() if isinstance(value, dict) else value:
        if isinstance(inside, dict | list):
            yield from parts(inside)
    if isinstance(value, dict):
        yield value


def test_description_is_openapi() -> None:
    schema.validate()
    broken = json.loads(description([*API, *MONITORING]))
    del broken["paths"]["/studies"]["post"]["responses"]["202"]["description"]
    with pytest.raises(Exception, match="description"):
        schemathesis.openapi.from_dict(broken).validate()


def test_references_lead_somewhere() -> None:
    served = json.loads(description([*API, *MONITORING]))
    references = {part["$ref"] for part in parts(served) if "$ref" in part}
    assert len(references) > 10
    for reference in references:
        found = served
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_result_is_that_of_the_shipped_schema() -> None:
    folder = resources.files("scarseg_infer") / "node" / "http"
    on_disk = json.loads((folder / "openapi.json").read_text("utf-8"))
    reference = on_disk["components"]["schemas"]["Result"]["$ref"]
    shipped = json.loads((Path(str(folder)) / reference).resolve().read_text("utf-8"))
    served = json.loads(description([]))["components"]["schemas"]["Result"]
    assert served["required"] == shipped["required"]
    assert served["$defs"].keys() == shipped["$defs"].keys()


def test_examples_fit_their_schemas() -> None:
    served = json.loads(description([*API, *MONITORING]))
    examples = [
        (part["schema"], example)
        for part in parts(served)
        if "schema" in part
        for example in [
            *([part["example"]] if "example" in part else []),
            *(named["value"] for named in part.get("examples", {}).values()),
        ]
    ]
    assert len(examples) > 20
    for wanted, example in examples:
        jsonschema.Draft202012Validator.check_schema(wanted)
        jsonschema.validate(example, {**wanted, "components": served["components"]})
