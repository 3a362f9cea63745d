"""Real ECGs: PTB-XL's layouts and codes, what the product would hear, and folds kept apart."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scarseg_export.cli import main
from scarseg_export.deploy.described import training_statement
from scarseg_export.evaluation.ecg import score_table
from scarseg_export.net.ecg_encoder import EcgEncoder
from scarseg_export.train import real_ecgs as real_module
from scarseg_export.train.ecg import mix_real, train_ecg
from scarseg_export.train.ecg_calibration import (
    belief_logits,
    calibrate,
    reliability,
    reliability_of,
)
from scarseg_export.train.ecg_distort import distort
from scarseg_export.train.infarct_codes import CORE_FLANK, infarct_codes, kind_of, target_of
from scarseg_export.train.ptbxl import Entry, listen, read_entries, read_record
from scarseg_export.train.real_ecgs import RealEcgs, real_ecgs
from scarseg_export.train.recipe import Recipe
from scarseg_export.twin.cohort import Case, beats_of, sample_case
from scarseg_export.twin.write import rhythm_strip
from scarseg_runtime.contract import LEADS
from scarseg_runtime.errors import UsageError
from scarseg_runtime.preprocess import mean_beat

CLASSES = {"NORM": "NORM", "IMI": "MI", "ASMI": "MI", "INJAS": "MI", "CLBBB": "CD", "LVH": "HYP"}
STATEMENTS = (
    {"NORM": 100.0, "SR": 0.0}, {"IMI": 100.0, "SR": 0.0}, {"ASMI": 50.0, "LVH": 100.0},
    {"LVH": 100.0}, {"IMI": 15.0}, {"INJAS": 100.0},
)  # fmt: skip
"""Of the records that the tests write, one after the other."""
KINDS = ("normal", "infarct", "infarct", "other", None, None)


def narrow_case(seed: int) -> Case:
    """A simulated patient without bundle-branch block."""
    while (case := sample_case(seed)).conduction.bundle != "normal":
        seed += 1000
    return case


def write_record(path: Path, strip: np.ndarray) -> None:
    counts = np.rint(strip * 1000.0).astype("<i2")
    path.parent.mkdir(parents=True, exist_ok=True)
    counts.tofile(path.with_suffix(".dat"))
    lines = [f"{path.name} 12 500 {len(counts)}"]
    lines += [f"{path.name}.dat 16 1000.0(0)/mV 16 0 0 0 0 {lead.upper()}" for lead in LEADS]
    path.with_suffix(".hea").write_text("\n".join(lines) + "\n", encoding="ascii")


def write_ptbxl(folder: Path, strips: list[np.ndarray], *, public: bool) -> Path:
    """A PTB-XL of so many records: folds 1 to 10 in turn, each patient of its own."""
    rows = []
    for index, strip in enumerate(strips):
        number = f"{index + 1:05d}"
        name = f"records500/00000/{number}_hr" if public else f"records/{number}"
        write_record(folder / name, strip)
        codes = STATEMENTS[index % len(STATEMENTS)]
        rows.append(
            {
                "ecg_id": index + 1, "patient_id": f"{1000 + index}.0" if public else 1000 + index,
                "strat_fold": index % 10 + 1, "device": "CS-12   E",
                "scp_codes": str(codes) if public else json.dumps(codes),
                "filename_hr" if public else "record": name,
            }
        )  # fmt: skip
    table = folder / ("ptbxl_database.csv" if public else "records.csv")
    mark = "" if public else "-sig"  # as an editor saves it
    with table.open("w", encoding=f"utf-8{mark}", newline="") as opened:
        writer = csv.DictWriter(opened, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    lines = [",description,diagnostic_class"]
    lines += [f"{code},some words,{name}" for code, name in CLASSES.items()] + ["SR,rhythm,"]
    (folder / "scp_statements.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def strips() -> list[np.ndarray]:
    return [rhythm_strip(narrow_case(seed), stale=False) for seed in range(20)]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory, strips: list[np.ndarray]) -> Path:
    return write_ptbxl(tmp_path_factory.mktemp("public"), strips, public=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ecgs(public: Path, cache: Path) -> RealEcgs:
    return real_ecgs(public, cache)


def made_up(count: int = 120, seed: int = 0) -> RealEcgs:
    """Random beats, half of them infarcts that differ, in folds 1 to 10."""
    rng = np.random.default_rng(seed)
    beats = rng.normal(0.0, 0.2, (count, 12, 512)).astype(np.float32)
    kind = np.array(["infarct", "normal", "other"])[np.arange(count) % 3]
    beats[kind == "infarct", :, 180:200] -= 0.5
    target, mask = np.zeros((count, 17), np.float32), np.ones((count, 17), bool)
    target[kind == "infarct"], mask[kind == "infarct"] = target_of({"IMI": 100.0})
    return RealEcgs(
        beats, target, mask, kind, np.where(kind == "infarct", "IMI", ""),
        np.arange(count) // 3 % 10 + 1, np.full(count, "a"), np.arange(count), np.arange(count),
    )  # fmt: skip


def test_a_code_counts_by_its_likelihood() -> None:
    assert infarct_codes({"IMI": 100.0, "ASMI": 50.0, "AMI": 0.0, "LMI": 35.0, "SR": 0.0}) == (
        "ASMI", "AMI", "IMI",
    )  # fmt: skip
    assert [kind_of(codes, CLASSES) for codes in STATEMENTS] == list(KINDS)
    assert kind_of({"NORM": 80.0, "LVH": 0.0}, CLASSES) == "other"


def test_core_is_taught_flank_is_not_and_the_rest_is_free() -> None:
    for code, (core, flank) in CORE_FLANK.items():
        assert not set(core) & set(flank)
        target, told = target_of({code: 100.0})
        assert target[np.array(core) - 1] == pytest.approx(0.6)
        assert not told[np.array(flank) - 1].any()
        assert told.sum() == 17 - len(flank) and (target > 0).sum() == len(core)
    target, told = target_of({"IMI": 50.0, "ASMI": 0.0})
    assert target[[3, 9, 14]] == pytest.approx(0.48) and target[[6, 7]] == pytest.approx(0.6)
    assert told[14]  # of ASMI's flank, but IMI's core
    target, told = target_of({"NORM": 100.0})
    assert told.all() and not target.any()


def test_both_layouts_give_the_same_beats(
    ecgs: RealEcgs, strips: list[np.ndarray], tmp_path: Path
) -> None:
    entries = read_entries(write_ptbxl(tmp_path, strips[:8], public=False))
    assert [entry.ecg_id for entry in entries] == [1, 2, 3, 4, 7, 8]
    for entry in entries:
        heard = listen(entry)
        if heard is None:
            assert entry.ecg_id not in ecgs.ecg_id
            continue
        (index,) = np.flatnonzero(ecgs.ecg_id == entry.ecg_id)
        assert np.array_equal(heard.beat_mv, ecgs.beats[index])
        assert ecgs.kind[index] == entry.kind and ecgs.fold[index] == entry.fold
        assert ecgs.patient_id[index] == entry.patient_id == 999 + entry.ecg_id


def test_a_beat_is_the_one_that_the_product_makes(ecgs: RealEcgs, strips: list) -> None:
    index = 0
    strip = np.rint(strips[ecgs.ecg_id[index] - 1] * 1000.0) / 1000.0
    assert np.array_equal(mean_beat(strip, 500.0, LEADS).beat_mv, ecgs.beats[index])


def test_what_the_product_would_not_listen_to_is_left_out(public: Path, tmp_path: Path) -> None:
    seed = 0
    while (case := sample_case(seed)).conduction.bundle != "LBBB":
        seed += 1
    write_record(tmp_path / "x", rhythm_strip(case, stale=False))
    known = read_entries(public)[0]
    assert listen(replace(known, path=tmp_path / "x")) is None
    signals = rhythm_strip(narrow_case(0), stale=False)
    write_record(tmp_path / "y", np.where(np.arange(12) == 7, 0.0, signals))
    assert listen(replace(known, path=tmp_path / "y")) is None


def test_records_are_kept_by_their_content(
    public: Path, cache: Path, ecgs: RealEcgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pool() -> None:
        raise AssertionError("listened again")

    monkeypatch.setattr(real_module, "worker_pool", no_pool)
    assert np.array_equal(real_ecgs(public, cache).beats, ecgs.beats)
    table = public / "ptbxl_database.csv"
    before = table.read_bytes()
    try:
        table.write_bytes(before.replace(b"CS-12   E", b"AT-6     6"))
        with pytest.raises(AssertionError, match="listened again"):
            real_ecgs(public, cache)
    finally:
        table.write_bytes(before)


def test_no_fold_is_in_two_parts(ecgs: RealEcgs) -> None:
    parts = [ecgs.training, ecgs.calibration, ecgs.test]
    assert [sorted({int(fold) for fold in part.fold}) for part in parts[1:]] == [[9], [10]]
    assert set(parts[0].fold.tolist()) <= set(range(1, 9))
    assert sum(len(part) for part in parts) == len(ecgs)
    patients = [set(part.patient_id.tolist()) for part in parts]
    assert not (patients[0] & patients[1] or patients[0] & patients[2] or patients[1] & patients[2])


def test_a_patient_in_two_folds_is_refused(strips: list[np.ndarray], tmp_path: Path) -> None:
    folder = write_ptbxl(tmp_path, strips[:4], public=False)
    table = folder / "records.csv"
    table.write_text(table.read_text().replace("1001", "1000"))
    with pytest.raises(UsageError, match="two folds"):
        read_entries(folder)


def toy_recipe(**changes: object) -> Recipe:
    return replace(Recipe(), ecg_patients=300, ecg_steps=2, ecg_real_steps=3, **changes)


def test_folds_9_and_10_move_no_weight(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other records in fold 10 the encoder is the same; fold 9 moves scale and offset of the
    belief alone."""
    beats = beats_of([sample_case(seed) for seed in range(40)], np.zeros(40, bool))
    run = tmp_path_factory.mktemp("folds")
    twin = (np.tile(beats, (8, 1, 1)), np.zeros((320, 17), "f4"), np.full((320, 2), 30.0, "f4"))
    for name, values in zip(("beats", "burdens", "sizes"), twin, strict=True):
        np.save(run / f"{name}.npy", values)
    known = made_up()
    states = []
    for changed in (None, 10, 9):
        other = known.beats.copy()
        if changed:
            other[known.fold == changed] *= -3.0
        ecgs = replace(known, beats=other)
        monkeypatch.setattr("scarseg_export.train.ecg.real_ecgs", lambda *_, e=ecgs: e)
        states.append(train_ecg(run, toy_recipe(), run).state_dict())
    same, test, calibration = states
    assert all(torch.equal(same[name], test[name]) for name in same)
    moved = {name for name in same if not torch.equal(same[name], calibration[name])}
    assert moved <= {"segments.weight", "segments.bias"}


