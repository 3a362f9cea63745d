"""Reading NIfTI: voxels keep their place in the world, and doubtful headers are noticed."""

from __future__ import annotations

import gzip
import logging
import math
import struct
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.study.from_arrays import stack_from_arrays
from scarseg_infer.study.geometry.orientation import (
    ANTERIOR_WALL,
    BASE_TO_APEX,
    LATERAL_WALL,
    display_transform,
)
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

SPACING_MM = (1.25, 1.5, 10.0)  # along i, j, k
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def noise(shape: tuple[int, ...] = (16, 20, 6), seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 4096, shape, dtype=np.int16)


def affine(
    i: NDArray[np.float64] = LATERAL_WALL,
    j: NDArray[np.float64] = -ANTERIOR_WALL,
    k: NDArray[np.float64] = -BASE_TO_APEX,
) -> NDArray[np.float64]:
    """RAS affine of array axes along unit vectors given in LPS."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([i, j, k], axis=1) * SPACING_MM
    matrix[:3, 3] = [-40.0, 30.0, 12.5]
    return np.asarray(LPS_TO_RAS @ matrix)


def save(
    path: Path, voxels: NDArray[Any], matrix: NDArray[np.float64] | None = None, **header: Any
) -> Path:
    image = nib.Nifti1Image(voxels, affine() if matrix is None else matrix)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def patched(path: Path, **header: Any) -> Path:
    """Overwrite header fields in a saved file: nibabel would mend them when saving."""
    data = path.read_bytes()
    raw = nib.Nifti1Header(data[:348], check=False)
    for key, value in header.items():
        raw[key] = value
    path.write_bytes(raw.binaryblock + data[348:])
    return path


def refusal(path: Path) -> str:
    with pytest.raises(StudyError) as caught:
        read_study(path)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert path.name not in message
    assert "\n" not in message
    return message


def by_world(stack: LgeStack) -> dict[tuple[int, ...], float]:
    """Voxel values by RAS place in hundredths of a millimetre, from the stack's geometry."""
    slices, rows, columns = np.indices(stack.pixels.shape)
    lps = (
        stack.origins_mm[slices]
        + columns[..., None] * stack.pixel_spacing_mm[1] * stack.row_direction
        + rows[..., None] * stack.pixel_spacing_mm[0] * stack.column_direction
    )
    keys = np.round(lps * [-100, -100, 100]).astype(int).reshape(-1, 3).tolist()
    return dict(zip(map(tuple, keys), stack.pixels.ravel().tolist(), strict=True))


def by_affine(voxels: NDArray[Any], matrix: NDArray[np.float64]) -> dict[tuple[int, ...], float]:
    """The same from the NIfTI affine, without our code."""
    indices = np.indices(voxels.shape[:3]).reshape(3, -1).T
    keys = np.round(nib.affines.apply_affine(matrix, indices) * 100).astype(int).tolist()
    return dict(zip(map(tuple, keys), voxels.ravel().astype(float).tolist(), strict=True))


@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_voxel_keeps_its_place_in_the_world(
    tmp_path: Path, signs: tuple[int, ...], swap: bool, suffix: str
) -> None:
    """All 16 ways to store slices: right- and left-handed affines included."""
    i, j, k = (sign * axis for sign, axis in
               zip(signs, (LATERAL_WALL, ANTERIOR_WALL, BASE_TO_APEX), strict=True))  # fmt: skip
    matrix = affine(j, i, k) if swap else affine(i, j, k)
    voxels = noise()
    stack = read_study(save(tmp_path / f"a{suffix}", voxels, matrix))
    assert by_world(stack) == by_affine(voxels, matrix)
    assert (np.diff(stack.slice_positions_mm) > 0).all()
    assert stack.pixels.shape == (6, 20, 16)
    assert stack.pixel_spacing_mm == pytest.approx((1.5, 1.25))
    assert stack.slice_thickness_mm == pytest.approx(10.0)
    assert stack.orientation_known
    assert stack.source == "nifti"
    assert stack.acquired is None
    assert stack.warnings == ()
    assert stack.datasets == ()


