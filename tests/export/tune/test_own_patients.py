"""From a table of patients to a deployed model, at toy size, by the command line alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scarseg_export.cli import main
from scarseg_export.train.checkpoint import load_checkpoint
from scarseg_runtime.model import Model

TOY = {
    "twin_stacks": 2, "image_steps": 4, "scratch_steps": 4, "image_batch": 4, "check_every": 2,
    "twin_pairs": 3, "fusion_steps": 2, "validation_share": 0.3,
    "recipe": {
        "ecg_patients": 300, "ecg_steps": 2, "localiser_stacks": 2, "localiser_steps": 2,
        "close_steps": 2, "close_batch": 4,
        "network": {"fine_widths": [8, 8, 12, 12, 16], "localiser_widths": [4, 8, 8, 8, 8]},
    },
}  # fmt: skip
CASES = 10


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "patients"
    size = ["--size", "80", "--spacing-mm", "2.6", "--shift"]
    assert main(["twin", "--cases", str(CASES), "--out", str(folder), *size]) == 0
    (folder.parent / "toy.json").write_text(json.dumps(TOY), encoding="utf-8")
    return folder / "table.csv"


def train(table: Path, run: Path, *options: str) -> int:
    recipe = table.parents[1] / "toy.json"
    arguments = ["train", "--data", str(table), "--recipe", str(recipe), "--out", str(run)]
    return main([*arguments, "--device", "cpu", *options])


@pytest.fixture(scope="module")
def run(table: Path, tell_no_rv: Callable[[Path], None]) -> Path:
    """From nothing, two folds."""
    folder = table.parents[1] / "run"
    assert train(table, folder, "--folds", "2") == 0
    tell_no_rv(folder)
    return folder


@pytest.fixture(scope="module")
def deployed(run: Path) -> Path:
    out = run.parent / "deployed"
    assert main(["deploy", str(run), "-o", str(out), "--cases", "1"]) == 0
    return out


@pytest.mark.slow
def test_every_fold_and_the_run_on_all_leave_a_model(run: Path) -> None:
    for folder in (run, run / "fold0", run / "fold1"):
        trained = load_checkpoint(folder / "model.pt")
        assert "shifted digital twin" in trained.facts["training_data"]
        stages = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
        assert {"image", "fusion", "agreement", "tau"} <= stages.keys()
        assert not stages["tau"]["adopted"]  # ten pairs tell nothing
        assert str(stages["tau"]["pairs"]) in stages["tau"]["why"]
    folds = json.loads((run / "run.json").read_text(encoding="utf-8"))["folds"]
    assert sorted(row for fold in folds for row in fold["test"]) == list(range(1, CASES + 1))


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(table: Path, run: Path) -> None:
    models = [run / "model.pt", run / "fold0" / "model.pt"]
    before = [model.stat().st_mtime_ns for model in models]
    assert train(table, run, "--folds", "2") == 0
    assert [model.stat().st_mtime_ns for model in models] == before


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--folds", "3"), ("--folds", "2", "--seed", "9")])
def test_a_run_folder_belongs_to_one_recipe(
    table: Path, run: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture
) -> None:
    assert train(table, run, *options) == 2
    assert "another recipe" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_folder_belongs_to_one_table(
    table: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(table.parent, tmp_path / "patients")
    shutil.rmtree(tmp_path / "patients/twin-000003")
    lines = table.read_text().splitlines()
    other = tmp_path / "patients" / "table.csv"
    other.write_text("\n".join(line for line in lines if "000003" not in line) + "\n")
    (tmp_path / "toy.json").write_text(json.dumps(TOY), encoding="utf-8")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert train(other, run, "--folds", "2") == 2
    assert "another table" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    out = tmp_path / "report"
    assert main(["score", str(other), "--folds", str(run), "-o", str(out)]) == 2
    assert not out.exists()


@pytest.mark.slow
def test_patients_are_read_once(table: Path, run: Path) -> None:
    kept = sorted((run / "patients").glob("*.npz"))
    assert len(kept) == CASES
    with np.load(kept[0], allow_pickle=False) as content:
        assert content["pixels"].shape == content["labels"].shape


@pytest.mark.slow
def test_what_is_deployed_runs_and_says_what_it_is(table: Path, deployed: Path) -> None:
    model = Model.load(deployed / "model.onnx")
    assert "shifted digital twin" in model.metadata.training_data
    assert model.metadata.recipe["own"]["folds"] == 2
    assert (deployed / "model.fp16.onnx").is_file()
    card = (deployed / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert model.metadata.training_data in card
    assert "τ: " in card
    assert "cpu fp32" in card
    patient = table.parent / "twin-000000"
    from scarseg_infer.cli import main as infer

    out = deployed.parent / "result"
    arguments = [str(patient / "study"), str(patient / "ecg/twin.hea"), "--only", "json"]
    assert infer([*arguments, "--model", str(deployed / "model.onnx"), "-o", str(out)]) == 0


@pytest.mark.slow
def test_nothing_is_overwritten_or_half_written(run: Path, deployed: Path, tmp_path: Path) -> None:
    before = (deployed / "MODEL_CARD.md").read_bytes()
    assert main(["deploy", str(run), "-o", str(deployed)]) == 6
    assert (deployed / "MODEL_CARD.md").read_bytes() == before
    assert main(["deploy", str(tmp_path), "-o", str(tmp_path / "new")]) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_folds_are_scored_with_all_heads(table: Path, run: Path, deployed: Path) -> None:
    out = run.parent / "report"
    models = ["--model", str(deployed / "model.onnx"), "--folds", str(run)]
    assert main(["score", str(table), *models, "-o", str(out)]) == 0
    document = json.loads((out / "score.json").read_text(encoding="utf-8"))
    assert {
        "folds: image alone", "folds: image + atlas, no ECG", "folds: fused, without atlas",
        "folds: fused, without Δt", "folds: fused",
    } <= document["arms"].keys()  # fmt: skip
    assert len(document["patients"]) == CASES
    assert "Fusion without atlas" in (out / "score.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_patients_of_unfinished_folds_are_left_out(
    table: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in ("run.json", "fold0/model.pt", "fold0/heads.pt"):
        (tmp_path / "part" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / name, tmp_path / "part" / name)
    folds = json.loads((run / "run.json").read_text(encoding="utf-8"))["folds"]
    out = tmp_path / "report"
    options = ["--folds", str(tmp_path / "part"), "-o", str(out)]
    assert main(["score", str(table), *options]) == 0
    document = json.loads((out / "score.json").read_text(encoding="utf-8"))
    assert [patient["row"] for patient in document["patients"]] == folds[0]["test"]
    assert document["rows_left_out"] == len(folds[1]["test"])
    assert f"row {folds[1]['test'][0]}: error: its fold" in capsys.readouterr().out
    (tmp_path / "part/fold0/model.pt").unlink()
    assert main(["score", str(table), *options[:2], "-o", str(tmp_path / "none")]) == 5
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_model_file_is_trained_further(table: Path, run: Path, deployed: Path) -> None:
    """From the deployed file, and its stages say what too few pairs do."""
    further = run.parent / "further"
    start = ["--from", str(deployed / "model.onnx"), "--folds", "0"]
    assert train(table, further, *start) == 0
    stages = json.loads((further / "stages.json").read_text(encoding="utf-8"))
    assert not stages["fusion"]["trained"]
    assert "pairs" in stages["fusion"]["why"]
    assert stages["image"]["trained"] or stages["image"]["why"]
    trained = load_checkpoint(further / "model.pt")
    assert trained.folded
    how = "Fine-tuned from scarseg-own" if stages["image"]["adopted"] else "those of scarseg-own"
    assert how in trained.facts["training_data"]
    again = run.parent / "again.onnx"
    assert main(["onnx", str(further / "model.pt"), "-o", str(again), "--cases", "1"]) == 0
    assert Model.load(again).metadata.training_data == trained.facts["training_data"]


def test_a_table_with_errors_is_refused_with_the_row(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    text = table.read_text().replace("twin-000004/labels", "twin-000004/nothing")
    wrong = table.parent / "wrong.csv"
    wrong.write_text(text)
    assert train(wrong, tmp_path / "run", "--folds", "2") == 2
    assert "row 5" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_too_few_patients_for_the_folds_leave_nothing(table: Path, tmp_path: Path) -> None:
    assert train(table, tmp_path / "run", "--folds", str(CASES + 1)) == 2
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_begun_with(table: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    assert train(table, tmp_path / "run", "--from", str(tmp_path / "bad.onnx")) == 5
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [["--classes", "c.toml"], ["--from", "shipped"], ["--folds", "3"], ["--twin-share", "0.5"],
     ["--allow-identity-mismatch"]],
)  # fmt: skip
def test_options_for_own_patients_need_a_table(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", "--out", str(tmp_path / "out"), *words]) == 2
    assert f"{words[0]} needs --data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