def test_untold_segments_and_the_size_of_real_hearts_teach_nothing(tmp_path: Path) -> None:
    twin = tuple(torch.zeros(64, *shape) + 1.0 for shape in ((12, 512), (17,), (2,)))
    known = made_up(60)
    upset = known.target.copy()
    upset[~known.mask] = 1.0
    states = []
    for ecgs in (known, replace(known, target=upset)):
        torch.manual_seed(0)
        encoder = EcgEncoder()
        folder = tmp_path / str(len(states))
        folder.mkdir()
        mix_real(encoder, twin, 64, ecgs, toy_recipe(), folder / "resume.pt")
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_calibration_is_folded_into_the_last_layer() -> None:
    torch.manual_seed(0)
    encoder, ecgs = EcgEncoder(), made_up()
    with torch.no_grad():
        encoder.segments.weight.mul_(40.0)  # far too sure
    before, error = belief_logits(encoder, ecgs.beats), reliability_of(encoder, ecgs)["ece"]
    factor, offset = calibrate(encoder, ecgs)
    after = belief_logits(encoder, ecgs.beats)
    assert torch.allclose(after, before * factor + offset, atol=1e-3)
    assert reliability_of(encoder, ecgs)["ece"] < min(error, 0.05)


def test_reliability_counts_the_distance_of_each_bin() -> None:
    belief = np.array([0.05, 0.05, 0.95, 0.95])
    rows, error = reliability(belief, np.array([0.0, 0.0, 1.0, 0.0]))
    assert [(row.count, row.truth) for row in rows] == [(2, 0.0), (2, 0.5)]
    assert error == pytest.approx(0.5 * 0.05 + 0.5 * 0.45)