def test_all_storages_look_alike(tmp_path: Path) -> None:
    """One volume in the 16 storages that keep slices on the last axis: one display volume."""
    voxels = noise()
    standard = nib.Nifti1Image(voxels, affine())  # apex first, otherwise as displayed
    shown = set()
    for order, signs in product(((0, 1, 2), (1, 0, 2)), product((1, -1), repeat=3)):
        turned = standard.as_reoriented(np.stack([order, signs], axis=1))
        nib.save(turned, tmp_path / "turned.nii")
        stack = read_study(tmp_path / "turned.nii")
        shown.add(display_transform(stack).to_display(stack.pixels).tobytes())
    assert shown == {voxels.transpose(2, 1, 0)[::-1].astype(np.float32).tobytes()}


@pytest.mark.parametrize("height_mm", [1.5, 8.0, 13.0])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_slices_on_any_axis_look_alike(
    tmp_path: Path, order: tuple[int, ...], height_mm: float
) -> None:
    """A volume in every storage of its axes, also of voxels that are equally coarse on two."""
    voxels = noise((16, 20, 6))
    matrix = affine()
    matrix[:3, 2] *= height_mm / SPACING_MM[2]
    standard = nib.Nifti1Image(voxels, matrix)
    for signs in product((1, -1), repeat=3):
        nib.save(standard.as_reoriented(np.stack([order, signs], axis=1)), tmp_path / "turned.nii")
        stack = read_study(tmp_path / "turned.nii")
        assert stack.orientation_known
        assert stack.warnings == ()
        transform = display_transform(stack)
        shown = transform.to_display(stack.pixels)
        np.testing.assert_array_equal(shown, voxels.transpose(2, 1, 0)[::-1])
        assert transform.display_spacing(stack.pixel_spacing_mm) == pytest.approx((1.5, 1.25))
        np.testing.assert_allclose(np.diff(stack.slice_positions_mm), height_mm, rtol=1e-4)
        rows_mm, columns_mm = stack.pixel_spacing_mm
        middle = stack.origins_mm.mean(axis=0)
        middle += (stack.pixels.shape[2] - 1) / 2 * columns_mm * stack.row_direction
        middle += (stack.pixels.shape[1] - 1) / 2 * rows_mm * stack.column_direction
        expected = (LPS_TO_RAS @ matrix @ [7.5, 9.5, 2.5, 1.0])[:3]
        np.testing.assert_allclose(middle, expected, atol=1e-3)


def test_closest_canonical_axes_of_a_large_matrix(tmp_path: Path) -> None:
    """As converters write by default: more than 200 rows on the axis that slices have elsewhere."""
    voxels = noise((16, 220, 6))
    nib.save(nib.as_closest_canonical(nib.Nifti1Image(voxels, affine())), tmp_path / "a.nii.gz")
    stack = read_study(tmp_path / "a.nii.gz")
    shown = display_transform(stack).to_display(stack.pixels)
    np.testing.assert_array_equal(shown, voxels.transpose(2, 1, 0)[::-1])


def two_forms(path: Path, sform: NDArray[np.float64], qform: NDArray[np.float64]) -> Path:
    image = nib.Nifti1Image(noise(), sform)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    "change",
    ["third axis", "first axis", "quarter turn", "in-plane swap", "moved", "tilted"],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_sform_and_qform_that_disagree(tmp_path: Path, change: str, suffix: str) -> None:
    i, j, k = LATERAL_WALL, -ANTERIOR_WALL, -BASE_TO_APEX
    other = {
        "third axis": affine(i, j, -k),
        "first axis": affine(-i, j, k),
        "quarter turn": affine(j, -i, k),
        "in-plane swap": affine(-i, -j, k),
        "moved": affine(),
        "tilted": affine(i * 0.8 + k * 0.6, j, k * 0.8 - i * 0.6),
    }[change]
    if change == "moved":
        other[2, 3] += 30.0
    for sform, qform in ((affine(), other), (other, affine())):
        stack = read_study(two_forms(tmp_path / f"a{suffix}", sform, qform))
        assert not stack.orientation_known
        assert any("sform and qform" in warning for warning in stack.warnings)


