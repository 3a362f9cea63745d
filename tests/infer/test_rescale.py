"""Slope and intercept: exact in float32, or refused; never a scar that they moved."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from scarseg_infer.pipeline import _doubts, _implausible
from scarseg_infer.result import ScarResult
from scarseg_infer.study.read import read_study
from scarseg_infer.study.rescale import rescaled
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

NOISE = np.random.default_rng(0).integers(0, 4096, (20, 16), dtype=np.int16)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(1, 1e9), (1, 4e9), (1, 5e7), (1, -1e9), (1e-15, 0), (1e-300, 0), (1e7, 0), (1e-3, 1e5),
     (1e-9, 1e8)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_values_that_fall_together_or_are_implausible(
    slope: float, intercept: float, dtype: Any
) -> None:
    with pytest.raises(StudyError, match="slope or intercept"):
        rescaled(NOISE.astype(dtype), slope, intercept)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, 0), (0.5, -1024), (2.37e-4, 0), (-1, 4095), (1e4, 0), (1, 1e7)]
)
def test_values_that_stay_apart(slope: float, intercept: float) -> None:
    found = rescaled(NOISE, slope, intercept)
    assert found is not None
    assert found.dtype == np.float32
    assert np.unique(found).size == np.unique(NOISE).size
    np.testing.assert_allclose(found, NOISE.astype(np.float64) * slope + intercept, rtol=1e-7)


@pytest.mark.parametrize("value", [0, 7, -3.5])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_an_image_without_contrast(value: float, dtype: Any) -> None:
    found = rescaled(np.full((4, 4), value, dtype), 1, 0)
    assert found is not None
    assert np.unique(found).tolist() == [dtype(value)]


def test_long_integers_and_doubles_of_a_wide_range() -> None:
    wide = np.array([0, 1, 2**29, 2**29 + 1], np.int32)
    assert rescaled(wide, 1, 0) is not None
    assert rescaled(wide / 7, 1, 0) is not None


@pytest.mark.parametrize("offset", [1e7, 9e8])
def test_doubles_that_fall_together_without_any_rescale(offset: float) -> None:
    with pytest.raises(StudyError, match="slope or intercept"):
        rescaled(NOISE / 7 + offset, 1, 0)
    assert rescaled(NOISE + 1e6, 1, 0) is not None  # float32 has them all


def test_not_finite() -> None:
    assert rescaled(NOISE, 1e308, 0) is None
    assert rescaled(np.array([1.0, np.nan]), 1, 0) is None


@pytest.mark.parametrize(("slope", "intercept"), [("1", "1e9"), ("1", "4e9"), ("1e-15", "0")])
def test_dicom(tmp_path: Path, dicom_factory: ModuleType, slope: str, intercept: str) -> None:
    elements = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    dicom_factory.write(tmp_path, dicom_factory.series(**elements))
    with pytest.raises(StudyError, match="slope or intercept"):
        read_study(tmp_path)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_double_of_an_odd_length(tmp_path: Path, dicom_factory: ModuleType, keyword: str) -> None:
    """Seven bytes in an element that says it holds doubles."""
    for number, dataset in enumerate(dicom_factory.series(**{keyword: 1})):
        data = dicom_factory.encoded(dataset)
        start = data.index(dataset[keyword].tag.group.to_bytes(2, "little")
                           + dataset[keyword].tag.element.to_bytes(2, "little"))  # fmt: skip
        length = int.from_bytes(data[start + 6 : start + 8], "little")
        spoilt = data[: start + 4] + b"FD\x07\x00" + bytes(7) + data[start + 8 + length :]
        (tmp_path / f"{number}.dcm").write_bytes(spoilt)
    with pytest.raises(StudyError, match="damaged"):
        read_study(tmp_path)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 1e9), (1e-15, 0.0)])
def test_nifti(tmp_path: Path, slope: float, intercept: float) -> None:
    image = nib.Nifti1Image(np.stack([NOISE] * 5, axis=-1), np.diag([1.5, 1.5, 8, 1]))
    data = bytearray(image.to_bytes())
    struct.pack_into("<ff", data, 112, slope, intercept)  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(StudyError, match="slope or intercept"):
        read_study(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("mass_g", "slices", "said"),
    [(130, 9, False), (900, 9, False), (1600, 9, True), (10, 9, True), (10, 1, False),
     (1600, 1, True)],
)  # fmt: skip
def test_implausible_mass(mass_g: float, slices: int, said: bool) -> None:
    assert _implausible(mass_g, slices) is said


@pytest.mark.parametrize(("percent", "said"), [(None, False), (45.0, False), (87.0, True)])
def test_more_scar_than_a_heart_survives(
    make_result: Callable[..., ScarResult], make_stack: Callable[..., LgeStack],
    percent: float | None, said: bool,
) -> None:  # fmt: skip
    result = make_result(make_stack())
    found = replace(result.quantities, scar_percent_of_lv_mass=percent)
    chosen: Any = SimpleNamespace(gate=None)
    words = " ".join(_doubts(found, found, result.ecg, chosen, 9))
    assert ("% of LV mass is called scar" in words) is said
