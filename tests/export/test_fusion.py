"""The bounds of what an ECG may do, and when it is doubted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scarseg_export.net.aha_map import areas_mm2
from scarseg_export.net.config import NetworkConfig
from scarseg_export.net.ecg_encoder import size_units
from scarseg_export.net.fusion import (
    Agreement,
    Ceiling,
    Fusion,
    heart_size,
    members,
    moved,
    paucity,
    segment_evidence,
)
from scarseg_export.net.network import ScarNet
from scarseg_export.net.time_weight import AgeLikelihood, TemporalWeight
from scarseg_export.train.fusion import Pairs, agreement_loss
from scarseg_export.train.recipe import network_config
from scarseg_runtime.contract import BEAT_SAMPLES


@pytest.fixture(scope="module")
def net() -> ScarNet:
    torch.manual_seed(3)
    net = ScarNet(NetworkConfig(fine_widths=(8, 8, 8), localiser_widths=(4, 8, 8))).eval()
    with torch.no_grad():  # an untrained head says wall nowhere: let it say so everywhere
        net.image.anatomy.bias[2] += 3.0
    return net


def study(net: ScarNet, beat: torch.Tensor, gap: float, valid: float) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(0)
    lge = torch.from_numpy(rng.gamma(2.0, 200.0, (4, 80, 72)).astype(np.float32))
    with torch.no_grad():
        return net(
            lge, torch.tensor([1.6, 1.6]), torch.linspace(0, 1, 4), beat,
            torch.tensor([gap]), torch.tensor([valid]),
        )  # fmt: skip


def test_without_an_ecg_the_answer_is_the_image_path_bit_for_bit(net: ScarNet) -> None:
    beats = torch.randn(12, BEAT_SAMPLES), torch.full((12, BEAT_SAMPLES), torch.nan)
    first, second = (study(net, beat, 1.0, 0.0) for beat in beats)
    assert torch.equal(first[0], first[2])  # labels are the image-only labels
    for ours, theirs in zip(first[:4], second[:4], strict=True):
        assert torch.equal(ours, theirs)
    assert float(first[6]) == 0.0 and float(first[7]) == 0.0


def test_an_ecg_moves_a_logit_by_delta_max_at_most(net: ScarNet) -> None:
    with torch.no_grad():
        net.fusion.out.bias.fill_(100.0)
        seen = net.see(
            torch.rand(3, 64, 64) * 500, torch.tensor([2.0, 2.0]), torch.linspace(0, 1, 3)
        )
        fused = net.fuse(seen, torch.randn(12, BEAT_SAMPLES), torch.zeros(1), torch.ones(1))
        change = torch.logit(fused.scar) - net.ceiling(seen.scar)
        net.fusion.out.bias.zero_()
    assert float(change.abs().max()) <= net.config.delta_max + 1e-3


@given(st.floats(0, 1), st.floats(0.01, 0.5))
def test_only_a_likely_mix_up_withholds_what_an_ecg_changes(odd: float, share: float) -> None:
    config = NetworkConfig(mix_up_share=share)
    left = float(moved(torch.zeros(1), torch.ones(1), torch.tensor([odd]), config))
    assert 1.0 - odd - 1e-5 <= left <= 1.0  # never less than if every second pair were one
    assert left == pytest.approx(1.0 - share, abs=1e-5) or odd != 0.5
    assert left == pytest.approx(float(odd < 1.0), abs=1e-5) or 0.0 < odd < 1.0


SMALL = NetworkConfig(scar_width=4, fusion_width=8, delta_max=3.0, delta_scarred=0.5)


def extreme_changes(highest: float, evidence: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Changes of some pixels by a head that wants to go all the way down, then up."""
    torch.manual_seed(1)
    head = Fusion(SMALL)
    belief = torch.full((17,), -5.0)
    belief[3] = highest
    inputs = torch.randn(200, 4), torch.zeros(200), torch.randint(17, (200,)), belief
    found = []
    with torch.no_grad():
        for bias in (-20.0, 20.0):
            head.out.bias.fill_(bias)
            found.append(head(*inputs, torch.full((17,), evidence)))
    return found[0], found[1]