def test_sform_and_qform_that_agree(tmp_path: Path) -> None:
    nearly = affine()
    nearly[:3, 3] += 0.3
    stack = read_study(two_forms(tmp_path / "a.nii", affine(), nearly))
    assert stack.orientation_known
    assert stack.warnings == ()


def test_scaling_and_types(tmp_path: Path) -> None:
    voxels = noise().astype(np.float64) / 7
    image = nib.Nifti1Image(voxels, affine())
    image.set_data_dtype(np.int16)  # stored with a slope and an intercept
    nib.save(image, tmp_path / "a.nii.gz")
    stack = read_study(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(stack.pixels.transpose(2, 1, 0), voxels, atol=0.02)


def test_fourth_dimension_of_one(tmp_path: Path) -> None:
    voxels = noise()
    stack = read_study(save(tmp_path / "a.nii", voxels[..., None]))
    np.testing.assert_array_equal(stack.pixels.transpose(2, 1, 0), voxels)


def test_nifti_2_and_either_name(tmp_path: Path) -> None:
    voxels = noise()
    nib.save(nib.Nifti2Image(voxels, affine()), tmp_path / "two.nii")
    (tmp_path / "packed.nii").write_bytes(gzip.compress((tmp_path / "two.nii").read_bytes()))
    (tmp_path / "PLAIN.NII.GZ").write_bytes((tmp_path / "two.nii").read_bytes())
    for name in ("two.nii", "packed.nii", "PLAIN.NII.GZ"):
        stack = read_study(tmp_path / name)
        np.testing.assert_array_equal(stack.pixels.transpose(2, 1, 0), voxels)


def test_single_slice(tmp_path: Path) -> None:
    stack = read_study(save(tmp_path / "a.nii", noise((16, 20, 1))))
    assert stack.pixels.shape == (1, 20, 16)
    assert stack.slice_thickness_mm == pytest.approx(10.0)
    assert any("single slice" in warning for warning in stack.warnings)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001)])
def test_units_of_length(tmp_path: Path, unit: str, factor: float) -> None:
    matrix = affine()
    matrix[:3] /= factor
    voxels = noise()
    image = nib.Nifti1Image(voxels, matrix)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "a.nii")
    stack = read_study(tmp_path / "a.nii")
    assert stack.pixel_spacing_mm == pytest.approx((1.5, 1.25))
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), 10.0, rtol=1e-4)
    assert stack.warnings == ()


# --- doubtful headers -----------------------------------------------------------------------


def test_pixdim_wins_over_the_affine(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", noise())
    stack = read_study(patched(path, pixdim=[1, 1.4, 1.4, 8.0, 1, 1, 1, 1]))
    assert stack.pixel_spacing_mm == pytest.approx((1.4, 1.4))
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), 8.0, rtol=1e-6)
    assert not stack.orientation_known
    warning, unknown = stack.warnings
    assert "how the heart lies" in unknown
    assert "1.25 × 1.50 × 10.00 mm" in warning
    assert "pixdim 1.40 × 1.40 × 8.00 mm" in warning


def test_axis_aligned_affine_is_not_believed(tmp_path: Path) -> None:
    voxels = noise()
    stack = read_study(save(tmp_path / "a.nii", voxels, np.diag([*SPACING_MM, 1.0])))
    assert not stack.orientation_known
    shown = display_transform(stack).to_display(stack.pixels)
    np.testing.assert_array_equal(shown, voxels.transpose(2, 1, 0))
    assert any("how the heart lies" in warning for warning in stack.warnings)


@pytest.mark.parametrize(
    "row", [[0.0, 0, 0, 0], [np.nan, 0, 0, 0], [1e30, 0, 0, 0], [1.0, 0, 0, 1e9], [1, 1, 0, 0]]
)
def test_unusable_affine(tmp_path: Path, row: list[float]) -> None:
    path = save(tmp_path / "a.nii", noise(), np.diag([*SPACING_MM, 1.0]))
    stack = read_study(patched(path, srow_x=row))
    assert not stack.orientation_known
    assert stack.pixel_spacing_mm == pytest.approx((1.5, 1.25))
    np.testing.assert_allclose(stack.slice_positions_mm, np.arange(6) * 10.0)
    assert any("unusable" in warning for warning in stack.warnings)