def test_distortion_follows_from_its_seed_and_keeps_limb_leads_together() -> None:
    beats = torch.from_numpy(beats_of([narrow_case(s) for s in range(6)], np.zeros(6, bool)))
    copies = []
    for _ in range(2):
        torch.manual_seed(3)
        copies.append(distort(beats))
    assert torch.equal(*copies)
    moved = copies[0]
    assert moved.shape == beats.shape and torch.isfinite(moved).all()
    one, two, three = moved[:, 0], moved[:, 1], moved[:, 2]
    assert (two - one - three).abs().mean() < 0.15  # noise, drift and gains of single leads
    for before, after in zip(beats, moved, strict=True):
        assert np.corrcoef(before[6:, 150:400].ravel(), after[6:, 150:400].ravel())[0, 1] > 0.5


def test_the_tables_of_the_test_fold() -> None:
    table = score_table(EcgEncoder(), made_up())
    assert (table["infarcts"], table["normals"], table["others"]) == (40, 40, 40)
    assert 0.0 <= table["auroc_low"] <= table["auroc"] <= table["auroc_high"] <= 1.0
    assert table["auroc_one_recorder"]["models"]["a"]["infarcts"] == 40
    assert table["auroc_one_recorder"]["mean"] == pytest.approx(table["auroc"])


