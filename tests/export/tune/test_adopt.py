"""Parts of a training that are kept, by hearts that were held out of it."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scarseg_export.net.network import ScarNet
from scarseg_export.patients.load import OwnPatient
from scarseg_export.train.checkpoint import load_checkpoint
from scarseg_export.train.fusion import Ablations
from scarseg_export.train.paired import Patient
from scarseg_export.tune import adopt, held_out, one_fold
from scarseg_export.tune.adopt import choose_fusion, choose_image, shift_scar, take
from scarseg_export.tune.folds import ALL, Fold
from scarseg_export.tune.held_out import (
    IMAGE,
    SHIFTS,
    SHIPPED,
    TRAINED,
    Heart,
    HeldOut,
    ImageEvidence,
    PairEvidence,
    image_evidence,
    keep,
    kept,
    look,
    pair_evidence,
)
from scarseg_export.tune.one_fold import Training, train_fold
from scarseg_export.tune.settings import TuneSettings
from scarseg_export.tune.start import Start
from scarseg_export.tune.statements import statements

ZERO = int(np.abs(SHIFTS).argmin())


def image_of(scar: float, *, factor: float = 1.0, before: float = 0.5) -> ImageEvidence:
    """A heart of which ``factor`` × the scar is called without a shift, all of it right as long as
    there is scar; ``before`` is the Dice that there was."""
    called = scar * factor * (1.0 + SHIFTS)
    hit = np.minimum(called, scar)
    old = before * scar, scar, 0.8
    return ImageEvidence(scar, hit.tolist(), called.tolist(), 1000.0, 0.8, old)


def pair_of(*dice: float, scar: float = 100.0) -> PairEvidence:
    """A pair with what fusion as it came, as trained, and the image alone score; the last two may
    be left out, or one."""
    names = [SHIPPED, TRAINED, IMAGE] if len(dice) == 3 else [SHIPPED, IMAGE]
    by_name = dict(zip(names, dice, strict=True))
    return PairEvidence(scar, by_name, {name: float(one > 0) for name, one in by_name.items()})


def test_as_much_scar_is_called_as_was_drawn() -> None:
    choice = choose_image([image_of(100.0, factor=0.8)] * 5)
    assert choice.adopted
    assert choice.shift == pytest.approx(0.25)
    assert choice.said["scar_dice"] == pytest.approx(1.0)
    assert choice.said["scar_dice_before"] == pytest.approx(0.5)
    assert choose_image([image_of(100.0, factor=2.0)] * 5).shift == pytest.approx(-0.5)


def test_a_shift_that_loses_dice_is_not_made() -> None:
    """Too much is called, but what less would take away is right."""
    called = 140.0 * (1.0 + SHIFTS)
    hit = np.minimum(80.0 * (1.0 + 2.0 * SHIFTS), 100.0)
    heart = ImageEvidence(100.0, hit.tolist(), called.tolist(), 1000.0, 0.8, (50.0, 100.0, 0.8))
    choice = choose_image([heart] * 5)
    assert choice.said["burden_bias_percent"] == pytest.approx([4.0, 4.0])
    assert choice.shift == 0.0


def test_a_bias_that_may_be_chance_moves_nothing() -> None:
    hearts = [image_of(scar, factor=f) for scar, f in ((100.0, 0.5), (120.0, 1.4), (90.0, 0.8))]
    choice = choose_image([*hearts, *hearts])
    assert choice.shift == 0.0
    low, high = choice.said["burden_bias_percent"]
    assert low < 0.0 < high
    assert choose_image([*hearts, *[image_of(100.0, factor=0.8)] * 40]).shift > 0.0


def test_hearts_without_scar_do_not_move_the_threshold() -> None:
    healthy = ImageEvidence(
        0.0, [0.0] * len(SHIFTS), [50.0] * len(SHIFTS), 1000.0, 0.8, (0.0, 0.0, 0.8)
    )
    hearts = [image_of(100.0, factor=0.8)] * 5
    assert choose_image([*hearts, *[healthy] * 9]).shift == choose_image(hearts).shift


def test_an_image_network_that_is_no_better_is_not_used() -> None:
    choice = choose_image([image_of(100.0, before=1.0)] * 5)
    assert not choice.adopted
    assert choice.shift == 0.0


def test_few_hearts_decide_nothing() -> None:
    few = choose_image([image_of(100.0, factor=0.5)] * (adopt.FEWEST - 1))
    assert few.adopted
    assert few.shift == 0.0
    assert "needed" in few.said["why_no_shift"]
    pairs = [pair_of(0.1, 0.9, 0.9)] * (adopt.FEWEST - 1)
    way, said = choose_fusion([*pairs, pair_of(1.0, 1.0, 1.0, scar=0.0)], [SHIPPED, TRAINED])
    assert way == SHIPPED
    assert "needed" in said["why_used"]


@pytest.mark.parametrize(
    ("dice", "way"),
    [
        ((0.5, 0.6, 0.4), TRAINED), ((0.5, 0.49, 0.4), SHIPPED), ((0.5, 0.5, 0.5), SHIPPED),
        ((0.3, 0.5, 0.4), TRAINED), ((0.5, 0.55, 0.6), IMAGE),
    ],
)  # fmt: skip
def test_the_way_to_fuse_that_holds_on_held_out_pairs(dice: tuple[float, ...], way: str) -> None:
    pairs = [pair_of(*dice)] * 5
    assert choose_fusion(pairs, [SHIPPED, TRAINED])[0] == way
    came, _, alone = dice
    only = [*pairs, *[pair_of(came, alone)] * 5]
    assert choose_fusion(only, [SHIPPED, TRAINED])[0] == (IMAGE if came < alone else SHIPPED)


@given(st.integers(4, 100), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_one_heart_alone_does_not_silence_the_ecg(count: int, fused: float, alone: float) -> None:
    others = [pair_of(0.5, 0.5)] * (count - 1)
    assert choose_fusion([*others, pair_of(fused, alone)], [SHIPPED])[0] == SHIPPED


def test_two_hearts_that_lose_as_much_silence_the_ecg() -> None:
    others = [pair_of(0.5, 0.5)] * 50
    assert choose_fusion([*others, *[pair_of(0.4, 0.5)] * 2], [SHIPPED])[0] == IMAGE


def test_false_alarms_are_weighed_against_dice() -> None:
    """Scar that is lost in many hearts must not exceed the false alarms that are spared."""
    ill = [pair_of(0.47, 0.50), pair_of(0.49, 0.51)] * 15
    silent, spared = pair_of(1.0, 1.0, scar=0.0), pair_of(1.0, 0.0, scar=0.0)
    raised = pair_of(0.0, 1.0, scar=0.0)
    assert choose_fusion([*ill, *[silent] * 10], [SHIPPED])[0] == IMAGE
    assert choose_fusion([*ill, *[silent] * 8, *[spared] * 2], [SHIPPED])[0] == SHIPPED
    gained = [pair_of(0.5, 0.45)] * 30
    assert choose_fusion([*gained, *[raised] * 3], [SHIPPED])[0] == IMAGE


def test_a_small_scar_that_is_lost_weighs_as_a_false_alarm() -> None:
    """Dice hardly sees it: better outlines elsewhere make up for it."""
    pairs = [pair_of(0.6, 0.5)] * 20
    lost, spared = pair_of(0.0, 0.1), pair_of(1.0, 0.0, scar=0.0)
    way, said = choose_fusion([*pairs, *[lost] * 3], [SHIPPED])
    assert said["dice"][SHIPPED] > said["dice"][IMAGE]
    assert said["right"][SHIPPED] < said["right"][IMAGE]
    assert way == IMAGE
    assert choose_fusion([*pairs, *[lost] * 3, *[spared] * 3], [SHIPPED])[0] == SHIPPED


def say_yes_and_no(net: ScarNet, seen: list[Heart]) -> None:
    """Shift the scar logit of an untrained network to where it calls a quarter of the first
    heart's wall."""
    shift_scar(net, -float(torch.quantile(seen[0].patient.scar, 0.75)))


