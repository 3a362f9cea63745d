"""Place of the scar in the wall, and its zones, on hearts whose answer is known."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_runtime.atlas import SEGMENT_NAMES
from scarseg_runtime.contract import Label
from scarseg_runtime.quantify import characteristics, threshold_rules
from scarseg_runtime.quantify.characteristics import Characteristics, characterise, threshold_doubts
from scarseg_runtime.quantify.components import with_dark_cores
from scarseg_runtime.quantify.wall_depth import wall_depth

NAMES = tuple(SEGMENT_NAMES)
INNER_MM, OUTER_MM = 22.0, 34.0


def ring(
    inner: float, outer: float, spacing: tuple[float, float] = (1.0, 1.0), degrees: float = 70.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels [3, H, W] of a round ventricle whose scar spans relative depths ``inner`` to
    ``outer`` over an angle, and the exact depth of every pixel."""
    shape = tuple(int(80 / step) for step in spacing)
    y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    y, x = (y - shape[0] / 2) * spacing[0], (x - shape[1] / 2) * spacing[1]
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(-y, x))
    depth = (radius - INNER_MM) / (OUTER_MM - INNER_MM)
    plane = np.select([radius < INNER_MM, radius < OUTER_MM], [Label.LV_CAVITY, 2], 0)
    scar = (plane == 2) & (depth >= inner) & (depth <= outer) & (np.abs(angle) < degrees / 2)
    plane[scar] = Label.SCAR
    return np.stack([plane.astype(np.uint8)] * 3), depth


def signal(labels: np.ndarray, scar: float = 400.0) -> np.ndarray:
    values = np.choose(labels, [150.0, 300.0, 80.0, scar, 300.0])
    return (values + np.random.default_rng(0).normal(0, 12, labels.shape)).astype(np.float32)


def run(labels: np.ndarray, pixels: np.ndarray | None = None, **kwargs: object) -> Characteristics:
    segments = np.where(np.isin(labels, (2, 3)), 12, 0).astype(np.uint8)
    spacing = kwargs.get("spacing", (1.0, 1.0))
    return characterise(
        signal(labels) if pixels is None else pixels, labels, segments, spacing,
        np.full(len(labels), 10.0), NAMES,
    )  # fmt: skip


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.6, 0.9)])
@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [(0, 0.4, "subendocardial"), (0.34, 0.66, "mid-wall"), (0.62, 1, "epicardial"),
     (0, 1, "transmural"), (0, 0.65, "subendocardial")],
)  # fmt: skip
def test_distribution(
    inner: float, outer: float, expected: str, spacing: tuple[float, float]
) -> None:
    labels, _ = ring(inner, outer, spacing)
    found = run(labels, spacing=spacing)
    assert found.distribution == expected
    assert found.segment_distribution[11] == expected
    assert [d for k, d in enumerate(found.segment_distribution) if k != 11] == [None] * 16
    assert found.location == (NAMES[11],)


@pytest.mark.parametrize("degrees", [25.0, 70.0, 360.0])
def test_a_scar_is_transmural_from_three_quarters_of_the_wall(degrees: float) -> None:
    def named(inner: float, outer: float) -> str | None:
        return run(ring(inner, outer, (0.7, 0.7), degrees)[0]).distribution

    assert named(0, 0.70) == "subendocardial"
    assert named(0, 0.80) == "transmural"
    assert named(0.30, 1) == "epicardial"
    assert named(0.20, 1) == "transmural"


def test_inner_and_outer_scar_with_a_healthy_middle_is_not_transmural() -> None:
    labels, depth = ring(0, 1)
    labels[(labels == Label.SCAR) & (np.abs(depth - 0.5) < 0.16)] = Label.VIABLE_MYOCARDIUM
    assert run(labels).distribution in ("subendocardial", "epicardial")


def whole_heart(degrees: float, all_round: int) -> np.ndarray:
    """Ten rings with a transmural scar, the last ones scarred all round."""
    labels = np.concatenate([ring(0, 1, degrees=degrees)[0]] * 4)[:10]
    scarred = labels[10 - all_round :]
    scarred[scarred == Label.VIABLE_MYOCARDIUM] = Label.SCAR
    return labels


@pytest.mark.parametrize(("degrees", "all_round"), [(90, 1), (240, 0), (240, 3), (0.1, 2), (90, 6)])
def test_thresholds_and_obstruction_hold_where_slices_are_scarred_all_round(
    degrees: float, all_round: int
) -> None:
    labels = whole_heart(degrees, all_round)
    truth = (labels == Label.SCAR).sum() * 10 / 1000
    found = run(labels)
    assert found.n_sd is not None and found.sd is not None and found.schmidt is not None
    assert found.n_sd["5"].ml == pytest.approx(truth, rel=0.03)
    assert found.sd.core.ml == pytest.approx(truth, rel=0.03)
    assert found.microvascular_obstruction_ml == pytest.approx(0, abs=0.02 * truth)
    assert threshold_doubts(signal(labels), labels, np.full(10, 0.01)) == ()