def test_territories_and_segments_of_an_infarct_are_told() -> None:
    ecgs = made_up(6)
    assert ecgs.territories(0) == ("RCA",)
    assert ecgs.territories(1) == ()


@pytest.mark.parametrize("content", [None, "no,such,columns\n1,2,3\n"])
def test_a_wrong_folder_is_one_clear_error(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture
) -> None:
    if content:
        (tmp_path / "records").mkdir()
        (tmp_path / "records.csv").write_text(content)
        (tmp_path / "scp_statements.csv").write_text(",diagnostic_class\nNORM,NORM\n")
    arguments = ["train", "--out", str(tmp_path / "run"), "--ecg", str(tmp_path)]
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "ECG" in told and "Give the folder of PTB-XL" in told and len(told.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_record_that_is_cut_short_or_missing_is_refused(public: Path, tmp_path: Path) -> None:
    path = read_entries(public)[0].path
    copy = tmp_path / path.name
    copy.with_suffix(".hea").write_bytes(path.with_suffix(".hea").read_bytes())
    with pytest.raises(UsageError, match="missing"):
        read_record(copy)
    copy.with_suffix(".dat").write_bytes(path.with_suffix(".dat").read_bytes()[:-24])
    with pytest.raises(UsageError, match="understood"):
        read_record(copy)


def test_the_statement_names_ptbxl_where_it_was_used() -> None:
    assert "10.13026/kfzx-aw45" in training_statement(Recipe().to_dict())
    without = training_statement(replace(Recipe(), ecg_real_steps=0).to_dict())
    assert "PTB-XL" not in without
    assert training_statement({"cine_share": 0.4}) == without  # of a model made before real ECGs


def ptbxl(shared_data: Path) -> Path:
    return shared_data / "ptbxl"


def test_ptbxl_is_read_as_its_readme_says(shared_data: Path) -> None:
    entries = {entry.ecg_id: entry for entry in read_entries(ptbxl(shared_data))}
    with (ptbxl(shared_data) / "records.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    for row in rows:
        entry = entries.get(int(row["ecg_id"]))
        if row["mi"] == "1":
            target, told = target_of(entry.codes)
            assert entry.kind == "infarct"
            assert sorted(infarct_codes(entry.codes)) == sorted(row["mi_codes"].split())
            segments = np.arange(1, 18)
            assert segments[target > 0].tolist() == sorted(map(int, row["aha_core"].split()))
            assert segments[~told].tolist() == sorted(map(int, row["aha_flank"].split()))
        elif row["mi_codes_doubtful"] or row["injury_codes"]:
            assert entry is None
        else:
            assert entry.kind == ("normal" if row["norm_only"] == "1" else "other")
    assert sum(entry.kind == "infarct" for entry in entries.values()) == 472


def test_ptbxl_records_are_read_as_wfdb_reads_them(shared_data: Path) -> None:
    import wfdb

    entries: list[Entry] = read_entries(ptbxl(shared_data))
    for entry in entries[:3]:
        signals, rate_hz, names = read_record(entry.path)
        record = wfdb.rdrecord(str(entry.path))
        assert np.allclose(signals, record.p_signal, atol=1e-9)
        assert (rate_hz, names) == (record.fs, record.sig_name)
    assert listen(entries[0]) is not None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_header_may_have_been_edited(public: Path, tmp_path: Path, encoding: str) -> None:
    record = next(public.rglob("*.hea")).with_suffix("")
    copy = tmp_path / record.name
    text = record.with_suffix(".hea").read_text("ascii").replace("\n", "\r\n")
    copy.with_suffix(".hea").write_bytes(text.encode(encoding))
    copy.with_suffix(".dat").write_bytes(record.with_suffix(".dat").read_bytes())
    assert (read_record(copy)[0] == read_record(record)[0]).all()