@pytest.fixture
def specks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network calls nothing else, and sees wall everywhere: the clean-up, which has a
    test of its own, would leave none or all of it."""
    monkeypatch.setattr(held_out, "_as_served", lambda _, called: called)


def heart_with(scar: np.ndarray, truth: np.ndarray, gap_days: float | None = None) -> Heart:
    """A heart of two slices by its scar logits and what was drawn, [2, 12, 20] each, with a wall
    everywhere but at the edges and pixels of 0.04 mL."""
    place = np.zeros(scar.shape, bool)
    place[:, 1:11, 1:19] = True
    count = int(place.sum())
    patient = Patient(
        torch.zeros(count, 1), torch.from_numpy(scar[place]).float(),
        torch.zeros(count, dtype=torch.int64), torch.from_numpy(truth[place]).float(), 0.0,
        torch.zeros(17), torch.zeros(2), torch.zeros(2, 4, 17), torch.zeros(2, 4, 2),
    )  # fmt: skip
    return Heart(patient, gap_days, 1.0, place, np.full(2, 0.04))


def test_scar_is_counted_as_it_is_served() -> None:
    """An island of 2 mL with a dark core, and one of 0.2 mL right of it, where there is scar."""
    scar, truth = np.full((2, 12, 20), -1.0), np.zeros((2, 12, 20))
    scar[:, 3:8, 3:8] = scar[0, 4, 15:17] = 0.2
    scar[0, 5, 5] = -1.0
    truth[:, 3:8, 3:8] = truth[0, 4, 15:17] = 1.0
    heart = heart_with(scar, truth)
    (found,) = image_evidence([heart], [heart])
    assert found.scar == 52
    assert (found.hit[ZERO], found.called[ZERO]) == (50, 50)
    assert (found.hit[0], found.called[0]) == (0, 0)
    assert found.before == (50, 50, 1.0)


def test_every_copy_of_an_ecg_is_judged(net: ScarNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """One copy of two takes away what the image calls: half a false alarm, half a scar lost."""
    nothing, island = np.full((2, 12, 20), -1.0), np.zeros((2, 12, 20))
    island[:, 3:8, 3:8] = 1.0
    called = nothing + 2.0 * island
    half_there = island.copy()
    half_there[1] = 0.0
    hearts = [heart_with(called, truth, 5.0) for truth in (np.zeros_like(island), half_there)]
    hearts.append(heart_with(called, island))  # without an ECG
    ways = np.stack([called, nothing])[:, hearts[0].place] > 0
    monkeypatch.setattr(held_out, "_copies", lambda *_: ways)
    healthy, ill = pair_evidence(hearts, {TRAINED: net})
    assert (healthy.dice, healthy.right) == ({TRAINED: 0.5, IMAGE: 0.0}, {TRAINED: 0.5, IMAGE: 0.0})
    assert ill.scar == 25.0
    assert ill.right == {TRAINED: 0.5, IMAGE: 1.0}
    assert ill.dice == pytest.approx({TRAINED: 1.0 / 3.0, IMAGE: 2.0 / 3.0})


@pytest.mark.usefixtures("specks_count")
def test_hearts_are_counted_as_the_network_calls_them(
    net: ScarNet, hearts: list[OwnPatient]
) -> None:
    seen = look(net, hearts, 1)
    assert [heart.gap_days for heart in seen] == [10.0, 20.0, 30.0, 40.0, 50.0, None]
    say_yes_and_no(net, seen)
    (first, *others) = image_evidence(look(net, hearts, 1), seen)
    at = int(np.abs(SHIFTS - 0.05).argmin())
    shift_scar(net, 0.05)
    again = image_evidence(look(net, hearts, 1), None)[0]
    assert (first.hit[at], first.called[at]) == (again.hit[ZERO], again.called[ZERO])
    assert 0 < first.called[ZERO] < first.called[at] < first.wall
    assert first.scar > 0 == others[0].scar
    assert first.before is not None
    assert again.before is None


@pytest.mark.usefixtures("specks_count")
def test_image_alone_is_the_answer_of_the_image_whatever_the_ecg(
    net: ScarNet, hearts: list[OwnPatient]
) -> None:
    say_yes_and_no(net, look(net, hearts, 1))
    came, seen = copy.deepcopy(net), look(net, hearts, 1)
    with torch.no_grad():
        net.fusion.out.bias.fill_(9.0)
        net.taff.log_tau.fill_(9.0)
    pairs = pair_evidence(seen, {SHIPPED: came, TRAINED: net})
    assert len(pairs) == 5
    assert any(pair.dice[TRAINED] != pair.dice[IMAGE] for pair in pairs)
    for way in (SHIPPED, IMAGE):
        taken = copy.deepcopy(net)
        take(taken, way, came)
        assert taken.taff.tau_days == came.taff.tau_days
        after = [pair.dice["x"] for pair in pair_evidence(seen, {"x": taken})]
        # A logit just above 0 is a probability of one half: a pixel may change sides.
        assert after == pytest.approx([pair.dice[way] for pair in pairs], rel=1e-3)


@pytest.fixture
def training(
    net: ScarNet, hearts: list[OwnPatient], settings: TuneSettings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Training:  # fmt: skip
    """A run whose stages do something at once, and whose decisions need two hearts."""

    def image(net: ScarNet, *_: object, **__: object) -> dict[str, object]:
        shift_scar(net, 3.0)
        return {"trained": True}

    def fusion(net: ScarNet, *_: object, **__: object) -> dict[str, object]:
        with torch.no_grad():
            net.fusion.out.bias.fill_(-9.0)
        return {
            "fusion": {"trained": True}, "agreement": {"trained": False, "why": "few pairs"},
            "tau": {"adopted": False, "why": "few pairs"},
        }  # fmt: skip

    monkeypatch.setattr(one_fold, "tune_image", image)
    monkeypatch.setattr(one_fold, "tune_fusion", fusion)
    monkeypatch.setattr(adopt, "FEWEST", 2)
    begun = Start(net, Ablations(net).eval(), 1.0, False, "toy", "", "", {"network": {
        "fine_widths": list(net.config.fine_widths),
        "localiser_widths": list(net.config.localiser_widths),
    }}, {})  # fmt: skip
    record = {"settings": {}, "data": "", "licence": "", "digest": "0" * 8,
              "start": {"name": "toy", "training_data": "toys"}}  # fmt: skip
    by_row = {patient.row: patient for patient in hearts}
    return Training(tmp_path, by_row, settings, begun, False, torch.device("cpu"), record)


def test_a_fold_asks_its_validation_part_and_the_run_on_everybody_the_folds(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No heart that was trained on decides anything."""
    asked: list[list[int]] = []
    decided: list[tuple[int, int]] = []
    real = one_fold.look
    image, fusion = one_fold.choose_image, one_fold.choose_fusion

    def looked(net: ScarNet, patients: list[OwnPatient], seed: int) -> object:
        asked.append([patient.row for patient in patients])
        return real(net, patients, seed)

    def chosen(found: list[ImageEvidence]) -> object:
        decided.append((len(found), 0))
        return image(found)

    def fused(found: list[PairEvidence], ways: list[str]) -> object:
        decided.append((0, len(found)))
        return fusion(found, ways)

    monkeypatch.setattr(one_fold, "look", looked)
    monkeypatch.setattr(one_fold, "choose_image", chosen)
    monkeypatch.setattr(one_fold, "choose_fusion", fused)
    train_fold(training, Fold("0", (1, 2), (3, 5), (4, 6)))
    assert {row for rows in asked for row in rows} == {3, 4, 5, 6}
    assert decided == [(2, 0), (0, 2)]
    train_fold(training, Fold("1", (4, 6), (3, 5), (1, 2)))
    found = kept([training.run / "fold0", training.run / "fold1"])
    assert (len(found.image), len(found.pairs), len(found.disagreement)) == (4, 3, 3)
    decided.clear()
    train_fold(training, Fold(ALL, (1, 2, 4, 6), (3, 5), ()))
    assert decided == [(4, 0), (0, 3)]


