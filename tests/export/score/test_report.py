"""The report of ``score``: complete, valid, and the same numbers everywhere."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

import jsonschema
import pytest

import scarseg_export.score as package
from scarseg_export.cli import main
from scarseg_infer.models import model_path

SCHEMA = Path(package.__file__).with_name("score.schema.json")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score") / "patients"
    size = ["--size", "96", "--spacing-mm", "2.2", "--gap-days", "5"]
    assert main(["twin", "--cases", "3", "--out", str(folder), *size]) == 0
    return folder


@pytest.fixture(scope="module")
def report(cohort: Path) -> Path:
    out = cohort.parent / "report"
    assert main(["score", str(cohort / "table.csv"), "-o", str(out)]) == 0
    return out


def test_the_json_follows_its_schema(report: Path) -> None:
    document = json.loads((report / "score.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert len(document["patients"]) == 3
    (model,) = document["models"]
    with model_path(None) as shipped:
        assert model["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
    (image, fused) = (
        next(arm for arm in document["arms"] if arm.endswith(end))
        for end in (": image alone", ": fused")
    )
    assert document["arms"][image]["wall_dice"]["mean"] > 0.5
    assert any(found["to"] == fused for found in document["differences"])


def test_csv_and_json_say_the_same(report: Path) -> None:
    document = json.loads((report / "score.json").read_text(encoding="utf-8"))
    with (report / "score.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            patient = next(p for p in document["patients"] if p["id"] == line["id"])
            said = patient["scores"][line["arm"]]["scar_ml"]
            assert float(line["scar_ml"]) == said


def test_the_page_stands_alone(report: Path) -> None:
    page = (report / "score.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "What each part adds" in page
    assert 'class="sortable"' in page
    assert page.count("<figure>") >= 4  # plots and worst cases


def test_a_report_is_not_overwritten(cohort: Path, report: Path) -> None:
    before = (report / "score.json").read_bytes()
    assert main(["score", str(cohort / "table.csv"), "-o", str(report)]) == 6
    assert (report / "score.json").read_bytes() == before


def test_a_model_of_another_contract_leaves_nothing(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    out = tmp_path / "out"
    model = ["--model", str(tmp_path / "model.onnx")]
    assert main(["score", str(cohort / "table.csv"), *model, "-o", str(out)]) == 5
    assert not out.exists()


def test_real_hearts_are_scored(shared_data: Path, tmp_path: Path) -> None:
    """Two labelled real volumes, for measuring only; their affine does not tell base from apex."""
    folder = shared_data / "lge-validation"
    names = sorted(p.name.removesuffix("_image.nii.gz") for p in folder.glob("*_image.nii.gz"))
    lines = [f"{n},{folder / n}_image.nii.gz,{folder / n}_labels.nii.gz" for n in names[:2]]
    (tmp_path / "t.csv").write_text("\n".join(["id,study,mask", *lines]), encoding="utf-8")
    values = ["background", "cavity", "myocardium", "scar", "mvo"]
    text = "\n".join(f'{n} = "{name}"' for n, name in enumerate(values))
    (tmp_path / "classes.toml").write_text(f"[values]\n{text}\n", encoding="utf-8")
    assert main(["score", str(tmp_path / "t.csv"), "-o", str(tmp_path / "r")]) == 0
    document = json.loads((tmp_path / "r" / "score.json").read_text(encoding="utf-8"))
    image = next(arm for name, arm in document["arms"].items() if name.endswith(": image alone"))
    assert image["cavity_dice"]["mean"] > 0.8
    assert image["wall_dice"]["mean"] > 0.6
