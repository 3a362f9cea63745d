"""Bytes and rows in another order than the header says: refused in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.study.pixel_order import check_row_length, in_other_byte_order
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import StudyError

Change = Callable[[Any], None]


def turned_round(dataset: Any) -> None:
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()


def bytes_exchanged(dataset: Any) -> None:
    """As a program does that swaps words of two bytes in an image of one."""
    pixels = (dataset.pixel_array.astype(int) * 255 // 834).astype(np.uint8)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.view(">u2").astype("<u2").tobytes()


def with_shape(rows: int, columns: int) -> Change:
    def change(dataset: Any) -> None:
        dataset.Rows, dataset.Columns = rows, columns

    return change


def cropped(dataset: Any) -> None:
    """Not square, and with rows and columns exchanged in the header."""
    pixels = dataset.pixel_array[20:140].copy()
    dataset.Rows, dataset.Columns = pixels.shape[::-1]
    dataset.PixelData = pixels.tobytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (turned_round, "bytes in another order"),
        (bytes_exchanged, "bytes in another order"),
        (with_shape(80, 320), "whose rows have 160 pixels"),
        (with_shape(200, 128), "whose rows have 160 pixels"),
        (with_shape(320, 80), "whose rows have 160 pixels"),
        (cropped, "whose rows have 160 pixels"),
    ],
)
def test_dicom(change: Change, said: str, tmp_path: Path) -> None:
    for path in DEMO_STUDY.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(tmp_path / path.name)
    with pytest.raises(StudyError, match=said):
        read_study(tmp_path)


def nifti(shape: tuple[int, int, int], voxels: NDArray[Any]) -> nibabel.Nifti1Image:
    """A file that says ``shape`` of voxels [x, y, z] as they stand."""
    image = nibabel.Nifti1Image(voxels.reshape(shape, order="F"), np.diag([1.5, 1.5, 10.0, 1.0]))
    image.set_qform(image.affine, 1)
    return image


def test_nifti(tmp_path: Path) -> None:
    voxels = read_study(DEMO_STUDY).pixels[:, 20:140].astype(np.int16).T
    for name, shape, swap, said in (
        ("right", (160, 120, 10), False, ""),
        ("bytes", (160, 120, 10), True, "bytes in another order"),
        ("rows", (120, 160, 10), False, "whose rows have 160 pixels"),
    ):
        path = tmp_path / f"{name}.nii"
        stored = voxels.byteswap() if swap else voxels
        nibabel.save(nifti(shape, stored.ravel(order="F")), path)
        if not said:
            assert read_study(path).pixels.shape == (10, 120, 160)
            continue
        with pytest.raises(StudyError, match=said):
            read_study(path)


def test_no_real_image_is_doubted_and_none_whose_rows_are_wrong_is_read(shared_data: Path) -> None:
    paths = [
        path for name in ("lge-real", "lge-validation")
        for path in (shared_data / name).glob("*_image.nii.gz")
    ]  # fmt: skip
    assert paths
    for path in paths:
        pixels = read_study(path).pixels  # raises where it is doubted
        slices, rows, columns = pixels.shape
        for wrong in ((rows // 2, 2 * columns), (2 * rows, columns // 2), (columns, rows)):
            if wrong[0] * wrong[1] != rows * columns or wrong == (rows, columns):
                continue
            with pytest.raises(StudyError, match=f"whose rows have {columns} pixels"):
                check_row_length(pixels.reshape(slices, *wrong))


def test_noise_gradients_and_blank_images_tell_nothing(dicom_factory: ModuleType) -> None:
    rows, columns = np.mgrid[:64, :64]
    for image in (dicom_factory.noise(1, 64, 64)[0], rows, columns, 64 * rows + columns, 0 * rows):
        words = image.astype(np.uint16)
        assert not in_other_byte_order(words)
        for shape in ((64, 64), (32, 128), (128, 32)):
            check_row_length(words.astype(np.float32).reshape(1, *shape))
