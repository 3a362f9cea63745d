"""Folds, stacks, start and loop of a training on own patients, each by itself."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_export.deploy.onnx_export import export_onnx
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.losses import UNLABELLED_PIXEL
from scarseg_export.train.paired import Patient
from scarseg_export.train.recipe import recipe_of
from scarseg_export.tune.early import Plan, run_until_best
from scarseg_export.tune.folds import ALL, folds_of
from scarseg_export.tune.pairs import OwnPair
from scarseg_export.tune.settings import load_settings
from scarseg_export.tune.stacks import SIZE, heart_centres, own_buffer, own_source
from scarseg_export.tune.start import Start, start_from
from scarseg_export.tune.tau import estimate_tau
from scarseg_export.twin.cohort import sample_case
from scarseg_infer.models import model_path
from scarseg_runtime.contract import BEAT_SAMPLES, Label
from scarseg_runtime.errors import ModelError, UsageError
from scarseg_runtime.model import Model
from scarseg_runtime.preprocess import slice_levels
from scarseg_runtime.taff import decide

SMALL = {
    "cine_share": 0.0, "ecg_real_steps": 0,
    "network": {"fine_widths": [8, 8, 12, 12, 16], "localiser_widths": [4, 8, 8, 8, 8]},
}  # fmt: skip


def a_patient(row: int, group: str = "", scar: bool = True, split: str = "") -> OwnPatient:
    """A simulated heart that does not lie in the middle of its image."""
    stack = sample_case(row).image(100 + row % 3, 2.0, 20.0, 5 + row % 2)
    labels = np.where(stack.labels == Label.SCAR, Label.VIABLE_MYOCARDIUM, stack.labels)
    if scar:
        wall = np.argwhere(labels == Label.VIABLE_MYOCARDIUM)
        labels[tuple(wall[:60].T)] = Label.SCAR
    return OwnPatient(
        str(row), row, group or f"row {row}", split, 1.0, stack.pixels, labels.astype(np.uint8),
        (2.0, 2.0), stack.heights_mm, np.full(len(labels), 8.0), True, True, True, True,
        None, None, False, "",
    )  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=30, max_size=60),
    st.integers(2, 5),
    st.integers(0, 99),
)
@settings(max_examples=30)
def test_no_group_is_in_two_parts_and_everybody_is_tested_once(
    drawn: list[tuple[int, bool]], count: int, seed: int
) -> None:
    class Known:
        def __init__(self, row: int, group: int, scar: bool) -> None:
            self.row, self.group, self.has_scar, self.split = row, str(group), scar, ""

    patients = [Known(row, group, scar) for row, (group, scar) in enumerate(drawn, start=1)]
    if len({p.group for p in patients}) < 6:
        return
    group_of = {p.row: p.group for p in patients}
    folds = folds_of(patients, count, 0.125, seed)  # type: ignore[arg-type]
    assert [fold.name for fold in folds] == [*map(str, range(count)), ALL]
    for fold in folds:
        parts = [{group_of[row] for row in part}
                 for part in (fold.train, fold.validation, fold.test)]  # fmt: skip
        assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]
        assert sum(map(len, (fold.train, fold.validation, fold.test))) == len(patients)
        assert fold.train
        assert fold.validation
    tested = sorted(row for fold in folds for row in fold.test)
    assert tested == sorted(group_of)
    assert folds == folds_of(patients, count, 0.125, seed)  # type: ignore[arg-type]


@given(st.integers(4, 60), st.integers(4, 60), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=40)
def test_every_part_has_hearts_with_scar_and_without(
    ill: int, healthy: int, count: int, seed: int
) -> None:
    """A training that stops by scar-free hearts learns to call no scar at all."""
    patients = [
        SimpleNamespace(row=row, group=str(row), has_scar=row <= ill, split="")
        for row in range(1, ill + healthy + 1)
    ]
    folds = folds_of(patients, count, 0.125, seed)  # type: ignore[arg-type]
    tested = [sum(row <= ill for row in fold.test) for fold in folds[:-1]]
    assert max(tested) - min(tested) <= 1
    for fold in folds:
        for part in (fold.train, fold.validation):
            assert {row <= ill for row in part} == {True, False}
        scarred = [sum(row <= ill for row in part) for part in (fold.train, fold.validation)]
        assert abs(scarred[1] - 0.125 * sum(scarred)) <= 1


def test_splits_of_the_table_are_kept() -> None:
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"]
    patients = [a_patient(row, split=split) for row, split in enumerate(splits, start=1)]
    (fold,) = folds_of(patients, 5, 0.1, 0)
    assert (fold.train, fold.validation, fold.test) == ((1, 2, 3, 4), (5, 6), (7,))
    with pytest.raises(UsageError, match="row 8 has no split"):
        folds_of([*patients, a_patient(8)], 5, 0.1, 0)


def test_splits_that_would_unlearn_scar_are_refused() -> None:
    splits = ["train"] * 4 + ["validation"] * 2
    patients = [
        a_patient(row, split=split, scar=row < 5) for row, split in enumerate(splits, start=1)
    ]
    with pytest.raises(UsageError, match="has scar"):
        folds_of(patients, 5, 0.1, 0)


def test_too_few_groups_for_the_folds() -> None:
    with pytest.raises(UsageError, match="1 groups"):
        folds_of([a_patient(1, "x"), a_patient(2, "x")], 5, 0.1, 0)


@pytest.mark.parametrize("text", ["[", "3", '{"foldz": 3}', '{"recipe": {"sead": 1}}',
                                  '{"twin_share": 1.0}', '{"folds": 1}'])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UsageError):
        load_settings(tmp_path / "r.json")


def test_stacks_hold_the_heart_in_their_middle_with_its_labels() -> None:
    net = ScarNet(recipe_of(SMALL).network)
    patients = [a_patient(1), a_patient(2)]
    buffer = own_buffer(patients, net.localiser)
    assert buffer.pixels.shape == (2, 6, SIZE, SIZE)
    assert buffer.pixels.max() < 2**14
    for index, patient in enumerate(patients):
        spacing = float(buffer.spacing_mm[index])
        count = len(patient.pixels)
        for value in (Label.LV_CAVITY, Label.SCAR):
            before = (patient.labels == value).sum() * 4.0
            after = (buffer.labels[index, :count] == value).sum() * spacing**2
            assert after == pytest.approx(before, rel=0.1)
        lv = np.argwhere(np.isin(buffer.labels[index, :count], (1, 2, 3)))
        assert np.abs(lv[:, 1:].mean(0) - (SIZE - 1) / 2).max() * spacing < 6.0
        assert np.abs(buffer.centres_mm[index, :count].mean(0)).max() < 1e-3
        assert np.abs(heart_centres(patient, net.localiser).mean(0)).max() > 1.0


def test_slices_that_teach_nothing_are_not_drawn() -> None:
    net = ScarNet(recipe_of(SMALL).network)
    patient = a_patient(1)
    patient.labels[2:] = UNLABELLED_PIXEL
    source = own_source(
        [patient, a_patient(2)], net.localiser, net.config, 1.0, torch.device("cpu")
    )
    chances = np.diff(source.slices.numpy(), prepend=0.0).reshape(2, 6)
    assert (chances[0, :2] > 0).all()
    assert (chances[0, 2:] == 0).all()
    assert (chances[1, :5] > 0).all()


def a_study() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A simulated heart, levels and a beat of noise. Not pixels of noise: in these the localiser's
    looks would multiply every rounding."""
    rng = np.random.default_rng(1)
    lge = sample_case(3, scar_free=0.0).image(110, 1.4, 5.0, slices=5).pixels[:, :96]
    beat = rng.normal(0, 0.3, (12, BEAT_SAMPLES)).astype(np.float32)
    return lge, slice_levels(np.arange(5)), beat


