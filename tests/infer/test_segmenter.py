"""The one obvious way in, on real files and on a simulated patient."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest

from scarseg_infer import EcgError, ModelError, ProviderError, Segmenter, StudyError, read_study
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.result import ScarResult
from scarseg_runtime.contract import MYOCARDIUM, Label
from scarseg_runtime.slice_order import apex_comes_first
from scarseg_runtime.taff import weight


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_model()


@pytest.fixture(scope="module")
def demo(segmenter: Segmenter) -> ScarResult:
    return segmenter.run(DEMO_STUDY, DEMO_ECG)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_the_demo_has_scar_and_a_weighted_ecg(demo: ScarResult) -> None:
    assert demo.quantities.scar_ml > 1
    assert demo.ecg.gap_source == "timestamps"
    assert demo.ecg.gap_days == pytest.approx(3.0, abs=0.01)
    assert 0 < demo.ecg.weight < 1
    assert demo.labels.shape == demo.stack.pixels.shape == demo.segments.shape
    stages = ["read_study", "read_ecg", "load_model", "prepare_ecg", "network", "quantify"]
    assert list(demo.timings_ms) == stages


def test_quantities_follow_from_the_labels(demo: ScarResult) -> None:
    heights = np.diff(demo.stack.slice_positions_mm).mean()
    voxel_ml = np.prod(demo.stack.pixel_spacing_mm) * heights / 1000
    scar_ml = (demo.labels == Label.SCAR).sum() * voxel_ml
    assert demo.quantities.scar_ml == pytest.approx(scar_ml, rel=1e-3)
    assert sum(s.scar_ml for s in demo.quantities.segments) == pytest.approx(scar_ml, rel=1e-3)


def test_many_studies_come_back_in_order_with_their_errors(
    segmenter: Segmenter, demo: ScarResult, tmp_path: Path
) -> None:
    segmenter.warm_up(4, 96, 80)
    pairs = [(DEMO_STUDY, DEMO_ECG), (tmp_path, None), (demo.stack, None)]
    first, error, last = segmenter.run_many(pairs)
    assert isinstance(first, ScarResult)
    assert np.array_equal(first.labels, demo.labels)
    assert isinstance(error, StudyError)
    assert isinstance(last, ScarResult)
    assert np.array_equal(last.labels, demo.image_only_labels)
    assert list(segmenter.run_many([])) == []


def test_a_model_that_loads_in_the_background_fails_at_its_first_use(tmp_path: Path) -> None:
    segmenter = Segmenter.from_model(tmp_path / "nothing.onnx", background=True)
    with pytest.raises(ModelError, match="does not exist"):
        segmenter.warm_up()


def test_without_ecg_the_fused_result_is_the_image_result(
    segmenter: Segmenter, demo: ScarResult
) -> None:
    alone = segmenter.run(DEMO_STUDY)
    assert alone.ecg.weight == 0.0 and not alone.ecg.given
    assert np.array_equal(alone.labels, alone.image_only_labels)
    assert np.array_equal(alone.labels, demo.image_only_labels)


def test_a_gap_is_used_where_the_files_do_not_tell(segmenter: Segmenter, shared_data: Path) -> None:
    record = shared_data / "ecg" / "ptbxl-00001" / "00001_lr"
    given = segmenter.run(DEMO_STUDY, record, gap_days=40.0)
    assert given.ecg.gap_source == "given" and given.ecg.gap_days == 40.0
    assert 0 < given.ecg.weight < 1
    unknown = segmenter.run(DEMO_STUDY, record)
    assert unknown.ecg.gap_source == "unknown" and unknown.ecg.weight == 0.0
    assert "unknown" in unknown.ecg.reason


def test_a_bundle_branch_block_takes_all_weight(segmenter: Segmenter, shared_data: Path) -> None:
    """A real one: 134 ms, rsR' in V1."""
    record = shared_data / "ecg" / "ptb-s0010" / "s0010_re.dat"
    result = segmenter.run(DEMO_STUDY, record, gap_days=3.0)
    assert result.ecg.weight == 0.0
    assert "right bundle branch block" in result.ecg.reason
    assert np.array_equal(result.labels, result.image_only_labels)


