"""Parts of the graph against independent definitions and their own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scarseg_export.net.aha_map import HeartFrame, locate, sectors_of, segment_map
from scarseg_export.net.localiser import FAR_MM, LEAN_MM2, centres_from, stack_centre, towards_rv
from scarseg_export.net.network import ScarNet
from scarseg_export.net.normalise import robust_zscore
from scarseg_export.net.sampling import (
    PixelGrid,
    Place,
    SquareGrid,
    back,
    centred_view,
    offsets_mm,
    view,
    with_neighbours,
)
from scarseg_export.net.seen import Seen
from scarseg_export.net.time_weight import TemporalWeight, mix
from scarseg_runtime import taff as policy
from scarseg_runtime.atlas import segment_at


def with_one(points: torch.Tensor) -> torch.Tensor:
    """[S, 1, 1, 3] from points [S, 2]."""
    return torch.cat([points, torch.ones(len(points), 1)], 1)[:, None, None]


@given(
    st.floats(-180, 180),
    st.floats(0, 1),
    st.floats(0, 360),
    st.floats(5, 40),
)
def test_segments_in_the_graph_are_those_of_the_atlas(
    insertion: float, level: float, angle: float, radius: float
) -> None:
    to_boundary = (angle - 15 * np.round(angle / 15)) if angle else 0.0
    if abs(to_boundary) < 0.01 or min(abs(level - end) for end in (0.32, 0.62, 0.92)) < 1e-4:
        return  # on a boundary, rounding decides
    septum = math.radians(insertion + 60.0)
    towards = torch.tensor([[math.cos(septum), -math.sin(septum)]])
    centre = with_one(torch.tensor([[7.0, -3.0]]))
    frame = HeartFrame(centre, towards, torch.tensor([[level]]))
    turn = math.radians(insertion + angle)
    column, row = 7.0 + radius * math.cos(turn), -3.0 - radius * math.sin(turn)
    found = segment_map(torch.tensor([column]), torch.tensor([row]), sectors_of(frame))
    assert int(found) == int(segment_at(angle, level))


def test_locate_finds_centre_septum_and_rings_of_a_drawn_heart() -> None:
    size, spacing = 96, 1.5
    axis = offsets_mm(size, spacing)
    x, y = axis[None, :] - 6.0, axis[:, None] + 9.0
    radius = torch.sqrt(x**2 + y**2)
    septum_deg = 160.0  # display angle of the middle of the septum
    along = x * math.cos(math.radians(septum_deg)) - y * math.sin(math.radians(septum_deg))
    across = x * math.sin(math.radians(septum_deg)) + y * math.cos(math.radians(septum_deg))
    cavity = radius < 20
    wall = (radius >= 20) & (radius < 30)
    right = (radius >= 30) & (along > 10) & ((along - 40) ** 2 + across**2 < 25**2)
    anatomy = torch.zeros(8, 4, size, size)
    for slice_index in range(1, 7):  # the first and the last slice miss the LV
        anatomy[slice_index, 1], anatomy[slice_index, 2] = cavity.float(), wall.float()
        anatomy[slice_index, 3] = right.float()
    anatomy[:, 0] = 1 - anatomy[:, 1:].sum(1)
    frame = locate(anatomy.flatten(2), spacing, torch.linspace(0, 1, 8))
    assert frame.centre[3, 0, 0].tolist() == pytest.approx([6.0, -9.0, 1.0], abs=0.3)
    septum = math.radians(septum_deg)
    assert frame.towards[0].tolist() == pytest.approx(
        [math.cos(septum), -math.sin(septum)], abs=0.03
    )
    # Six slices span the LV; the last still has a cavity, so none is the cap (segment 17).
    expected = (np.arange(6) + 0.5) / 6 * 0.92
    assert frame.long_axis[1:7, 0].numpy() == pytest.approx(expected, abs=1e-4)


def test_an_image_without_a_heart_stays_finite() -> None:
    anatomy = torch.zeros(3, 4, 96, 96)
    anatomy[:, 0] = 1.0
    frame = locate(anatomy.flatten(2), 1.5, torch.linspace(0, 1, 3))
    for value in (frame.centre, frame.towards, frame.long_axis):
        assert torch.isfinite(value).all()


@settings(max_examples=30)
@given(st.floats(-3, 6), st.floats(-30, 30))
def test_normalisation_does_not_see_gain_or_offset(log_gain: float, offset: float) -> None:
    views = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = robust_zscore(views)
    scaled = robust_zscore(views * 10**log_gain + offset * 10**log_gain)
    assert torch.allclose(plain, scaled, atol=1e-3)


def test_constant_and_padded_images_normalise_to_finite_values() -> None:
    assert robust_zscore(torch.full((2, 8, 8), 7.0)).abs().max() == 0
    padded = torch.zeros(1, 16, 16)
    padded[:, :, :8] = 100 + torch.rand(1, 16, 8)
    z = robust_zscore(padded)
    z = z.reshape(padded.shape)
    assert z[:, :, 8:].abs().max() == 0 and abs(float(z[:, :, :8].mean())) < 0.1


@pytest.mark.parametrize("degrees", [0.0, 37.0, -128.0])
def test_a_view_and_back_keep_positions(degrees: float) -> None:
    turn = turn_by(degrees)
    image = torch.zeros(1, 120, 100)
    image[0, 40:50, 60:70] = 1.0
    spacing = torch.tensor([1.3, 1.7])
    grid = PixelGrid.of(image, spacing)
    half = grid.half_mm
    middle = torch.tensor([[(65 - 50) * 1.7, (45 - 60) * 1.3]])
    seen = view(image, half, middle, 96, 1.0, turn)
    axis = offsets_mm(96, 1.0)
    assert float((seen[0] * axis[None, :]).sum() / seen.sum()) == pytest.approx(0.0, abs=0.1)
    assert float((seen[0] * axis[:, None]).sum() / seen.sum()) == pytest.approx(0.0, abs=0.1)
    places = Place.at(middle, turn, half, 48.0).from_pixels(grid) @ grid.points()
    again = back(seen[:, None], places).reshape(image.shape)[0]
    assert float((again * image[0]).sum() / image.sum()) > 0.9
    assert float(again.sum()) == pytest.approx(float(image.sum()), rel=0.02)


def test_a_turned_view_is_the_upright_view_of_a_turned_image() -> None:
    size, spacing = 80, 1.25
    axis = offsets_mm(size, spacing)
    half, centre = torch.full((2,), size * spacing / 2), torch.zeros(1, 2)

    def blob(x_mm: float, y_mm: float) -> torch.Tensor:
        square = (axis[None, :] - x_mm) ** 2 + (axis[:, None] - y_mm) ** 2
        return torch.exp(-square / 50.0)[None]

    degrees = 64.0
    turn = turn_by(degrees)
    x, y = 14.0, -9.0  # along the axes of the crop
    c, s = float(turn[0]), float(turn[1])
    seen = view(blob(c * x - s * y, s * x + c * y), half, centre, 48, 1.5, turn)
    upright = view(blob(x, y), half, centre, 48, 1.5)
    assert float((seen - upright).abs().max()) < 0.03


@pytest.mark.parametrize("shape", [(3, 120, 100), (2, 300, 420), (1, 40, 44)])
def test_the_centred_view_is_that_of_sampling_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    grid = PixelGrid.of(image, torch.tensor([1.3, 0.9]))
    fine = view(image, grid.half_mm, torch.zeros(shape[0], 2), 64, 1.5)
    expected = torch.nn.functional.avg_pool2d(fine[:, None], 2)[:, 0]
    assert torch.allclose(centred_view(image[None], grid, 32, 3.0)[0], expected, atol=2e-4)


@pytest.mark.parametrize("padding", [0.0, -1024.0, 1e4 / 3])
def test_padding_stays_one_value_in_both_views(padding: float) -> None:
    """So that statistics leave it out; whatever its value is."""
    net = ScarNet().eval()
    heart = torch.rand(4, 150, 130) * 300 + padding + 50
    heart[:, :, :40] = padding
    spacing = torch.tensor([1.4, 1.7])
    seen = []
    for shift in (0.0, 17.0):
        with torch.no_grad():
            image = heart + shift
            grid = PixelGrid.of(image, spacing)
            seen.append(net.localiser.coarse_view(image - image.amin((0, 1, 2)), grid))
    assert (seen[0] == 0).float().mean() > 0.25
    assert torch.allclose(seen[0], seen[1], atol=1e-2)


def test_the_heart_is_found_beside_a_false_island() -> None:
    axis = offsets_mm(128, 3.0)
    x, y = axis[None, None, :], axis[None, :, None]
    heart = ((x - 30) ** 2 + (y + 12) ** 2 < 35**2).float().expand(6, -1, -1).clone()
    heart[2] += ((x[0] + 150) ** 2 + (y[0] - 120) ** 2 < 12**2).float()
    heart[5] = 0.0  # beyond the apex
    weight, points = heart.square().reshape(6, 1, 1, -1), SquareGrid.of(128, 3.0)
    stack = stack_centre((weight.sum((0, 1)) + 1e-7).log(), points, FAR_MM)
    assert np.abs(stack[0].numpy() - [30.0, -12.0, 1.0]).max() < 4.0
    centres = centres_from(weight, points, LEAN_MM2 / 3.0**2)
    assert np.abs(centres[:, 0, 0].numpy() - [30.0, -12.0, 1.0]).max() < 4.0


@given(st.floats(-180, 180))
def test_the_turn_brings_the_right_ventricle_to_the_left(degrees: float) -> None:
    axis = offsets_mm(64, 3.0)
    centres = torch.tensor([[12.0, -8.0], [14.0, -6.0]])
    away = math.radians(degrees)
    x = axis[None, None, :] - centres[:, 0, None, None] - 45.0 * math.cos(away)
    y = axis[None, :, None] - centres[:, 1, None, None] - 45.0 * math.sin(away)
    weight = (x**2 + y**2 < 15**2).float().reshape(2, 1, 1, -1)
    towards = towards_rv(weight, SquareGrid.of(64, 3.0), with_one(centres))
    half = torch.tensor([150.0, 120.0])
    turn = Place.of_image(half).within(with_one(centres), towards).turn
    assert float((turn**2).sum()) == pytest.approx(1.0, abs=1e-5)
    # Of crop axes so turned, the direction "left" is that of the RV in the image.
    assert turn.tolist() == pytest.approx([-math.cos(away), -math.sin(away)], abs=0.03)


def test_without_a_right_ventricle_the_crop_is_upright() -> None:
    points, centres = SquareGrid.of(64, 3.0), with_one(torch.zeros(3, 2))
    towards = towards_rv(torch.zeros(3, 1, 1, 64 * 64), points, centres)
    place = Place.of_image(torch.tensor([100.0, 100.0])).within(centres, towards)
    assert place.turn.tolist() == pytest.approx([1.0, 0.0])


@given(st.floats(-180, 180), st.floats(-180, 180), st.floats(-40, 40), st.floats(-40, 40))
def test_a_place_within_a_place_is_one_of_the_image(
    outer: float, inner: float, x: float, y: float
) -> None:
    half = torch.tensor([150.0, 120.0])
    about = Place.at(torch.tensor([[8.0, -5.0]]), turn_by(outer), half)
    assert about.centres_mm.numpy() == pytest.approx(np.array([[8.0, -5.0]]), abs=1e-4)
    found = about.within(with_one(torch.tensor([[x, y]])), -turn_by(inner)[None])
    c, s = turn_by(outer).tolist()
    middle = np.array([[8.0 + c * x - s * y, -5.0 + s * x + c * y]])
    assert found.centres_mm.numpy() == pytest.approx(middle, abs=1e-3)
    assert found.turn.numpy() == pytest.approx(turn_by(outer + inner).numpy(), abs=1e-4)


@pytest.mark.parametrize("slices", [1, 2, 5])
def test_neighbours_of_the_ends_are_the_ends(slices: int) -> None:
    crops = torch.arange(float(slices))[:, None, None, None].expand(-1, 1, 4, 3)
    expected = [[max(k - 1, 0), k, min(k + 1, slices - 1)] for k in range(slices)]
    for found in (with_neighbours(crops), with_neighbours(crops.transpose(0, 1))):
        assert found.shape == (slices, 3, 4, 3)
        assert found[:, :, 0, 0].tolist() == expected


@pytest.mark.parametrize("degrees", [0.0, 42.0, 90.0, -160.0])
def test_labels_and_segments_return_to_where_the_heart_lies(degrees: float) -> None:
    """A heart drawn in a turned crop: in the image it lies turned, segments and all."""
    net = ScarNet().eval()
    size, spacing = net.config.crop_size, net.config.crop_spacing_mm
    axis = offsets_mm(size, spacing)
    x, y = axis[None, :], axis[:, None]
    radius = torch.sqrt(x**2 + y**2)
    right = ((x + 45.0) ** 2 + y**2 < 20**2) & (radius >= 32)
    parts = [radius < 20, (radius >= 20) & (radius < 32), right]
    anatomy = torch.stack([~(parts[0] | parts[1] | right), *parts]).float().expand(3, -1, -1, -1)
    unit = net.config.crop_mm / 2
    frame = locate(anatomy, spacing, torch.tensor([0.2, 0.5, 0.8]), unit)
    lge = torch.zeros(3, 180, 150)
    pixel = torch.tensor([1.2, 1.5])
    grid = PixelGrid.of(lge, pixel)
    centre = torch.tensor([[10.0, -6.0]]).expand(3, -1)
    no_scar = torch.full((3, 1, 1, size * size), -5.0)
    place = Place.at(centre, turn_by(degrees), grid.half_mm, unit)
    flat = torch.ones(3, 1, 1, size * size)
    seen = Seen(
        grid, place, frame, sectors_of(frame), anatomy, torch.zeros(3, 1, size, size), no_scar,
        flat, flat.expand(-1, -1, 17, -1), flat > 0, torch.ones(17, 1), torch.zeros(1, 17),
        torch.zeros(1, 2),
    )  # fmt: skip
    with torch.no_grad():
        labels, _, _, segments = net.to_input_grid(seen, torch.sigmoid(no_scar))
    columns = (np.arange(150) + 0.5 - 75) * 1.5 - 10.0
    rows = (np.arange(180) + 0.5 - 90) * 1.2 + 6.0
    display = np.rad2deg(np.arctan2(-rows[:, None], columns[None, :]))
    ring = labels[0].numpy() == 2
    # The RV on the left of the crop has its anterior insertion 60 degrees before 180.
    insertion = 120.0 - degrees
    level = np.full(ring.sum(), float(frame.long_axis[0, 0]))
    expected = segment_at(display[ring] - insertion, level)
    assert np.mean(segments[0].numpy()[ring] == expected) > 0.99
    muscle = labels[0].numpy() == 4
    towards = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(display[muscle])).mean()))
    assert abs((towards - (180.0 - degrees) + 180.0) % 360.0 - 180.0) < 2.0


def turn_by(degrees: float) -> torch.Tensor:
    """A turn from columns towards rows, which on a display is clockwise."""
    angle = math.radians(degrees)
    return torch.tensor([math.cos(angle), math.sin(angle)])


@given(st.floats(0, 5000), st.floats(1, 2000))
def test_weight_in_the_graph_is_that_of_the_policy(gap: float, tau: float) -> None:
    weight = TemporalWeight(tau)(torch.tensor([gap]), torch.tensor([1.0]))
    assert float(weight.detach()) == pytest.approx(policy.weight(gap, tau), abs=1e-5)


@pytest.mark.parametrize("gap", [math.nan, -1.0, -math.inf, math.inf])
def test_weight_of_an_impossible_gap_is_zero(gap: float) -> None:
    assert float(TemporalWeight(120.0)(torch.tensor([gap]), torch.tensor([1.0]))) == 0.0


def test_weight_zero_is_the_image_path_bit_for_bit_even_beside_nan() -> None:
    image = torch.rand(5)
    assert torch.equal(mix(torch.tensor(0.0), torch.full((5,), math.nan), image), image)