def assert_step_0_gives_the_answers(path: Path, served: Path, kept: Path) -> Start:
    """A training on ``path`` begins with a network that computes what the model file ``served``
    computes, also from the checkpoint ``kept`` that is written of it."""
    lge, levels, beat = a_study()
    answer = Model.load(served, provider="cpu").run(
        lge, (1.5, 1.3), levels, beat, decide(20.0, ecg_given=True)
    )
    tensors = [torch.from_numpy(np.asarray(v, np.float32)) for v in
               (lge, (1.5, 1.3), levels, beat, [20.0], [1.0])]  # fmt: skip
    start = start_from(path)
    with torch.no_grad():
        found = start.net(*tensors)
    # An untrained localiser sees an RV everywhere: how the crop is turned, and so where its
    # edge lies, hangs on rounding.
    assert (answer.labels == found[0].numpy()).mean() >= 0.995
    assert np.abs(answer.scar_probability - found[1].numpy()).max() < 1e-2
    assert start.folded == (path.suffix == ".onnx")
    again = Checkpoint(start.net, start.ablations, start.recipe, start.threshold, {}, start.folded)
    save_checkpoint(kept, again)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(kept).net(*tensors)[1], found[1])
    return start


def test_step_0_from_the_shipped_model_gives_its_answers(tmp_path: Path) -> None:
    with model_path(None) as shipped:
        assert_step_0_gives_the_answers(shipped, shipped, tmp_path / "kept.pt")
    with pytest.raises(ModelError):
        start_from(tmp_path / "nowhere.onnx")