@pytest.mark.parametrize(("evidence", "bound"), [(0.0, 3.0), (0.2, 0.5)])
def test_only_a_quiet_ecg_takes_scar_away_and_much_scar_hardly_at_all(
    evidence: float, bound: float
) -> None:
    down, up = extreme_changes(-5.0, evidence)
    assert torch.allclose(down, torch.tensor(-bound), rtol=0.03)
    assert torch.allclose(up, torch.tensor(0.5))
    down, up = extreme_changes(1.0, evidence)
    assert (down > -0.02 * bound).all()  # in the infarct's own territory and in every other
    assert torch.allclose(up, torch.tensor(0.5))


@given(st.lists(st.floats(0, 1, width=32), min_size=17, max_size=17), st.integers(0, 16))
def test_the_more_scar_an_image_shows_the_less_a_quiet_ecg_may_take(
    evidence: list[float], segment: int
) -> None:
    shown = torch.tensor(evidence)
    more = shown.clone()
    more[segment] = 1.0
    assert 0.0 <= float(paucity(more)) <= float(paucity(shown)) <= 1.0


def test_a_model_of_before_keeps_its_one_bound_and_gate() -> None:
    older = network_config({"delta_max": 1.2})
    assert (older.delta_scarred, older.delta_max, older.mix_up_share) == (1.2, 1.2, 0.5)
    assert network_config({}) == NetworkConfig()


@given(st.floats(-30, 30, width=32, allow_subnormal=False), st.floats(0.05, 20))
def test_the_ceiling_never_moves_a_pixel_across_one_half(logit: float, height: float) -> None:
    value = float(Ceiling(height)(torch.tensor(logit)))
    assert (value > 0) == (np.float32(logit) > 0)
    assert value <= height * 1.001
    if logit <= 0:
        assert value == pytest.approx(logit, rel=1e-6)


def test_a_border_is_resampled_where_it_lies_whatever_the_ceiling() -> None:
    ceiling = Ceiling(0.11)
    logits = torch.tensor([-6.0, -6.0, 6.0, 6.0])
    decision = ceiling.decision(torch.sigmoid(ceiling(logits)))
    assert torch.allclose(decision, torch.tensor([-1.0, -1.0, 1.0, 1.0]), atol=0.04)
    probability = torch.linspace(0.01, 0.99, 99)
    assert torch.equal(ceiling.decision(probability) > 0.0, probability > 0.5)


def test_evidence_is_the_mean_over_the_wall_of_each_segment() -> None:
    rng = np.random.default_rng(1)
    segments = rng.integers(1, 17, (3, 20, 20)).astype(np.float32)  # no segment 17
    wall = rng.random((3, 20, 20)) < 0.4
    scar = rng.random((3, 20, 20)).astype(np.float32)
    got = segment_evidence(*(torch.from_numpy(x) for x in (segments, wall, scar))).numpy()
    for number in range(1, 17):
        assert got[number - 1] == pytest.approx(scar[wall & (segments == number)].mean(), rel=1e-4)
    assert got[16] == 0.0


def test_heart_size_is_measured_in_mm() -> None:
    axis = (np.arange(96) + 0.5 - 48) * 1.5
    radius = np.hypot(axis[None, :], axis[:, None])
    cavity, wall = radius < 24.0, (radius >= 24.0) & (radius < 34.0)
    anatomy = np.stack([~(cavity | wall), cavity, wall, np.zeros_like(wall)]).astype(np.float32)
    got = heart_size(areas_mm2(torch.from_numpy(np.stack([anatomy] * 3)).flatten(2), 1.5))
    expected = size_units(torch.tensor([[34.0, 10.0]]))
    assert torch.allclose(got, expected, atol=0.1)


