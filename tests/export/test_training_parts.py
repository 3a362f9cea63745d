"""Batches, losses and the loop: what training shows the network is what deployment shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scarseg_export.net.normalise import robust_zscore
from scarseg_export.net.sampling import PixelGrid, view
from scarseg_export.train import loop
from scarseg_export.train.batches import (
    Framing,
    Source,
    about,
    any_turn,
    draw_batch,
    source_of,
    turned_and_flipped,
)
from scarseg_export.train.buffers import StackBuffer
from scarseg_export.train.contrast import bend_contrast
from scarseg_export.train.loop import Rate, run_steps
from scarseg_export.train.losses import MIMIC, UNKNOWN_OUTSIDE, anatomy_loss, scar_loss
from scarseg_export.twin.cohort import sample_case
from scarseg_runtime.contract import Label

FRAMING = Framing(32, 3.0, 4.0, 9.0, 0.04, 0.15, 1.5)
CPU = torch.device("cpu")
UPRIGHT = torch.tensor([[1.0, 0.0]]).expand(5, 2)


@pytest.fixture(scope="module")
def buffer() -> StackBuffer:
    stacks = [sample_case(seed, scar_free=0.0).image(64, 2.5, 5.0, slices=4) for seed in range(5)]
    return StackBuffer(
        np.stack([s.pixels for s in stacks]).astype(np.uint16),
        np.stack([s.labels for s in stacks]),
        np.stack([s.centres_mm for s in stacks]).astype(np.float32),
        np.full(5, 2.5, np.float32),
    )


def test_training_normalises_as_the_deployed_graph_does(buffer: StackBuffer) -> None:
    turns = any_turn(len(buffer), CPU)
    source = source_of(buffer, turns, FRAMING, 1.0, CPU)
    pixels = torch.from_numpy(buffer.pixels[2].astype(np.float32))
    half = PixelGrid.of(pixels, torch.tensor([2.5, 2.5])).half_mm
    centres = torch.from_numpy(buffer.centres_mm[2].copy())
    crop = view(pixels, half, centres, FRAMING.size, FRAMING.spacing_mm, turns[2])
    lowest, low, high, mean, sd = source.scales[2]
    ours = torch.where(crop > lowest, (crop.clamp(float(low), float(high)) - mean) / sd, 0.0)
    assert torch.allclose(ours, robust_zscore(crop).reshape(ours.shape), atol=1e-5)


def test_a_batch_follows_from_its_seed_and_keeps_labels_on_the_pixels(buffer: StackBuffer) -> None:
    source = source_of(buffer, UPRIGHT, FRAMING, 1.0, CPU)
    first, second = (_seeded_batch([source], 24) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    crops, labels = first
    assert crops.shape == (24, 3, 32, 32) and labels.shape == (24, 32, 32)
    blood, muscle = (crops[:, 1][labels == label].mean() for label in (1, 2))
    assert blood > muscle + 0.5  # in units of the crop's SD: labels have moved with the image


def _seeded_batch(sources: list[Source], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(7)
    return draw_batch(sources, size, FRAMING)


def test_shares_of_a_batch_are_kept(buffer: StackBuffer) -> None:
    sources = [source_of(buffer, UPRIGHT, FRAMING, share, CPU) for share in (0.75, 0.25)]
    marked = StackBuffer(buffer.pixels, np.full_like(buffer.labels, 5), *(
        (buffer.centres_mm, buffer.spacing_mm)
    ))  # fmt: skip
    sources[1] = source_of(marked, UPRIGHT, FRAMING, 0.25, CPU)
    _, labels = _seeded_batch(sources, 16)
    assert len(labels) == 16
    assert int((labels == 5).all(dim=(1, 2)).sum()) == 4


def test_turns_and_flips_change_no_lengths_and_mirror_every_second() -> None:
    torch.manual_seed(3)
    turns = any_turn(400, CPU)
    matrices = turned_and_flipped(turns)
    unit = torch.eye(2).expand(400, 2, 2)
    assert torch.allclose(matrices.transpose(1, 2) @ matrices, unit, atol=1e-5)
    mirrored = torch.linalg.det(matrices) < 0
    assert 0.4 < mirrored.float().mean() < 0.6
    assert torch.equal(matrices[:, :, 0], turns)  # mirrored or not, the RV stays where it is
    angles = torch.atan2(turns[:, 1], turns[:, 0])
    assert torch.histc(angles, 8, -torch.pi, torch.pi).min() > 20  # any angle, not quarters


def test_training_turns_each_heart_about_as_it_was_found_and_loses_few() -> None:
    torch.manual_seed(4)
    found = any_turn(4000, CPU)
    cosine = (about(found, 12.0, 0.05) * found).sum(1).clamp(-1, 1)
    off = torch.rad2deg(torch.arccos(cosine))
    near = off < 60.0
    assert 1 - near.float().mean() == pytest.approx(0.05 * 2 / 3, abs=0.015)
    assert off[near].square().mean().sqrt() == pytest.approx(12.0, abs=2.5)


def test_bent_contrast_keeps_each_sample_to_itself_and_its_order_of_tissues() -> None:
    torch.manual_seed(5)
    ramp = torch.linspace(-1.5, 1.5, 32).expand(64, 3, 32, 32).contiguous()
    bent = bend_contrast(ramp)
    assert bent.shape == ramp.shape and torch.isfinite(bent).all()
    columns = bent.mean((1, 2))
    assert (columns[:, 24:].mean(1) > columns[:, :8].mean(1)).all()  # bright stays brighter
    assert columns.mean(1).std() > 0.05  # samples differ


def test_outside_a_cine_heart_background_and_rv_are_equally_right() -> None:
    truth = torch.full((1, 8, 8), UNKNOWN_OUTSIDE)
    truth[:, 2:5, 2:5] = Label.LV_CAVITY
    losses = []
    for winner in (0, 3):
        logits = torch.zeros(1, 4, 8, 8)
        logits[:, winner][truth == UNKNOWN_OUTSIDE] = 6.0
        losses.append(torch.stack(anatomy_loss(logits, truth)))
    assert torch.allclose(losses[0], losses[1], atol=1e-6)
    wrong = torch.zeros(1, 4, 8, 8)
    wrong[:, 2][truth == UNKNOWN_OUTSIDE] = 6.0
    assert anatomy_loss(wrong, truth)[0] > losses[0][0] + 1.0


def test_a_mimic_teaches_the_image_path_nothing() -> None:
    truth = torch.full((1, 6, 6), int(Label.VIABLE_MYOCARDIUM))
    truth[:, :2] = MIMIC
    truth[:, 4:] = Label.SCAR
    scar = torch.zeros(1, 6, 6, requires_grad=True)
    sum(scar_loss(scar, torch.ones(1, 6, 6), truth)).backward()
    assert not scar.grad[truth == MIMIC].any()
    assert (scar.grad[truth == Label.SCAR] < 0).all()
    assert (scar.grad[truth == Label.VIABLE_MYOCARDIUM] > 0).all()


def test_blood_taken_for_wall_must_not_turn_into_scar() -> None:
    truth = torch.full((1, 4, 4), int(Label.LV_CAVITY))
    scar = torch.zeros(1, 4, 4, requires_grad=True)
    sum(scar_loss(scar, torch.ones(1, 4, 4), truth)).backward()
    assert (scar.grad > 0).all()


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 4)

    def train(checkpoint: Path, stop_at: int | None) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))

        def loss_of(step: int) -> tuple[torch.Tensor, dict[str, str]]:
            if step == stop_at:
                raise KeyboardInterrupt
            x = torch.randn(16, 3)
            return ((model(x) - x.sum(1, keepdim=True)) ** 2).mean(), {}

        run_steps("toy", [Rate(model, 1e-2)], 12, 5, loss_of, checkpoint)
        return model

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "a.pt", stop_at=7)
    resumed, whole = train(tmp_path / "a.pt", None), train(tmp_path / "b.pt", None)
    ours, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
