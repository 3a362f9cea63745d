"""A user's own checkpoint with a TOML beside it, and every way in which the two do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scarseg_export import commands
from scarseg_export.cli import main
from scarseg_export.deploy.described import load_described
from scarseg_export.deploy.model_io import load_model
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.network import ScarNet
from scarseg_runtime.contract import BEAT_SAMPLES, LEADS
from scarseg_runtime.errors import ModelError
from scarseg_runtime.model import Model

SMALL = NetworkConfig(fine_widths=(8, 8, 12), localiser_widths=(4, 8, 8), crop_spacing_mm=1.4)
TOML = """
name = "mine"
version = "3"
training_data = "Nobody's."
licence = "MIT"
tau_days = 90
classes = ["Hintergrund", "Blut", "Myokard", "Narbe", "RV"]
[network]
fine_widths = [8, 8, 12]
localiser_widths = [4, 8, 8]
crop_spacing_mm = 1.4
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    torch.save({"state_dict": ScarNet(SMALL).state_dict(), "epoch": 7}, tmp_path / "mine.pt")
    (tmp_path / "mine.toml").write_text(TOML, encoding="utf-8")
    return tmp_path / "mine.pt"


def rewrite(checkpoint: Path, old: str, new: str) -> None:
    text = TOML.replace(old, new)
    assert text != TOML
    checkpoint.with_suffix(".toml").write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_an_own_checkpoint_becomes_a_model_file(checkpoint: Path) -> None:
    out, report = checkpoint.with_name("mine.onnx"), checkpoint.with_name("report.json")
    command = ["onnx", str(checkpoint), "-o", str(out), "--cases", "1", "--report", str(report)]
    assert main(command) == 0
    metadata = Model.load(out).metadata
    assert (metadata.name, metadata.version, metadata.licence) == ("mine", "3", "MIT")
    assert metadata.tau_days == pytest.approx(90.0)
    assert metadata.working_spacing_mm == 1.4
    assert [entry["name"] for entry in metadata.classes][2:4] == ["Myokard", "Narbe"]
    assert "Not a medical device" in metadata.intended_use
    assert "cpu fp32" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_model_file_is_a_checkpoint_too(checkpoint: Path) -> None:
    """It gets the graph of this release, and keeps network and facts."""
    out, again = checkpoint.with_name("mine.onnx"), checkpoint.with_name("again.onnx")
    for source, target in ((checkpoint, out), (out, again)):
        assert main(["onnx", str(source), "-o", str(target), "--cases", "1"]) == 0
    first, second = (load_model(path) for path in (out, again))
    assert first.graph.SerializeToString() == second.graph.SerializeToString()
    assert Model.load(again).metadata == Model.load(out).metadata


def test_leads_may_come_in_the_order_of_the_training(checkpoint: Path, tmp_path: Path) -> None:
    """The same weights with another lead order are another function, by just that order."""
    order = [*LEADS[6:], *LEADS[:6]]
    text = TOML + f"[ecg]\nleads = {order}\n".replace("'", '"')
    checkpoint.with_suffix(".toml").write_text(text, encoding="utf-8")
    turned = load_described(checkpoint).net
    checkpoint.with_suffix(".toml").write_text(TOML, encoding="utf-8")
    plain = load_described(checkpoint).net
    beat = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (12, BEAT_SAMPLES)))
    rows = [LEADS.index(lead) for lead in order]
    image = torch.rand(3, 64, 64), torch.tensor([1.5, 1.5]), torch.linspace(0, 1, 3)
    rest = torch.tensor([0.0]), torch.tensor([1.0])
    with torch.no_grad():
        ours = turned(*image, beat.float(), *rest)
        theirs = plain(*image, beat.float()[rows], *rest)
    assert torch.equal(ours[5], theirs[5])
    assert not torch.equal(ours[5], plain(*image, beat.float(), *rest)[5])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fine_widths = [8, 8, 12]", "fine_widths = [8, 8, 16]", r"tensor image\.unet\.down\.2"),
        ("fine_widths = [8, 8, 12]", "fine_widths = [8, 8, 12, 16]", r"no tensor image\.unet"),
        ("fine_widths = [8, 8, 12]", "fine_widths = [8, 8]", r"a tensor image\.unet"),
        ("crop_spacing_mm", "crop_spacing", "unknown entry"),
        ('name = "mine"', "", "no entry name"),
        ('name = "mine"', "name = 4", "name is of a wrong type"),
        ("tau_days = 90", "tau_days = -1", "tau_days must be a positive number"),
        ('"Blut", ', "", "classes must be 5 names"),
        ("[network]", '[ecg]\nleads = ["I"]\n[network]', r"ecg\.leads must be the twelve"),
        ("version", "ver sion", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_named(checkpoint: Path, old: str, new: str, words: str) -> None:
    rewrite(checkpoint, old, new)
    with pytest.raises(ModelError, match=words):
        load_described(checkpoint)


def test_a_missing_time_constant_is_asked_for(checkpoint: Path) -> None:
    state = ScarNet(SMALL).state_dict()
    del state["taff.log_tau"]
    torch.save(state, checkpoint)
    assert load_described(checkpoint).net.taff.tau_days == pytest.approx(90.0)
    rewrite(checkpoint, "tau_days = 90", "")
    with pytest.raises(ModelError, match="Give tau_days"):
        load_described(checkpoint)


class Surprise:
    def __reduce__(self) -> tuple:
        return (print, ("this must never run",))


@pytest.mark.parametrize("content", [Surprise(), 3, {"epoch": 2}, [1]])
def test_anything_but_tensors_is_refused(checkpoint: Path, content: object, capsys) -> None:
    torch.save(content, checkpoint)
    with pytest.raises(ModelError, match=r"more than tensors|no state dict"):
        load_described(checkpoint)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "extras"), [("nnunet", "[export,nnunet]"), ("verify", "[export]")]
)
def test_what_is_missing_is_named_with_the_extras_that_bring_it(
    command: str, extras: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def absent(_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(commands, command, absent)
    options = ["-o", "x.onnx", "--classes", "c.toml"] if command == "nnunet" else []
    assert main([command, "folder", *options]) == 2
    said = capsys.readouterr().err
    assert "torch is not installed" in said and extras in said