def test_what_is_not_better_leaves_a_model_that_answers_as_before(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    no = adopt.ImageChoice(False, 0.0, {})
    came = SHIPPED, {"used": SHIPPED, "why_used": ""}
    monkeypatch.setattr(one_fold, "choose_image", lambda _: no)
    monkeypatch.setattr(one_fold, "choose_fusion", lambda *_: came)
    train_fold(training, Fold(ALL, (1, 2), (3, 5), (4,)))
    before = training.begun.net.state_dict()
    saved = load_checkpoint(training.run / "model.pt")
    after = saved.net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert saved.facts["training_data"].startswith("Nothing is used of 4 patients")


def test_evidence_survives_its_file(tmp_path: Path) -> None:
    left = HeldOut([image_of(100.0)], [pair_of(0.5, 0.6, 0.4)], [[0.1, 0.2]])
    keep(tmp_path, left)
    again = kept([tmp_path])
    assert again.pairs == left.pairs
    assert again.disagreement == left.disagreement
    assert choose_image(again.image).said == choose_image(left.image).said


def test_the_statements_say_what_is_used_and_why() -> None:
    image = {"trained": True, "adopted": True} | choose_image([image_of(100.0)] * 5).said
    pairs = [pair_of(0.5, 0.4, 0.45)] * 5
    said = {
        "image": image, "agreement": {"trained": True},
        "fusion": {"trained": True} | choose_fusion(pairs, [SHIPPED, TRAINED])[1],
        "tau": {"adopted": True, "tau_days": 30.0, "used_days": 102.0, "why": ""},
        "flag": {"threshold": 0.5, "pairs": 30, "set_on": "held-out pairs"},
    }  # fmt: skip
    assert statements(said) == [
        "image: trained (scar Dice 1.000, before 0.500; wall Dice 0.800, before 0.800; on 5 "
        "held-out hearts)",
        "scar logit: not shifted (called minus drawn: +0.0 to +0.0 % of the wall found (95 %) in 5 "
        "held-out hearts with scar)",
        "fusion: trained, but kept as it was (mean Dice and share told right against the image "
        "alone, 5 held-out pairs: as it came +0.050 ± 0.000 and +0.000 ± 0.000; trained -0.050 ± "
        "0.000 and +0.000 ± 0.000)",
        "agreement: as the fusion",
        "τ: 102 days, kept (the pairs say 30, with which fusion is no better)",
        "disagreement flag: above 0.50, from 30 held-out pairs",
    ]
    said["fusion"] |= {"used": IMAGE}
    assert "not used" in statements(said)[2]
    assert statements(said)[4] == "τ: not used, as no ECG is heard (the pairs say 30 days)"
    said["image"] |= {"adopted": False}
    assert statements(said)[0].startswith("image: trained, no better and not used")
