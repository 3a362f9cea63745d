"""Results of a segmentation, given as a study, are told from images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from scarseg_infer.result import ScarResult
from scarseg_infer.study.from_arrays import stack_from_arrays
from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.study.label_map import check_no_label_map, map_warnings
from scarseg_infer.study.read import read_study
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.nifti import write_nifti
from scarseg_runtime.errors import StudyError

MESSAGE = "looks like a map of labels"


def labels(count: int) -> np.ndarray:
    found = np.zeros((6, 40, 36), np.int16)
    found[:, 10:30, 10:30] = np.arange(400).reshape(20, 20) % count
    return found


def test_our_own_result(
    tmp_path: Path, make_result: Callable[..., ScarResult], make_stack: Callable[..., LgeStack]
) -> None:
    write_nifti(make_result(make_stack()), tmp_path / "scar.nii.gz")
    with pytest.raises(StudyError, match=MESSAGE) as caught:
        read_study(tmp_path / "scar.nii.gz")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("scale", [1, 63, 0.25])
@pytest.mark.parametrize("count", [2, 5, 9])
def test_labels_of_any_scale_in_every_reader(
    tmp_path: Path, dicom_factory: ModuleType, count: int, scale: float
) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series(labels(count), RescaleSlope=scale))
    nib.save(
        nib.Nifti1Image((labels(count) * scale).transpose(2, 1, 0), np.diag([1.5, 1.5, 8, 1])),
        tmp_path / "labels.nii.gz",
    )
    for name in ("study", "labels.nii.gz"):
        with pytest.raises(StudyError, match=MESSAGE):
            read_study(tmp_path / name)
    places = np.arange(6)[:, None] * -8.0 * BASE_TO_APEX
    with pytest.raises(StudyError, match=MESSAGE):
        stack_from_arrays(
            labels(count) * scale, (1.5, 1.5), places, [*LATERAL_WALL, *-ANTERIOR_WALL]
        )


@pytest.mark.parametrize("scale", [1, 7])
def test_maps_of_many_parts(scale: int) -> None:
    """The 17 AHA segments, or hundreds of organs."""
    rows, columns = np.mgrid[:96, :96] - 48
    turn = (np.arctan2(rows, columns) / (2 * np.pi) % 1.0 * 24).astype(int)
    ring = np.hypot(rows, columns)
    segments = np.where((ring > 15) & (ring < 30), turn + 1, 0)
    with pytest.raises(StudyError, match="map of labels"):
        check_no_label_map(np.repeat(segments[None] * scale, 5, axis=0).astype(np.float32))


def test_images_of_eight_bits_with_doubled_pixels_are_none() -> None:
    noisy = np.random.default_rng(0).integers(0, 200, (5, 48, 48))
    check_no_label_map(noisy.repeat(2, axis=1).repeat(2, axis=2).astype(np.float32))


def test_images_are_none() -> None:
    noise = np.random.default_rng(0)
    check_no_label_map(np.zeros((6, 40, 36)))  # blank: nothing will be found in it
    check_no_label_map(noise.integers(0, 32, (6, 40, 36)))
    dark = np.zeros((6, 256, 256), np.float32)  # an image in a large frame of zeros
    dark[:, 100:130, 100:130] = noise.gamma(2, 100, (6, 30, 30))
    check_no_label_map(dark)


def test_maps_of_probabilities_and_cut_out_images_are_told() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(500.0, 100.0, (6, 40, 36)).astype(np.float32)
    assert map_warnings(image) == ()
    assert map_warnings(np.zeros_like(image)) == ()  # blank: another matter
    cut = np.zeros_like(image)
    cut[:, 10:22, 10:22] = image[:, 10:22, 10:22]
    (warning,) = map_warnings(cut)
    assert "90 % of the pixels have one and the same value" in warning