def test_nothing_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = patched(save(tmp_path / "a.nii", noise()), pixdim=[1, -1.4, 1.4, 8.0, 1, 1, 1, 1])
    caplog.clear()
    capfd.readouterr()
    with caplog.at_level(logging.DEBUG):
        refusal(path)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.0, -1.4, np.nan, np.inf])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_impossible_voxel_sizes(tmp_path: Path, size: float, axis: int) -> None:
    pixdim = [1, 1.4, 1.4, 8.0, 1, 1, 1, 1]
    pixdim[axis] = size
    assert "impossible voxel sizes" in refusal(
        patched(save(tmp_path / "a.nii", noise()), pixdim=pixdim)
    )


@pytest.mark.parametrize("sizes", [(1400, 1400, 8000), (0.014, 0.014, 0.08), (1.4, 1.4, 80)])
def test_wrong_units(tmp_path: Path, sizes: tuple[float, ...]) -> None:
    path = patched(save(tmp_path / "a.nii", noise()), pixdim=[1, *sizes, 1, 1, 1, 1])
    assert "unit of length" in refusal(path)


@pytest.mark.parametrize("height_mm", [9.0, 13.0])
def test_slices_on_another_axis_by_pixdim_alone(tmp_path: Path, height_mm: float) -> None:
    path = patched(save(tmp_path / "a.nii", noise()), pixdim=[1, height_mm, 1.4, 1.4, 1, 1, 1, 1])
    assert "third axis" in refusal(path)


@pytest.mark.parametrize("shape", [(16, 20), (16, 20, 6, 5), (16, 20, 6, 1, 3)])
def test_not_one_volume(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert "not one volume" in refusal(save(tmp_path / "a.nii", noise(shape)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite(tmp_path: Path, value: float) -> None:
    voxels = noise().astype(np.float32)
    voxels[3, 4, 5] = value
    assert "not finite" in refusal(save(tmp_path / "a.nii", voxels))


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_colours_and_complex_numbers(tmp_path: Path, dtype: Any) -> None:
    assert "colours" in refusal(save(tmp_path / "a.nii", np.zeros((16, 20, 6), dtype)))


def test_sheared_out_of_a_stack(tmp_path: Path) -> None:
    k = 0.9 * LATERAL_WALL - 0.43589 * BASE_TO_APEX  # 64° off the normal
    assert "sheared" in refusal(save(tmp_path / "a.nii", noise(), affine(k=k)))


@pytest.mark.parametrize("kept", [0, 3, 200, 347, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated(tmp_path: Path, kept: float, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", noise())
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    refusal(path)


def test_header_that_claims_terabytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", noise())
    assert "cut short" in refusal(patched(path, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]))


# --- real and damaged files -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("positive", (7, 13.0)), ("negative", (9, 10.0))])
def test_real_lge_with_a_wrong_affine(
    shared_data: Path, name: str, size: tuple[int, float]
) -> None:
    path = shared_data / "lge-real" / f"{name}_image.nii.gz"
    stack = read_study(path)
    image = nib.load(path)
    np.testing.assert_array_equal(
        stack.pixels, np.asarray(image.dataobj).astype(np.float32).transpose(2, 1, 0)
    )
    assert len(stack.pixels) == size[0]
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), size[1])
    assert stack.pixel_spacing_mm == pytest.approx(image.header.get_zooms()[1::-1])
    assert not stack.orientation_known
    assert len(stack.warnings) == 2
    assert "1.00 × 1.00 × 1.00 mm" in stack.warnings[0]


@settings(max_examples=200)
@given(data=st.data(), packed=st.booleans())
def test_damaged_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, packed: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    plain = save(folder / "a.nii", noise((5, 6, 4))).read_bytes()
    damaged = bytearray(gzip.compress(plain, mtime=0) if packed else plain)
    position = st.one_of(
        st.integers(0, min(351, len(damaged) - 1)), st.integers(0, len(damaged) - 1)
    )
    for where, value in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), max_size=8)):
        damaged[where] = value
    length = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    (folder / "b.nii.gz").write_bytes(bytes(damaged[:length]))
    try:
        stack = read_study(folder / "b.nii.gz")
    except StudyError:
        return
    assert np.isfinite(stack.pixels).all()
    assert np.isfinite(stack.origins_mm).all()
    assert (np.diff(stack.slice_positions_mm) > 0).all()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("short", [True, False])
