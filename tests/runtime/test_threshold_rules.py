"""Signal rules on phantoms whose scar is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_runtime.quantify.components import with_dark_cores
from scarseg_runtime.quantify.remote import remote_region, remote_statistics
from scarseg_runtime.quantify.threshold_rules import fwhm, n_sd, otsu, otsu_threshold

REMOTE, SCAR = 100.0, 300.0
ROWS, COLUMNS = np.mgrid[:64, :64] - 31.5
RADIUS, ANGLE = np.hypot(ROWS, COLUMNS), np.arctan2(ROWS, COLUMNS) / (2 * np.pi) % 1.0


def phantom(seed: int, share: float, sd: float = 10.0) -> tuple[np.ndarray, ...]:
    """Pixels, wall and scar of a ring in 4 slices: remote 100 ± sd, a sector of scar 300 ± sd
    of ``share`` of the turn that starts elsewhere in every slice, bright blood, dark air."""
    rng = np.random.default_rng(seed)
    wall = np.repeat((RADIUS > 12)[None] & (RADIUS < 24)[None], 4, axis=0)
    start = np.arange(4)[:, None, None] * 0.37
    scar = wall & ((ANGLE - start) % 1.0 < share)
    pixels = rng.normal(REMOTE, sd, wall.shape) + (SCAR - REMOTE) * scar
    pixels = np.where(wall, pixels, np.where(RADIUS < 20, 350.0, 0.0))
    return pixels.astype(np.float32), wall, scar


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def rules() -> tuple:
    return fwhm, otsu, lambda pixels, wall: n_sd(pixels, wall, 5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.67, 0.8])
def test_remote_is_found_without_a_reader(share: float) -> None:
    pixels, wall, scar = phantom(1, share)
    remote = remote_region(pixels, wall)
    assert not (remote & (scar | ~wall)).any()
    assert remote.sum() > 0.6 * (wall & ~scar).sum()
    mean, sd = remote_statistics(pixels, wall)
    assert mean == pytest.approx(REMOTE, abs=1.0)
    assert sd == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("all_round", [1, 3, 6])
@pytest.mark.parametrize("degrees", [0, 90, 240])
def test_slices_scarred_all_round_do_not_hide_the_scar(all_round: int, degrees: int) -> None:
    """Ten rings of 128², a transmural scar in each and the last ones scarred all round."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:128, :128] - 63.5
    radius, angle = np.hypot(rows, columns), np.degrees(np.arctan2(rows, columns)) % 360
    wall = np.repeat(((radius > 20) & (radius < 30))[None], 10, axis=0)
    scar = wall & (angle < degrees)
    scar[-all_round:] = wall[-all_round:]
    pixels = rng.normal(0, 10, wall.shape) + np.where(scar, 500.0, 100.0)
    for n in (3, 5):
        assert dice(n_sd(pixels, wall, n), scar) > 0.98
    assert remote_statistics(pixels, wall, scar) == pytest.approx((100.0, 10.0), rel=0.05)