def test_fusion_sees_the_segment_of_each_pixel() -> None:
    torch.manual_seed(0)
    fusion = Fusion(SMALL)
    features, scar = torch.zeros(17, 4), torch.zeros(17)
    belief = torch.linspace(-4, 4, 17)
    change = fusion(features, scar, torch.arange(17), belief, torch.zeros(17))
    assert change.unique().numel() > 10
    assert (change.abs() < SMALL.delta_max).all()


def test_whole_maps_are_changed_as_pixels_one_by_one_are() -> None:
    torch.manual_seed(1)
    fusion = Fusion(SMALL)
    features, scar = torch.randn(3, 4, 6, 5), torch.randn(3, 1, 1, 30)
    segments = torch.randint(1, 18, (3, 1, 1, 30))
    belief, evidence = torch.randn(17), torch.rand(17)
    maps = fusion.on_maps(features, scar, members(segments), belief[None], evidence[None])
    flat = features.permute(0, 2, 3, 1).flatten(0, 2)
    pixels = fusion(flat, scar.flatten(), segments.flatten() - 1, belief, evidence)
    assert torch.allclose(maps.flatten(), pixels, atol=1e-6)


@pytest.mark.parametrize("true_tau", [40.0, 120.0, 400.0])
def test_tau_is_found_from_labels_though_nothing_says_which_ecg_is_old(true_tau: float) -> None:
    """ECGs that hear another heart's burden with probability 1 − exp(−Δt/τ), and hear badly."""
    rng = np.random.default_rng(11)
    patients = 4000
    state = rng.random((2, patients, 17)) < 0.2  # of the image and, else, of the ECG
    gap = np.exp(rng.uniform(0.0, np.log(1000.0), patients))
    stale = rng.random(patients) < 1.0 - np.exp(-gap / true_tau)
    heard = np.where(stale[:, None], state[1], state[0])
    belief = torch.from_numpy(rng.normal(3.0 * heard - 1.5, 1.5)).float()
    scarred = torch.from_numpy(state[0]).float()
    weight, age = TemporalWeight(480.0), AgeLikelihood(scarred)
    days, valid = torch.from_numpy(gap).float(), torch.ones(patients)
    optimiser = torch.optim.Adam([*weight.parameters(), *age.parameters()], 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        age(weight(days, valid), belief, scarred).backward()
        optimiser.step()
    assert weight.tau_days == pytest.approx(true_tau, rel=0.25)


def test_an_ecg_that_tells_nothing_is_not_trusted() -> None:
    rng = np.random.default_rng(12)
    scarred = torch.from_numpy(rng.random((500, 17)) < 0.2).float()
    belief = torch.from_numpy(rng.normal(0.0, 2.0, (500, 17))).float()
    age = AgeLikelihood(scarred)
    weight = torch.full((500,), 0.5, requires_grad=True)
    age(weight, belief, scarred).backward()
    assert weight.grad is not None and float(weight.grad.sum()) > 0  # less weight, more likely


def test_agreement_tells_a_foreign_ecg_by_scar_and_size() -> None:
    rng = np.random.default_rng(13)
    count = 400
    scar = rng.random((count, 17)) < 0.3
    size = rng.normal(0.0, 1.0, (count, 2))
    belief = rng.normal(4.0 * scar[:, None, None] - 2.0, 2.0, (count, 2, 4, 17))
    heard = rng.normal(size[:, None, None], 0.5, (count, 2, 4, 2))
    known, unseen = (
        Pairs(*(torch.from_numpy(part[half]).float() for part in (belief, heard, scar, size, scar)))
        for half in (slice(0, 300), slice(300, None))
    )
    torch.manual_seed(0)
    agreement = Agreement()
    optimiser = torch.optim.Adam(agreement.parameters(), 3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        agreement_loss(agreement, rng, known).backward()
        optimiser.step()
    chance = np.log(2.0)
    assert float(agreement_loss(agreement, rng, unseen)) < 0.5 * chance
