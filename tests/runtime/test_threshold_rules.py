"""Signal rules on phantoms whose scar is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_runtime.threshold_rules import fwhm, n_sd, otsu, remote_statistics


def phantom(seed: int, scar_share: float, sd: float = 10.0) -> tuple[np.ndarray, ...]:
    """Pixels, wall and scar: remote 100 ± sd, scar 300 ± sd, blood and air outside."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(100.0, sd, (4, 60, 60)).astype(np.float32)
    wall = np.zeros(pixels.shape, bool)
    wall[:, 15:45, 15:45] = True
    scar = wall & (rng.random(pixels.shape) < scar_share)
    pixels[scar] += 200.0
    pixels[~wall] = rng.choice([0.0, 350.0], (~wall).sum())
    return pixels, wall, scar


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45])
def test_remote_is_found_without_a_reader(share: float) -> None:
    pixels, wall, _ = phantom(1, share)
    mean, sd = remote_statistics(pixels, wall)
    assert mean == pytest.approx(100.0, abs=8.0)
    assert sd == pytest.approx(10.0, rel=0.5)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_clear_scar_is_found_by_every_rule(share: float) -> None:
    pixels, wall, scar = phantom(2, share)
    for mask in (fwhm(pixels, wall), n_sd(pixels, wall, 5), n_sd(pixels, wall, 6)):
        assert dice(mask, scar) > 0.97
    assert dice(otsu(pixels, wall), scar) > 0.97


@given(st.integers(0, 50), st.floats(0.01, 50.0), st.floats(-2000.0, 2000.0))
def test_scale_and_offset_of_the_pixels_do_not_matter(
    seed: int, gain: float, offset: float
) -> None:
    pixels, wall, scar = phantom(seed, 0.2)
    moved = (pixels.astype(np.float64) * gain + offset).astype(np.float32)
    for rule in (fwhm, otsu, lambda p, w: n_sd(p, w, 5)):
        assert dice(rule(moved, wall), scar) > 0.95


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
    called = otsu(pixels, wall)[wall]
    ours = called.sum() * (~called).sum() * (values[called].mean() - values[~called].mean()) ** 2
    assert ours == pytest.approx(best, rel=0.01)


def test_nothing_is_called_outside_the_wall_or_without_one() -> None:
    pixels, wall, _ = phantom(5, 0.2)
    empty = np.zeros_like(wall)
    flat = np.full_like(pixels, 7.0)
    for rule in (fwhm, otsu, lambda p, w: n_sd(p, w, 5)):
        assert not (rule(pixels, wall) & ~wall).any()
        assert not rule(pixels, empty).any()
        assert not rule(flat, wall).any()
