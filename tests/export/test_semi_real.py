"""Semi-real patients: the scar lies where the real ECG says, and folds never mix."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from scarseg_export.evaluation.testset import SEMI_REAL, load_case, store_ecgs, stored_case
from scarseg_export.train.ecg import segment_burden_of
from scarseg_export.train.infarct_codes import CORE_FLANK
from scarseg_export.train.paired import real_beats
from scarseg_export.train.real_ecgs import RealEcgs
from scarseg_export.train.semi_real import EcgClasses, case_maker, centre_of, pair
from scarseg_runtime.atlas import segment_at

KINDS = ("infarct", "normal", "other")


@pytest.fixture(scope="module")
def ecgs() -> RealEcgs:
    """Sixty records, told apart by the value that fills their beats."""
    count = 60
    kind = np.array([KINDS[i % 3] for i in range(count)])
    codes = np.array(["ASMI", "IMI", "LMI"])[np.arange(count) // 3 % 3]
    numbers = np.arange(count)
    beats = np.broadcast_to(numbers[:, None, None], (count, 12, 512)).astype(np.float32)
    return RealEcgs(
        beats=beats / 100, target=np.zeros((count, 17), np.float32),
        mask=np.ones((count, 17), bool), kind=kind,
        codes=np.where(kind == "infarct", codes, ""), fold=1 + numbers % 10,
        device=np.full(count, "one"), ecg_id=numbers, patient_id=numbers,
    )  # fmt: skip


@pytest.mark.parametrize("code", sorted(CORE_FLANK))
def test_the_middle_of_core_segments_lies_in_or_between_them(code: str) -> None:
    core, flank = CORE_FLANK[code]
    angle, level = centre_of(core)
    assert int(segment_at(angle, level)) in (*core, *flank)


def test_silent_infarcts_have_an_ecg_without_one(ecgs: RealEcgs) -> None:
    classes = EcgClasses.of(ecgs)
    pairings = [pair(classes, seed) for seed in range(300)]
    silent = [p for p in pairings if p.silent]
    ill = sum(p.case.scar.kind != "none" for p in pairings)
    assert {classes.kind[p.own] for p in silent} == {"normal"}
    assert {p.case.scar.kind for p in silent} == {"ischaemic"}
    assert len(silent) / ill == pytest.approx(0.25, abs=0.08)


def test_scar_is_where_the_infarct_of_the_ecg_is(ecgs: RealEcgs) -> None:
    """Summed over many hearts, core segments hold the most scar of each code."""
    classes = EcgClasses.of(ecgs)
    burden: dict[str, list[np.ndarray]] = {}
    for seed in range(150):
        pairing = pair(classes, seed)
        if classes.kind[pairing.own] == "infarct":
            code = str(classes.codes[pairing.own])
            burden.setdefault(code, []).append(segment_burden_of(pairing.case))
    assert set(burden) == {"ASMI", "IMI", "LMI"}
    for code, found in burden.items():
        core, flank = (np.array(part) - 1 for part in CORE_FLANK[code])
        mean = np.mean(found, axis=0)
        rest = np.setdiff1d(np.arange(17), np.concatenate([core, flank]))
        assert mean[core].mean() > 2.5 * mean[rest].mean()


def test_hearts_without_scar_have_no_infarct_ecg_and_some_infarcts_a_normal_one(
    ecgs: RealEcgs,
) -> None:
    classes = EcgClasses.of(ecgs)
    found = [pair(classes, seed) for seed in range(400)]
    scarred = np.array([p.case.scar.kind != "none" for p in found])
    own = classes.kind[[p.own for p in found]]
    assert not (own[~scarred] == "infarct").any()
    silent = (own[scarred] == "normal").mean()
    assert 0.15 < silent < 0.35 and (own[scarred] != "other").all()
    assert 0.3 < (~scarred).mean() < 0.5
    assert (own[~scarred] == "other").any()


def test_a_patient_follows_from_seed_and_records_in_any_process(ecgs: RealEcgs) -> None:
    make = pickle.loads(pickle.dumps(case_maker(ecgs)))
    assert len(pickle.dumps(case_maker(ecgs))) < 20_000  # classes, not beats
    first, second = pair(EcgClasses.of(ecgs), 7), make(7)
    assert np.array_equal(first.case.scar.outer, second.scar.outer)
    own, stale = real_beats(ecgs, 7)
    assert float(own[0, 0]) == pytest.approx(first.own / 100)
    assert float(stale[0, 0]) == pytest.approx(first.stale / 100)


def test_test_patients_are_kept_with_their_ecgs(ecgs: RealEcgs, tmp_path) -> None:
    test = ecgs.test
    assert set(test.fold) == {10}
    store_ecgs(tmp_path, test)
    drawn, again = stored_case(tmp_path, SEMI_REAL, 3), stored_case(tmp_path, SEMI_REAL, 3)
    assert np.array_equal(drawn.stack.pixels, again.stack.pixels)
    assert np.array_equal(drawn.fresh_beat, load_case(SEMI_REAL, 3, test).fresh_beat)
    shown = {round(float(beat[0, 0]) * 100) for beat in (drawn.fresh_beat, drawn.other_beat)}
    assert shown <= set(test.ecg_id.tolist())