@pytest.mark.slow
def test_step_0_from_a_model_file_gives_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in the file have BatchNorm folded; what is trained on must be what is shipped."""
    # The table of all providers is not what is asked here.
    monkeypatch.setattr("scarseg_export.deploy.onnx_export.verify", lambda *_, **__: None)
    torch.manual_seed(0)
    net = ScarNet(recipe_of(SMALL).network)
    for module in net.modules():  # running statistics as after a training
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
    net.eval()
    checkpoint = Checkpoint(net, Ablations(net).eval(), recipe_of(SMALL).to_dict(), 0.7)
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    export_onnx(tmp_path / "model.pt", tmp_path / "model.onnx", min_scar_ml=0.2, cases=1)
    for path in ("model.onnx", "model.pt"):
        start = assert_step_0_gives_the_answers(
            tmp_path / path, tmp_path / "model.onnx", tmp_path / "kept.pt"
        )
        assert start.threshold == pytest.approx(0.7)


def test_training_stops_and_keeps_the_best(tmp_path: Path) -> None:
    """A weight that is driven past its optimum on the validation part."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.0)
    plan = Plan("toy", 400, 5e-2, 0, 10, 3)

    def loss_of(step: int) -> tuple[torch.Tensor, dict[str, str]]:
        return (model.weight - 5.0).pow(2).sum(), {}

    def validation() -> float:
        return abs(float(model.weight.detach()) - 1.0)

    history = run_until_best(model, plan, loss_of, validation, tmp_path / "r.pt")
    assert len(history) < 41
    assert history[0] == 1.0
    assert validation() == min(history) < 0.3
    again = torch.nn.Linear(1, 1, bias=False)
    assert run_until_best(again, plan, loss_of, validation, tmp_path / "r.pt") == history
    assert torch.equal(again.weight, model.weight)  # resumed at the end, best state and all


@pytest.mark.parametrize("stopped", [0, 9, 10, 27])
def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path, stopped: int) -> None:
    def train(folder: Path, stop: int | None) -> tuple[list[float], torch.Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))

        def loss_of(step: int) -> tuple[torch.Tensor, dict[str, str]]:
            if step == stop:
                raise KeyboardInterrupt
            x = torch.randn(8, 3)
            return (model(x) - x.sum(1, keepdim=True)).pow(2).mean(), {}

        def validation() -> float:
            return float((model(torch.eye(3)) - 1.0).detach().abs().sum())

        plan = Plan("toy", 40, 1e-2, 0, 10, 9)
        history = run_until_best(model, plan, loss_of, validation, folder / "r.pt")
        return history, model[0].weight.detach()

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "in parts", stopped)
    history, weight = train(tmp_path / "in parts", None)
    expected, at_once = train(tmp_path / "at once", None)
    assert history == expected
    assert torch.equal(weight, at_once)


def test_where_nothing_is_better_the_weights_stay(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    before = [p.clone() for p in model.parameters()]
    looks = iter(range(100))
    plan = Plan("toy", 100, 1e-2, 0, 10, 2)
    history = run_until_best(
        model, plan, lambda step: (model.weight.sum(), {}), lambda: float(next(looks)),
        tmp_path / "r.pt",
    )  # fmt: skip
    assert history == [0.0, 1.0, 2.0]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def pairs_with(tau: float, count: int, seed: int = 0) -> list[OwnPair]:
    """Pairs whose ECG shows the scar of the image with probability exp(−Δt/τ)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        gap = float(np.exp(rng.uniform(np.log(1.0), np.log(1000.0))))
        image, other = (_segments(rng) for _ in range(2))
        heard = image if rng.random() < np.exp(-gap / tau) else other
        belief = torch.tensor(np.where(heard, 2.5, -2.5) + rng.normal(0, 0.5, 17)).float()
        pixels = torch.arange(17).repeat_interleave(20)
        patient = Patient(
            torch.zeros(340, 1), torch.zeros(340), pixels,
            torch.tensor(image)[pixels].float(), 0.0, torch.zeros(17), torch.zeros(2),
            belief.expand(2, 4, 17), torch.zeros(2, 4, 2),
        )  # fmt: skip
        found.append(OwnPair(patient, gap, bool(image.any()), 1.0))
    return found


def _segments(rng: np.random.Generator) -> np.ndarray:
    """[17] a run of scarred segments, or none."""
    place = np.arange(17)
    return (abs(place - rng.integers(17)) < 3) & (rng.random() < 0.7)


def test_a_time_constant_is_found_where_pairs_tell_it() -> None:
    estimate = estimate_tau(pairs_with(100.0, 400))
    assert estimate.adopted
    assert estimate.low_days < 100.0 < estimate.high_days
    assert 50.0 < estimate.tau_days < 200.0


def test_a_time_constant_is_not_made_up_where_they_do_not() -> None:
    few = estimate_tau(pairs_with(100.0, 20))
    assert not few.adopted
    assert few.tau_days is None
    fresh = [pair for pair in pairs_with(100.0, 400) if pair.gap_days < 10]
    assert not estimate_tau(fresh).adopted
    deaf = pairs_with(100.0, 120)
    mute = [
        OwnPair(
            Patient(**{**vars(p.patient), "belief": torch.zeros(2, 4, 17)}), p.gap_days, True, 1.0
        )
        for p in deaf
    ]
    assert not estimate_tau(mute).adopted


def test_the_record_of_a_configuration_survives_json() -> None:
    settings_ = load_settings(None, folds=3, twin_share=0.25)
    assert json.loads(json.dumps(settings_.to_dict()))["folds"] == 3
    assert settings_.recipe.network == NetworkConfig()