def test_without_remote_wall_there_is_no_number_but_a_word() -> None:
    labels = whole_heart(90, 10)
    found = run(labels)
    assert found.n_sd is found.sd is found.fwhm is found.schmidt is None
    assert found.microvascular_obstruction_ml is None
    (doubt,) = threshold_doubts(signal(labels), labels, np.full(10, 0.01))
    assert "No remote" in doubt


def test_each_mask_is_made_once_and_none_for_the_doubts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling dark cores is most of the work, and every run asks for the doubts."""
    calls = []

    def counted(mask: np.ndarray, *others: np.ndarray, **more: object) -> np.ndarray:
        calls.append(mask)
        return with_dark_cores(mask, *others, **more)

    for module in (characteristics, threshold_rules):
        monkeypatch.setattr(module, "with_dark_cores", counted)
    labels = whole_heart(90, 0)
    assert threshold_doubts(signal(labels), labels, np.full(10, 0.01)) == ()
    assert calls == []
    found = run(labels)
    assert found.fwhm is not None and found.schmidt is not None
    # Above 2, 3, 5 and 6 SD, above 35 % and half of the maximum, and obstruction.
    assert len(calls) == 7


def test_fwhm_of_a_tiny_scar_is_about_the_scar_or_nothing() -> None:
    """The brightest of the wall is elsewhere than in a scar of less than half a percent of it."""
    labels = whole_heart(0, 0)
    labels[4, 38:43, 64:68] = Label.SCAR
    truth = (labels == Label.SCAR).sum() * 10 / 1000
    for contrast in (400.0, 200.0):
        pixels = signal(labels, contrast)
        found = run(labels, pixels)
        assert found.fwhm is not None and found.schmidt is not None
        assert found.fwhm.core.ml == pytest.approx(truth, rel=0.1)
    faint = signal(labels, 100.0)
    blood = signal(labels)
    blood[:, labels[0] == 0] = 60.0
    rim = np.isin(labels, (2, 3)) & (np.hypot(*(np.mgrid[:80, :80] - 40)) < INNER_MM + 1.5)
    blood[rim] = 350.0  # partial volume all round the endocardium
    for pixels in (faint, blood):
        found = run(labels, pixels)
        assert found.fwhm is found.schmidt is None
        (doubt,) = threshold_doubts(pixels, labels, np.full(10, 0.01))
        assert "FWHM" in doubt


def test_the_grey_zone_of_schmidt_lies_between_remote_and_half_of_the_maximum() -> None:
    labels, depth = ring(0, 1)
    edge = (labels == Label.SCAR) & (np.abs(depth - 0.5) > 0.2)
    pixels = signal(labels)
    pixels[edge] = 190.0  # a third of the way from 80 to 400
    found = run(labels, pixels)
    assert found.schmidt is not None and found.fwhm is not None
    assert found.schmidt.core == found.fwhm.core
    assert found.schmidt.grey_zone.ml == pytest.approx(edge.sum() * 10 / 1000, rel=0.05)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.4)])
def test_depth_is_that_of_a_circle(spacing: tuple[float, float]) -> None:
    labels, exact = ring(0, 0, spacing)
    depth = wall_depth(labels, spacing)
    wall = np.isfinite(depth)
    assert np.array_equal(wall, np.isin(labels, (2, 3)))
    assert np.abs(depth[0] - exact)[wall[0]].max() < 0.09
    assert depth[wall].min() >= 0 and depth[wall].max() <= 1


def test_the_rv_is_outside() -> None:
    labels, _ = ring(0, 1)
    beside = labels.copy()
    beside[labels == 0] = Label.RV_CAVITY
    np.testing.assert_array_equal(wall_depth(labels, (1.0, 1.0)), wall_depth(beside, (1.0, 1.0)))


def test_a_dark_core_is_reported_and_stays_scar() -> None:
    labels, depth = ring(0, 1)
    core = (labels == Label.SCAR) & (np.abs(depth - 0.5) < 0.2)
    core[:, :32] = core[:, 49:] = False  # well inside the scar's angle
    pixels = signal(labels)
    pixels[core] = 40.0
    found = run(labels, pixels)
    assert found.microvascular_obstruction_ml == pytest.approx(core.sum() * 10 / 1000, rel=0.02)
    assert run(labels).microvascular_obstruction_ml == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("level", [130.0, 133.0, 136.0, 139.0])
def test_noise_in_a_faint_scar_is_no_dark_core(level: float) -> None:
    """Three SD above remote every sixth pixel lies below two."""
    labels = whole_heart(90, 0)
    pixels = np.random.default_rng(3).normal(np.where(labels == Label.SCAR, level, 100.0), 10.0)
    found = run(labels, pixels.astype(np.float32))
    assert found.microvascular_obstruction_ml is None
    doubts = threshold_doubts(pixels.astype(np.float32), labels, np.full(10, 0.01))
    assert any("microvascular" in doubt for doubt in doubts)


def test_zones_of_a_sharp_scar_are_the_scar() -> None:
    labels, _ = ring(0, 1)
    truth = (labels == Label.SCAR).sum() * 10 / 1000
    found = run(labels)
    assert found.fwhm is not None and found.n_sd is not None and found.sd is not None
    assert found.fwhm.core.ml == pytest.approx(truth, rel=0.02)
    assert found.fwhm.grey_zone.ml < 0.02 * truth
    assert found.n_sd["5"].ml == pytest.approx(truth, rel=0.03)
    amounts = [found.n_sd[n].ml for n in ("2", "3", "5", "6")]
    assert amounts == sorted(amounts, reverse=True)
    assert found.sd.core.ml + found.sd.grey_zone.ml == pytest.approx(found.n_sd["2"].ml)
    share = found.fwhm.core.percent_of_lv_mass
    assert share == pytest.approx(100 * truth / (np.isin(labels, (2, 3)).sum() / 100), rel=0.02)


@settings(max_examples=20)
@given(st.floats(0.01, 50), st.floats(-5000, 5000))
def test_units_of_the_signal_do_not_matter(gain: float, offset: float) -> None:
    labels, _ = ring(0, 0.5)
    plain = signal(labels)
    moved = (plain.astype(np.float64) * gain + offset).astype(np.float64)
    ours, theirs = run(labels, moved), run(labels, plain)
    assert ours.distribution == theirs.distribution
    assert ours.fwhm is not None and theirs.fwhm is not None
    assert ours.fwhm.core.ml == pytest.approx(theirs.fwhm.core.ml, rel=1e-3)
    assert ours.microvascular_obstruction_ml == theirs.microvascular_obstruction_ml


@pytest.mark.parametrize("wall", [True, False])
def test_nothing_to_characterise_is_none_without_a_word(wall: bool) -> None:
    labels, _ = ring(0, 0)
    labels[labels == Label.SCAR] = Label.VIABLE_MYOCARDIUM
    if not wall:
        labels[:] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(labels)
    assert found.distribution is None and found.location == ()
    assert found.microvascular_obstruction_ml is None
    assert found.fwhm is None
    assert (found.n_sd is None) == (not wall)


@pytest.mark.parametrize("inner_mm", [0.0, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("wall_mm", [1.5, 2.0, 8.0])
@pytest.mark.parametrize("degrees", [360.0, 180.0])
def test_a_small_ring_or_cap_scarred_through_is_transmural(
    inner_mm: float, wall_mm: float, degrees: float
) -> None:
    """Near the centre most directions hold no pixel, and a thin wall has not all three layers."""
    y, x = (np.mgrid[:40, :40] - 19.5) * 1.5
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x)) % 360
    plane = np.zeros((1, 40, 40), np.uint8)
    plane[0][radius < inner_mm] = Label.LV_CAVITY
    wall = (radius >= inner_mm) & (radius < inner_mm + wall_mm)
    plane[0][wall] = np.where(angle < degrees, Label.SCAR, Label.VIABLE_MYOCARDIUM)[wall]
    assert run(plane).distribution == "transmural"


def test_an_apical_cap_without_cavity_has_depth() -> None:
    plane = np.zeros((1, 20, 20), np.uint8)
    plane[0, 6:14, 6:14] = Label.VIABLE_MYOCARDIUM
    plane[0, 6, 6:14] = Label.SCAR
    depth = wall_depth(plane, (1.5, 1.5))
    assert depth[0, 10, 10] == pytest.approx(0.0, abs=0.2)
    assert depth[0, 6, 8] > 0.8


def test_the_experts_real_scars(shared_data: Path) -> None:
    """Evaluation only; nothing is tuned on them. FWHM is near the expert, who drew by it or not."""
    import nibabel

    folder = shared_data / "lge-real"
    image, expert = (
        np.asarray(nibabel.load(folder / f"positive_{kind}.nii.gz").dataobj).transpose(2, 1, 0)
        for kind in ("image", "labels")
    )
    labels = np.minimum(expert, 3).astype(np.uint8)
    found = run(labels, image.astype(np.float32), spacing=(1.41, 1.41))
    obstruction_ml = (expert == 4).sum() * 1.41**2 * 10 / 1000
    assert found.distribution in ("subendocardial", "transmural")
    assert found.microvascular_obstruction_ml is not None
    assert 0.2 < found.microvascular_obstruction_ml / obstruction_ml < 2


@pytest.mark.parametrize(
    ("reach", "said"), [((0.3, 0.7), False), ((0.0, 0.5), False), ((0.0, 1.0), True)]
)
def test_a_dark_part_of_the_scar_that_is_no_core_is_said(
    reach: tuple[float, float], said: bool
) -> None:
    """A dark core lies within scar or beneath the endocardium; what is dark through the whole wall
    may be one as well, or no scar at all."""
    labels, depth = ring(0.0, 1.0, degrees=120.0)
    y, x = np.mgrid[: labels.shape[1], : labels.shape[2]]
    angle = np.degrees(np.arctan2(labels.shape[1] / 2 - y, x - labels.shape[2] / 2))
    dark = (labels == Label.SCAR) & (depth >= reach[0]) & (depth <= reach[1]) & (np.abs(angle) < 25)
    pixels = signal(labels)
    pixels[dark] = 80.0
    found = threshold_doubts(pixels, labels, np.full(len(labels), 0.01))
    assert any("no core enclosed by scar" in words for words in found) == said
