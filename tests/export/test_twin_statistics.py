"""The twin holds no shortcut: what may be learned from it, and what must not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scarseg_export.net.aha_map import locate, sectors_of, segment_map
from scarseg_export.train.ecg import segment_auroc, segment_burden_of
from scarseg_export.twin.anatomy import sample_anatomy
from scarseg_export.twin.cohort import beats_of, sample_case
from scarseg_export.twin.ecg import sample_conduction, simulate_beats
from scarseg_export.twin.grid import SliceGrid, sample_grid
from scarseg_export.twin.image import render
from scarseg_export.twin.scanner import sample_look
from scarseg_export.twin.scar import no_scar, sample_scar
from scarseg_runtime.contract import BEAT_R_INDEX, LEADS, Label

PATCH = 10
"""Half width in pixels of what the classifier sees around a bright spot."""


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    return float(segment_auroc(scores[:, None], truth.astype(bool)[:, None])[0])


def patches(seed: int, as_mimic: bool, dimmer: float = 1.0) -> np.ndarray:
    """[n, features] views of the bright wall of one patient: pixels and what sums them up."""
    rng = np.random.default_rng([seed, int(as_mimic)])
    anatomy, look, patch = sample_anatomy(rng), sample_look(rng), sample_scar(rng, scar_free=0.0)
    grid = sample_grid(rng, anatomy, 112, 1.7, 10.0, slices=8)
    maps = (no_scar(), patch) if as_mimic else (patch, no_scar())
    stack = render(rng, anatomy, *maps, grid, look)
    marked = stack.mimic if as_mimic else stack.labels == Label.SCAR
    wall = np.isin(stack.labels, (Label.VIABLE_MYOCARDIUM, Label.SCAR)) & ~marked
    if marked.sum() < 30 or not wall.any():
        return np.empty((0, (2 * PATCH) ** 2 // 4 + 3))
    pixels = stack.pixels - np.median(stack.pixels[wall])
    blood = np.median(pixels[stack.labels == Label.LV_CAVITY])
    pixels = pixels / blood
    pixels[marked] *= dimmer
    rows = []
    for k, row, column in rng.permutation(np.argwhere(marked))[:6]:
        window = pixels[k, row - PATCH : row + PATCH, column - PATCH : column + PATCH]
        if window.shape == (2 * PATCH, 2 * PATCH):
            coarse = window.reshape(PATCH, 2, PATCH, 2).mean(axis=(1, 3)).ravel()
            near = window[PATCH - 2 : PATCH + 2, PATCH - 2 : PATCH + 2]
            rows.append(np.concatenate([coarse, [near.mean(), near.std(), window.std()]]))
    return np.array(rows).reshape(-1, PATCH * PATCH + 3)


def patch_auroc(dimmer: float) -> float:
    """Held-out AUROC, scar against mimic, of a small network trained on patches."""
    torch.manual_seed(0)
    features, truth, held_out = [], [], []
    for seed in range(130):
        for as_mimic in (False, True):
            found = patches(seed, as_mimic, dimmer if as_mimic else 1.0)
            features.append(found)
            truth.append(np.full(len(found), not as_mimic))
            held_out.append(np.full(len(found), seed >= 80))
    x, y, test = np.concatenate(features), np.concatenate(truth), np.concatenate(held_out)
    x = np.clip((x - x[~test].mean(0)) / x[~test].std(0), -4, 4).astype(np.float32)
    model = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 24), torch.nn.ReLU(), torch.nn.Dropout(0.3),
        torch.nn.Linear(24, 1),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    inputs, target = torch.from_numpy(x[~test]), torch.from_numpy(y[~test].astype(np.float32))
    for _ in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(inputs)[:, 0], target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        return auroc(model(torch.from_numpy(x[test]))[:, 0].numpy(), y[test])


@pytest.mark.slow
def test_no_patch_tells_scar_from_mimic() -> None:
    assert patch_auroc(dimmer=1.0) <= 0.6


@pytest.mark.slow
def test_the_same_classifier_would_find_a_mimic_that_is_drawn_otherwise() -> None:
    assert patch_auroc(dimmer=0.5) > 0.7


@pytest.fixture(scope="module")
def cohort() -> tuple[np.ndarray, ...]:
    """Burdens [N, 17] at MRI time, fresh and stale beats [N, features] of 1600 patients."""
    cases = [sample_case(10_000_000 + seed) for seed in range(1600)]
    parts = [cases[first : first + 50] for first in range(0, len(cases), 50)]
    fresh, stale = (
        np.concatenate([beats_of(part, np.full(len(part), old)) for part in parts])
        for old in (False, True)
    )
    window = slice(BEAT_R_INDEX - 40, BEAT_R_INDEX + 160)

    def flat(beats: np.ndarray) -> np.ndarray:
        return beats[:, :, window].reshape(len(beats), 12, -1, 4).mean(-1).reshape(len(beats), -1)

    return np.stack([segment_burden_of(case) for case in cases]), flat(fresh), flat(stale)


@pytest.mark.slow
def test_a_stale_ecg_tells_nothing_of_the_scar_of_today(cohort: tuple[np.ndarray, ...]) -> None:
    """A regression trained on fresh ECGs has power on fresh ones and none on stale ones."""
    burden, fresh, stale = cohort
    known = slice(0, 800)
    mean = fresh[known].mean(0)
    _, _, axes = np.linalg.svd(fresh[known] - mean, full_matrices=False)
    fresh, stale = ((beats - mean) @ axes[:60].T for beats in (fresh, stale))
    targets = np.column_stack([burden.max(1) > 0.1, burden[:, (0, 1, 6, 7, 12)].max(1) > 0.1])
    scale = fresh[known].std(0)
    x = np.column_stack([fresh[known] / scale, np.ones(800)])
    weights = np.linalg.solve(x.T @ x + 5.0 * np.eye(61), x.T @ (targets[known] - 0.5))
    held_out = slice(800, None)
    for target in range(2):
        truth = targets[held_out, target]
        scores = [
            np.column_stack([beats[held_out] / scale, np.ones(800)]) @ weights[:, target]
            for beats in (fresh, stale)
        ]
        assert auroc(scores[0], truth) > 0.65
        assert auroc(scores[1], truth) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("thickness", [2.0, 4.0, 6.0])
def test_partial_volume_conserves_mass(thickness: float) -> None:
    """Wall and cavity volume equal the integral of the radii, whatever slices and pixels."""
    rng = np.random.default_rng(11)
    anatomy, look = sample_anatomy(rng), sample_look(rng)
    angle = np.arange(0, 360, 1.0, dtype=np.float32)[None, :]
    fine = np.linspace(0, 1, 2001, dtype=np.float32)[:, None]
    endo, epi = anatomy.radii(angle, fine)
    area = np.pi * np.stack([(epi**2 - endo**2).mean(1), (endo**2).mean(1)])
    exact = area.mean(axis=1) * anatomy.length_mm / 1000.0
    for spacing, shift in ((1.1, 0.0), (1.7, 0.43), (2.1, 1.0)):
        pitch = anatomy.length_mm / 24
        heights = pitch * (np.arange(24) + 0.5)
        size = int(120 / spacing)
        grid = SliceGrid(size, size, spacing, heights, thickness, np.full((24, 2), shift))
        stack = render(np.random.default_rng(0), anatomy, no_scar(), no_scar(), grid, look)
        voxel = spacing**2 * pitch / 1000.0
        wall, cavity = ((stack.labels == label).sum() * voxel for label in (2, 1))
        assert wall == pytest.approx(exact[0], rel=0.02)
        assert cavity == pytest.approx(exact[1], rel=0.02)


def analytic_segment(angle: float, level: float) -> int:
    """AHA segment from the published definition alone: thirds of the long axis with an apical
    cap, six, six and four sectors anticlockwise; the septum lies between the RV insertions."""
    if level >= 0.92:
        return 17
    if level >= 0.62:  # four sectors of 90°, the septal one centred on the septum's middle
        names = {0: 14, 1: 15, 2: 16, 3: 13}
        return names[int(((angle - 15.0) % 360.0) // 90.0)]
    first = 1 if level < 0.32 else 7
    # From the anterior insertion: anteroseptal, inferoseptal, inferior, inferolateral,
    # anterolateral, anterior.
    return first + [1, 2, 3, 4, 5, 0][int((angle % 360.0) // 60.0)]


def test_the_aha_map_is_the_analytic_one() -> None:
    wrong = total = 0
    for seed in range(6):
        case = sample_case(seed)
        stack = case.image(128, 1.6, 10.0)
        septum = case.anatomy.septum_deg
        for k, row, column in np.argwhere(stack.segments > 0)[::37]:
            x = (column + 0.5 - 64) * 1.6 - stack.centres_mm[k, 0]
            y = -((row + 0.5 - 64) * 1.6 - stack.centres_mm[k, 1])
            angle = (math.degrees(math.atan2(y, x)) - case.anatomy.insertion_deg) % 360.0
            free = 120.0 + (angle - septum) * 240.0 / (360.0 - septum)
            angle = angle * 120.0 / septum if angle < septum else free
            level = min(max(stack.heights_mm[k] / case.anatomy.length_mm, 0.0), 1.0)
            wrong += analytic_segment(angle, level) != stack.segments[k, row, column]
            total += 1
    assert total > 500
    assert wrong / total < 0.005  # rounding at the borders


def test_the_graph_finds_the_segments_from_true_anatomy() -> None:
    shares = []
    for seed in range(30, 48):
        stack = sample_case(seed).image(128, 1.6, 5.0)
        classes = np.where(stack.labels == 3, 2, np.where(stack.labels == 4, 3, stack.labels))
        anatomy = torch.nn.functional.one_hot(torch.from_numpy(classes).long(), 4)
        anatomy = anatomy.permute(0, 3, 1, 2).float()
        axis = torch.from_numpy((np.arange(128) + 0.5 - 64) * 1.6).float()
        frame = locate(anatomy.flatten(2), 1.6, torch.linspace(0, 1, len(stack.pixels)))
        found = segment_map(axis, axis, sectors_of(frame)).numpy()
        wall = stack.segments > 0
        shares.append((found[wall] == stack.segments[wall]).mean())
    assert np.mean(shares) >= 0.88


def test_healthy_leads_have_adult_amplitudes_and_infarcts_lose_anterior_r() -> None:
    rng = np.random.default_rng(21)
    traits = [t for t in (sample_conduction(rng) for _ in range(80)) if t.bundle == "normal"][:50]
    anatomies = [sample_anatomy(rng) for _ in traits]
    beats = simulate_beats(anatomies, [no_scar()] * len(traits), traits)
    qrs = beats[:, :, BEAT_R_INDEX - 45 : BEAT_R_INDEX + 45]
    top, bottom = np.median(qrs.max(2), 0), np.median(-qrs.min(2), 0)
    for lead, low, high in (("I", 0.15, 1.5), ("II", 0.2, 2.0), ("V5", 0.5, 3.0), ("V6", 0.4, 2.5)):
        assert low < top[LEADS.index(lead)] < high, lead
    assert 0.2 < bottom[LEADS.index("V2")] < 3.0
    assert top[LEADS.index("V4")] > top[LEADS.index("V1")]