def test_the_bound_of_n_sd_where_borders_are_blurred() -> None:
    """Ratios of docs/reference/outputs.md for n-SD and FWHM: ten rings, blurred by one pixel."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[:128, :128] - 63.5
    radius, angle = np.hypot(rows, columns), np.degrees(np.arctan2(rows, columns)) % 360
    wall = np.repeat(((radius > 14) & (radius < 20))[None], 10, axis=0)
    scar = wall & (angle < 90)
    sharp = np.where(scar[0], 500.0, np.where(wall[0], 100.0, np.where(radius < 17, 400.0, 60.0)))
    offsets = np.arange(-3, 4)
    weights = np.exp(-(offsets**2) / 2.0) / np.exp(-(offsets**2) / 2.0).sum()
    for axis in (0, 1):
        moved = (np.roll(sharp, offset, axis) for offset in offsets)
        sharp = np.sum([weight * one for weight, one in zip(weights, moved, strict=True)], axis=0)
    pixels = (sharp + rng.normal(0, 10, wall.shape)).astype(np.float32)
    assert 1.3 < n_sd(pixels, wall, 5).sum() / scar.sum() < 1.5
    assert 0.95 < fwhm(pixels, wall, scar=scar).sum() / scar.sum() < 1.05


def test_a_wall_that_is_scar_everywhere_has_no_remote() -> None:
    pixels, wall, _ = phantom(1, 0.0)
    assert remote_statistics(pixels, wall, wall) is None
    assert remote_statistics(pixels, np.zeros_like(wall)) is None


@pytest.mark.parametrize(("rim", "outer"), [(0.0, True), (0.0, False), (350.0, False)])
def test_borders_that_hold_something_else_do_not_count(rim: float, outer: bool) -> None:
    """Air or blood mixed into the inner border, or into both."""
    pixels, wall, scar = phantom(1, 0.3)
    inner = wall & (RADIUS > 13.2) & ((RADIUS < 22.8) | (not outer))
    mixed = np.where(wall & ~inner, (pixels + rim) / 2, pixels)
    assert remote_statistics(mixed, wall) == pytest.approx((REMOTE, 10.0), rel=0.06)
    assert dice(n_sd(mixed, wall, 5) & inner, scar & inner) > 0.97


def test_slices_of_unlike_brightness_all_count() -> None:
    pixels, wall, scar = phantom(1, 0.3)
    pixels = pixels * np.array([0.9, 1.0, 1.05, 1.1])[:, None, None]
    remote = remote_region(pixels, wall)
    assert remote.any((1, 2)).all() and not (remote & scar).any()
    assert n_sd(pixels, wall & ~scar, 5).sum() < 0.01 * wall.sum()


def test_part_of_a_ring_is_enough_and_an_empty_slice_has_no_remote() -> None:
    pixels, wall, _ = phantom(1, 0.0)
    wall &= (ANGLE < 0.3) & (np.arange(4) != 2)[:, None, None]
    remote = remote_region(pixels, wall)
    assert remote[0].any() and not remote[2].any()
    assert remote_statistics(pixels, wall)[0] == pytest.approx(REMOTE, abs=2.0)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_clear_scar_is_found_by_every_rule(share: float) -> None:
    pixels, wall, scar = phantom(2, share)
    for rule in rules():
        assert dice(rule(pixels, wall), scar) > 0.97


def test_thresholds_lie_where_the_definitions_say() -> None:
    """A ramp without noise in the brighter half ring: the lowest signal called is the threshold."""
    wall = np.repeat((RADIUS > 12)[None] & (RADIUS < 24)[None], 2, axis=0)
    pixels = np.where(ANGLE < 0.5, 140.0 + 400.0 * ANGLE, 90.0 + 20.0 * (ROWS % 2 == 0.5))
    pixels = np.repeat(pixels[None], 2, axis=0).astype(np.float32)
    mean, sd = remote_statistics(pixels, wall)
    assert (mean, sd) == pytest.approx((100.0, 10.0), rel=0.02)
    top = float(np.percentile(pixels[wall], 99.5))
    for mask, threshold in (
        (fwhm(pixels, wall), (mean + top) / 2),
        (fwhm(pixels, wall, 0.6), mean + 0.6 * (top - mean)),
        (n_sd(pixels, wall, 5), mean + 5 * sd),
    ):
        assert np.array_equal(mask, wall & (pixels > threshold))


@given(st.integers(0, 50), st.floats(0.01, 50.0), st.floats(-2000.0, 2000.0))
def test_scale_and_offset_of_the_pixels_do_not_matter(
    seed: int, gain: float, offset: float
) -> None:
    pixels, wall, _ = phantom(seed, 0.2, sd=30.0)
    moved = pixels.astype(np.float64) * gain + offset
    for rule in rules():  # one pixel may lie within rounding of a threshold
        assert dice(rule(moved, wall), rule(pixels.astype(np.float64), wall)) > 0.998


def test_fewer_sd_call_more() -> None:
    pixels, wall, _ = phantom(3, 0.1, sd=40.0)
    counts = [n_sd(pixels, wall, n).sum() for n in (2, 3, 5, 6)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


def test_otsu_is_the_threshold_of_largest_variance_between_classes() -> None:
    pixels, wall, _ = phantom(4, 0.3, sd=60.0)
    values = pixels[wall].astype(np.float64)
    cuts = np.linspace(values.min(), values.max(), 400)[1:-1]

    def between(cut: float) -> float:
        low, high = values[values <= cut], values[values > cut]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(cut) for cut in cuts)
    threshold = otsu_threshold(pixels[wall])
    assert between(threshold) == pytest.approx(best, rel=0.005)
    assert not (otsu(pixels, wall)[wall] < (values > threshold)).any()


def test_a_dark_core_within_scar_counts_as_scar() -> None:
    pixels, wall, scar = phantom(6, 0.4)
    turn = (ANGLE - np.arange(4)[:, None, None] * 0.37) % 1.0
    core = scar & (np.abs(RADIUS - 18) < 3) & (turn > 0.1) & (turn < 0.3)
    pixels[core] = 60.0
    assert core.sum() > 100
    for rule in (fwhm, lambda p, w: n_sd(p, w, 5)):
        assert dice(rule(pixels, wall), scar) > 0.97


def test_only_what_scar_encloses_within_a_slice_is_filled() -> None:
    wall = np.zeros((2, 12, 12), bool)
    wall[:, 1:11, 1:11] = True
    scar = np.zeros_like(wall)
    scar[0, 2:7, 2:7] = True
    scar[0, 4, 4] = False  # enclosed
    scar[1, 1:4, 1:4] = True
    scar[1, 1, 2] = False  # open to the outside of the wall
    filled = with_dark_cores(scar, wall)
    assert filled[0, 4, 4] and not filled[1, 1, 2]
    assert filled.sum() == scar.sum() + 1


def test_nothing_is_called_outside_the_wall_or_without_one() -> None:
    pixels, wall, _ = phantom(5, 0.2)
    empty = np.zeros_like(wall)
    flat = np.full_like(pixels, 7.0)
    for rule in rules():
        assert not (rule(pixels, wall) & ~wall).any()
        assert not rule(pixels, empty).any()
        assert not rule(flat, wall).any()


def layered(
    depth: tuple[float, float], *, half: bool = False, blood: float = 400.0, bright: float = 500.0
) -> tuple[np.ndarray, ...]:
    """Six rings of a 10 mm wall at 1.5 mm with partial volume at its borders; scar in a layer of
    ``depth`` (shares of the wall), all round or in half of the turn."""
    rows, columns = (np.mgrid[:512, :512] + 0.5) / 4 - 64
    share = (np.hypot(rows, columns) * 1.5 - 24) / 10
    scar = (share >= depth[0]) & (share < depth[1]) & ((rows > 0) | (not half))
    signal = np.select([share < 0, scar, share < 1], [blood, bright, 100.0], 250.0)
    signal = signal.reshape(128, 4, 128, 4).mean((1, 3))
    wall = (share >= 0) & (share < 1)
    pixels = np.random.default_rng(1).normal(signal, 10.0, (6, 128, 128))
    stacked = (np.repeat(mask[None, 2::4, 2::4], 6, axis=0) for mask in (wall, scar & wall))
    return pixels.astype(np.float32), *stacked


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("depth", [(0.0, 0.3), (0.0, 0.5), (0.6, 1.0)])
def test_scar_in_a_layer_all_round_leaves_the_healthy_layer(
    depth: tuple[float, float], known: bool
) -> None:
    """Every sector holds both: their mean and SD are of neither."""
    pixels, wall, scar = layered(depth)
    mean, sd = remote_statistics(pixels, wall, scar if known else None)
    assert mean == pytest.approx(100, abs=4)
    assert sd < 16
    assert (n_sd(pixels, wall, 5) & scar).sum() > 0.97 * scar.sum()


def test_patches_all_round_leave_the_healthy_ones() -> None:
    pixels, wall, _ = phantom(1, 0.0)
    scar = wall & (np.sin(2 * np.pi * 8 * ANGLE) > 0)
    pixels[scar] += SCAR - REMOTE
    assert remote_statistics(pixels, wall, scar) == pytest.approx((REMOTE, 10.0), rel=0.06)


def test_two_kinds_are_looked_for_within_slices_only() -> None:
    """Slices of which every other is half as bright again have one kind of wall each."""
    pixels, wall, scar = layered((0.0, 1.0), half=True)
    pixels *= np.where(np.arange(6) % 2, 1.5, 1.0)[:, None, None].astype(np.float32)
    assert remote_region(pixels, wall, scar).any((1, 2)).all()


@pytest.mark.parametrize("pixels_too_far", [1, 2])
def test_a_generous_outline_does_not_make_healthy_wall_a_dark_core(pixels_too_far: int) -> None:
    """Blood and fat within the outline enclose all wall between them."""
    pixels, wall, _ = layered((0.0, 0.0))
    outline = wall.copy()
    for _ in range(pixels_too_far):
        outline |= np.logical_or.reduce(
            [np.roll(outline, step, axis) for axis in (1, 2) for step in (-1, 1)]
        )
    for n in (2, 3, 5, 6):
        assert (n_sd(pixels, outline, n) & wall).sum() < 0.25 * wall.sum()
    assert (fwhm(pixels, outline) & wall).sum() < 0.25 * wall.sum()


def test_blood_brighter_than_the_scar_does_not_set_its_maximum() -> None:
    """Pixels at the endocardium are half blood."""
    pixels, wall, scar = layered((0.0, 1.0), half=True, blood=500.0, bright=200.0)
    found = fwhm(pixels, wall, 0.5, (100.0, 10.0), scar)
    assert (found & scar).sum() > 0.95 * scar.sum()


@pytest.mark.parametrize("mean", [-5.0, 0.0, 3.0])
def test_nulled_wall_that_is_cut_off_at_zero(mean: float) -> None:
    """Half of its pixels are alike then: the noise of the others is not scar."""
    y, x = np.mgrid[:96, :96] - 47.5
    wall = np.broadcast_to((np.hypot(y, x) > 22) & (np.hypot(y, x) < 34), (5, 96, 96))
    scar = wall & (np.abs(np.arctan2(y, x)) < 0.6)
    noise = np.random.default_rng(3).normal(0, 10, wall.shape)
    pixels = np.maximum(np.where(scar, 400.0, mean) + noise, 0.0).astype(np.float32)
    healthy = pixels[wall & ~scar].astype(np.float64)
    found = remote_statistics(pixels, wall, scar)
    assert found == pytest.approx((healthy.mean(), healthy.std()), rel=0.1, abs=0.1)
    called = n_sd(pixels, wall, 5, found)
    assert called[scar].all()
    assert called.sum() < 1.03 * scar.sum()
