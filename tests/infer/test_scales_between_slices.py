"""Scales that differ between slices, or that other attributes contradict, are never passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from scarseg_infer.study.read import read_study

FACTORS = (1.0, 2.0, 3.0, 1.0, 2.0, 3.0)


def real_world(dataset: Any, factor: float) -> None:
    item = Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = factor, 0.0
    dataset.RealWorldValueMappingSequence = [item]


def philips(dataset: Any, factor: float) -> None:
    block = dataset.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 1.0 / factor)


def smooth(dicom_factory: ModuleType) -> list[Any]:
    """Slices that look alike."""
    rows, columns = np.mgrid[:40, :36]
    image = 500 + 400 * np.sin(rows / 7.0) * np.cos(columns / 5.0)
    return list(dicom_factory.series(np.repeat(image[None], 6, axis=0).astype(np.int16)))


@pytest.mark.parametrize(
    ("state", "word"), [(real_world, "RealWorldValueMapping"), (philips, "2005,100E")]
)
def test_a_scale_that_stands_elsewhere_is_told_where_slices_differ_by_it(
    state: Callable[[Any, float], None], word: str, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    for name, factors in (("unlike", FACTORS), ("alike", (0.3,) * 6)):
        datasets = smooth(dicom_factory)
        for dataset, factor in zip(datasets, factors, strict=True):
            state(dataset, factor)
        dicom_factory.write(tmp_path / name, datasets)
        warned = [word in warning for warning in read_study(tmp_path / name).warnings]
        assert any(warned) == (name == "unlike")


def test_in_frames_of_an_enhanced_object_too(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    found = enhanced_factory.enhanced(smooth(dicom_factory))
    for group, factor in zip(found.PerFrameFunctionalGroupsSequence, FACTORS, strict=True):
        real_world(group, factor)
    dicom_factory.write(tmp_path, [found])
    assert any("RealWorldValueMapping" in warning for warning in read_study(tmp_path).warnings)


def test_slopes_after_which_slices_are_less_alike(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    for name in ("right", "wrong"):
        datasets = smooth(dicom_factory)
        for number, dataset in enumerate(datasets):
            factor = 4 if number < 3 else 1
            dataset.RescaleSlope, dataset.RescaleIntercept = 1 / factor, 0
            if name == "right":
                dataset.PixelData = (dataset.pixel_array * factor).astype(np.int16).tobytes()
        dicom_factory.write(tmp_path / name, datasets)
        warned = any("less alike" in warning for warning in read_study(tmp_path / name).warnings)
        assert warned == (name == "wrong")


@pytest.mark.parametrize(
    ("photometric", "shape", "odd"),
    [
        ("MONOCHROME2", "INVERSE", True), ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False), ("MONOCHROME1", "INVERSE", False),
    ],
)  # fmt: skip
def test_a_shape_that_contradicts_which_end_is_bright(
    photometric: str, shape: str, odd: bool, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    elements = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
    dicom_factory.write(tmp_path, dicom_factory.series(**elements))
    warned = any("PresentationLUTShape" in warning for warning in read_study(tmp_path).warnings)
    assert warned == odd


def test_more_pixels_than_rows_and_columns_are_told(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    for name, beyond in (("padded", b"\0\0"), ("moved", bytes(3 * 2 * 16))):
        datasets = dicom_factory.series()
        for dataset in datasets[:2]:
            dataset.PixelData = beyond + dataset.PixelData
        dicom_factory.write(tmp_path / name, datasets)
        found = [w for w in read_study(tmp_path / name).warnings if "PixelData of 2" in w]
        assert len(found) == (name == "moved")


def test_an_interpretation_in_small_letters_is_read(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    stacks = []
    for photometric in ("MONOCHROME1", "monochrome1"):
        datasets = dicom_factory.series()
        for dataset in datasets:
            dataset.PhotometricInterpretation = photometric
        dicom_factory.write(tmp_path / photometric[:4], datasets)
        stacks.append(read_study(tmp_path / photometric[:4]).pixels)
    np.testing.assert_array_equal(*stacks)