def test_voxels_that_begin_in_the_header(tmp_path: Path, version: int, short: bool) -> None:
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    nib.save(kind(noise(), affine()), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    least = 352 if version == 1 else 544
    offset = least - 1 if short else 0
    if version == 1:
        struct.pack_into("<f", data, 108, offset)
    else:
        struct.pack_into("<q", data, 168, offset)
    (tmp_path / "a.nii").write_bytes(data)
    said = refusal(tmp_path / "a.nii")
    assert "inside its header" in said or "damaged" in said


@pytest.mark.parametrize("height_mm", [1e-30, 0.1, 0.65])
def test_slices_too_thin_to_be_true(tmp_path: Path, height_mm: float) -> None:
    path = save(tmp_path / "a.nii", noise((16, 20, 1)))
    assert "unit of length" in refusal(patched(path, pixdim=[1, 0.1, 0.1, height_mm, 1, 1, 1, 1]))


@pytest.mark.parametrize(("step_mm", "reads"), [(0.51, True), (0.6, True), (0.45, False)])
def test_steps_of_3d_lge_have_the_same_bound_in_every_reader(
    tmp_path: Path, dicom_factory: ModuleType, step_mm: float, reads: bool
) -> None:
    path = save(tmp_path / "a.nii", noise(), np.diag([0.4, 0.4, step_mm, 1.0]))
    folder = tmp_path / "study"
    dicom_factory.write(folder, dicom_factory.series(step_mm=-step_mm * BASE_TO_APEX))
    heart = read_study(DEMO_STUDY)
    arrays: dict[str, Any] = {
        "pixels": heart.pixels[:6], "pixel_spacing_mm": heart.pixel_spacing_mm,
        "image_positions_mm": np.arange(6)[:, None] * step_mm * heart.normal,
        "image_orientation": [*heart.row_direction, *heart.column_direction],
    }  # fmt: skip
    read: list[Callable[[], LgeStack]] = [
        lambda: read_study(path), lambda: read_study(folder), lambda: stack_from_arrays(**arrays),
    ]  # fmt: skip
    for one in read:
        if reads:
            assert np.allclose(np.diff(one().slice_positions_mm), step_mm, atol=1e-3)
        else:
            with pytest.raises(StudyError):
                one()


@pytest.mark.parametrize("shape", [(4, 4, 201), (4096, 4096, 5)])
def test_too_many_slices_or_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii", noise())
    patched(path, dim=[3, *shape, 1, 1, 1, 1])
    with path.open("ab") as file:
        file.truncate(352 + 2 * math.prod(shape))
    assert "too large for LGE" in refusal(path)


def test_broken_dicom_header_inside(tmp_path: Path) -> None:
    """Early nibabel parses such an extension at once, nested 3000 times or of an unknown kind."""
    delimiters = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
    nested = b""
    for _ in range(3000):
        start = b"\x08\x00\x40\x11SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
        nested = start + nested + delimiters
    plain = save(tmp_path / "a.nii", noise()).read_bytes()
    for content in (nested, b"\x08\x00\x05\x00XX\xff\xff" + bytes(100)):
        padded = content + bytes(-(len(content) + 8) % 16)
        extension = struct.pack("<ii", len(padded) + 8, 2) + padded
        header = bytearray(plain[:348] + b"\1\0\0\0")
        struct.pack_into("<f", header, 108, 352 + len(extension))
        (tmp_path / "a.nii").write_bytes(bytes(header) + extension + plain[352:])
        try:
            read_study(tmp_path / "a.nii")
        except StudyError as error:
            assert "damaged" in str(error)