@pytest.mark.parametrize("name,gap", [("negative", None), ("positive", 3.0)])
def test_real_lge_runs_with_a_real_ecg(
    segmenter: Segmenter, shared_data: Path, name: str, gap: float | None
) -> None:
    """Image and ECG are of different people: this is about plumbing, not about accuracy."""
    record = shared_data / "ecg" / "ptbxl-00001" / "00001_lr.dat"
    result = segmenter.run(shared_data / "lge-real" / f"{name}_image.nii.gz", record, gap_days=gap)
    assert (result.ecg.weight > 0) == (gap is not None)
    assert any("not used" in warning for warning in result.warnings) == (gap is None)
    whole, image = result.quantities, result.image_only_quantities
    change = whole.scar_percent_of_lv_mass - image.scar_percent_of_lv_mass
    said = any("The ECG changed the scar" in warning for warning in result.warnings)
    gone = (whole.scar_ml > 0) != (image.scar_ml > 0)
    assert said == (abs(change) > 2.0 or gone)
    assert any("pixdim" in warning for warning in result.warnings)
    # Slice 0 of these volumes is the apex: the display must have turned the stack.
    assert result.display.reverse_slices
    truth = nibabel.load(shared_data / "lge-real" / f"{name}_labels.nii.gz")
    truth = np.asarray(truth.dataobj).transpose(2, 1, 0)
    # The model never saw a real image: these floors tell a found heart from a missed one.
    assert dice(result.labels == Label.LV_CAVITY, truth == 1) > 0.7
    assert dice(np.isin(result.labels, MYOCARDIUM), truth >= 2) > 0.6


def test_the_same_study_in_any_order_gives_the_same_result(
    segmenter: Segmenter, demo: ScarResult
) -> None:
    from dataclasses import replace

    stack = read_study(DEMO_STUDY)
    turned = replace(
        stack,
        pixels=np.ascontiguousarray(stack.pixels[:, ::-1]),
        origins_mm=stack.origins_mm
        + (stack.pixels.shape[1] - 1) * stack.pixel_spacing_mm[0] * stack.column_direction,
        column_direction=-stack.column_direction,
    )
    turned = replace(turned, pixels=turned.pixels[::-1], origins_mm=turned.origins_mm[::-1])
    alone = segmenter.run(turned)
    assert np.array_equal(alone.labels[::-1, ::-1], demo.image_only_labels)


def test_one_segmenter_serves_several_threads(segmenter: Segmenter, demo: ScarResult) -> None:
    results: list[ScarResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(segmenter.run(DEMO_STUDY, DEMO_ECG)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(np.array_equal(result.labels, demo.labels) for result in results)


def test_every_kind_of_bad_input_has_its_error(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        segmenter.run(tmp_path)
    with pytest.raises(EcgError):
        segmenter.run(DEMO_STUDY, tmp_path / "nothing.dat")
    with pytest.raises(ModelError):
        Segmenter.from_model(tmp_path / "nothing.onnx")
    with pytest.raises(ProviderError):
        Segmenter.from_model(provider="quantum")


def test_the_reason_of_the_weight_can_be_recomputed(demo: ScarResult) -> None:
    from scarseg_infer.models import REFERENCE_MODEL
    from scarseg_runtime.model import Model

    model = Path(__file__).parents[2] / "scarseg_infer" / "models" / REFERENCE_MODEL
    tau = Model.load(model).metadata.tau_days
    assert demo.ecg.gap_days is not None
    assert demo.ecg.weight == pytest.approx(weight(demo.ecg.gap_days, tau), abs=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_the_narrow_end_is_the_apex(first: bool) -> None:
    labels = np.zeros((6, 40, 40), np.uint8)
    y, x = np.mgrid[-20:20, -20:20]
    for index, radius in enumerate((0, 5, 8, 11, 13, 14)):
        labels[index][np.hypot(x, y) < radius] = Label.LV_CAVITY
    assert apex_comes_first(labels if first else labels[::-1]) == first
    assert not apex_comes_first(np.zeros_like(labels))
