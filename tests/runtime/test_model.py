"""The shipped model on ONNX Runtime: promises of the graph, and files that break the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_runtime.contract import BEAT_SAMPLES, Label
from scarseg_runtime.errors import ModelError, ProviderError, StudyError
from scarseg_runtime.model import Model, NetworkOutput
from scarseg_runtime.taff import EcgDecision, decide, weight

MODEL = Path(__file__).parents[2] / "scarseg_infer" / "models" / "reference.onnx"
IMAGE_ONLY = decide(None, ecg_given=False)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(MODEL, threads=2)


@pytest.fixture(scope="module")
def heart() -> np.ndarray:
    """A crude LGE stack: dark ring, bright blood, bright patch in the ring."""
    y, x = np.mgrid[-64:64, -64:64] * 1.6
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(-y, x))
    image = np.full(radius.shape, 250.0)
    image[radius < 34] = 60
    image[(radius < 34) & (np.abs(angle) < 35)] = 330
    image[radius < 24] = 300
    noise = np.random.default_rng(0).normal(0, 8, (8, *image.shape))
    return (image + noise).astype(np.float32)


@pytest.fixture(scope="module")
def beat() -> np.ndarray:
    time = np.arange(BEAT_SAMPLES) - 192
    qrs = np.exp(-0.5 * (time / 9.0) ** 2)
    return (np.linspace(-1, 1.5, 12)[:, None] * qrs).astype(np.float32)


def run(model: Model, heart: np.ndarray, beat: np.ndarray | None, d: EcgDecision) -> NetworkOutput:
    return model.run(heart, (1.6, 1.6), np.linspace(0, 1, len(heart), dtype=np.float32), beat, d)


def same(first: NetworkOutput, second: NetworkOutput) -> bool:
    names = ("labels", "scar_probability", "image_only_labels", "segments")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def test_the_left_ventricle_of_a_crude_heart_is_found(model: Model, heart, beat) -> None:
    out = run(model, heart, beat, decide(3.0, ecg_given=True))
    middle = out.labels[4]
    assert middle[64, 64] == Label.LV_CAVITY
    assert (middle[:20] == Label.BACKGROUND).mean() > 0.95
    wall = np.isin(out.labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR))
    assert np.array_equal(out.segments > 0, wall)
    assert out.scar_probability.min() >= 0 and out.scar_probability.max() <= 1


def test_an_ecg_without_weight_changes_nothing_at_all(model: Model, heart, beat) -> None:
    without = run(model, heart, None, IMAGE_ONLY)
    assert np.array_equal(without.labels, without.image_only_labels)
    assert without.ecg_weight == 0.0
    for gap in (None, -1.0, float("nan"), float("inf")):
        ignored = run(model, heart, beat, decide(gap, ecg_given=True))
        assert ignored.ecg_weight == 0.0
        assert same(without, ignored)


def test_the_graph_guards_itself_against_bad_numbers(model: Model, heart, beat) -> None:
    """A host that skips the gap policy still gets the image path."""
    without = run(model, heart, None, IMAGE_ONLY)
    broken = np.full_like(beat, np.nan)
    for gap in (-5.0, float("nan")):
        assert same(without, run(model, heart, beat, EcgDecision(True, gap, "raw")))
    assert same(without, run(model, heart, broken, EcgDecision(False, 0.0, "raw")))
    used = run(model, heart, broken, EcgDecision(True, 0.0, "raw"))
    assert np.isfinite(used.scar_probability).all()


@settings(max_examples=8)
@given(st.floats(0, 2000))
def test_the_weight_is_the_documented_one(model: Model, heart, beat, gap: float) -> None:
    out = run(model, heart[:2], beat, decide(gap, ecg_given=True))
    assert out.ecg_weight == pytest.approx(weight(gap, model.metadata.tau_days), abs=1e-5)


def test_influence_of_the_ecg_fades_with_the_gap(model: Model, heart, beat) -> None:
    image = run(model, heart, None, IMAGE_ONLY).scar_probability
    change = [
        np.abs(run(model, heart, beat, decide(gap, ecg_given=True)).scar_probability - image)
        for gap in (0.0, 30.0, 120.0, 600.0, 5000.0)
    ]
    totals = [float(part.sum()) for part in change]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > 0


def test_the_ecg_never_touches_anatomy(model: Model, heart, beat) -> None:
    out = run(model, heart, beat, decide(0.0, ecg_given=True))
    anatomy = [np.where(v == Label.SCAR, Label.VIABLE_MYOCARDIUM, v)
               for v in (out.labels, out.image_only_labels)]  # fmt: skip
    assert np.array_equal(*anatomy)


@pytest.mark.parametrize("gain,offset", [(0.01, 0.0), (50.0, 0.0), (1.0, 5000.0), (3.0, -800.0)])
def test_pixel_units_do_not_matter(model: Model, heart, gain: float, offset: float) -> None:
    plain = run(model, heart, None, IMAGE_ONLY).labels
    scaled = run(model, heart * np.float32(gain) + np.float32(offset), None, IMAGE_ONLY).labels
    assert (plain == scaled).mean() > 0.998


@pytest.mark.parametrize("value", [0.0, 700.0, -3.0])
def test_a_blank_image_has_no_heart(model: Model, value: float) -> None:
    blank = np.full((3, 100, 90), value, np.float32)
    out = model.run(blank, (1.5, 1.5), np.linspace(0, 1, 3, dtype=np.float32), None, IMAGE_ONLY)
    assert np.isfinite(out.scar_probability).all()
    assert not (out.labels == Label.SCAR).any()


def test_a_single_slice_runs(model: Model, heart) -> None:
    out = model.run(heart[4:5], (1.6, 1.6), np.array([0.5], np.float32), None, IMAGE_ONLY)
    assert (out.labels == Label.LV_CAVITY).any()
    assert set(np.unique(out.segments)) <= {0, *range(7, 13)}  # mid-ventricular by definition


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((0, 4, 4)), np.full((1, 4, 4), np.nan)])
def test_odd_arrays_are_refused(model: Model, bad: np.ndarray) -> None:
    with pytest.raises(StudyError):
        model.run(bad.astype(np.float32), (1, 1), np.zeros(len(bad), "f4"), None, IMAGE_ONLY)


def test_the_shipped_model_says_where_it_comes_from(model: Model) -> None:
    metadata = model.metadata
    assert metadata.name == "scarseg-reference"
    assert "Digital twin" in metadata.training_data
    assert metadata.twin_scores["cases"] >= 100
    assert metadata.recipe["seed"] is not None
    assert MODEL.stat().st_size < 6e6


def broken_model(folder: Path, change: str) -> Path:
    model = onnx.load(MODEL)
    if change == "renamed input":
        for node in model.graph.node:
            node.input[:] = ["image" if name == "lge" else name for name in node.input]
        model.graph.input[0].name = "image"
    elif change == "no metadata":
        del model.metadata_props[:]
    elif change == "another format":
        for entry in model.metadata_props:
            if entry.key == "scarseg.format_version":
                entry.value = '"0"'
    elif change == "missing output":
        del model.graph.output[-1]
    onnx.save(model, folder / "broken.onnx")
    return folder / "broken.onnx"


@pytest.mark.parametrize(
    ("change", "words"),
    [("renamed input", "lge"), ("no metadata", "metadata"), ("another format", "format version"),
     ("missing output", "ecg_image_disagreement")],
)  # fmt: skip
def test_a_model_that_breaks_the_contract_is_refused(
    tmp_path: Path, change: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        Model.load(broken_model(tmp_path, change), "cpu")


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(MODEL.read_bytes()[:100_000])
    (tmp_path / "text.onnx").write_text("not a model")
    (tmp_path / "empty.onnx").touch()
    for name in ("cut", "text", "empty"):
        with pytest.raises(ModelError, match="cannot be loaded"):
            Model.load(tmp_path / f"{name}.onnx")
    with pytest.raises(ModelError, match="does not exist"):
        Model.load(tmp_path / "nowhere.onnx")


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ProviderError, match="auto, tensorrt"):
        Model.load(MODEL, "quantum")
