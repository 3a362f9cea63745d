"""Slices that are not what their positions and scales say: repeated, put in between, exchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import DataElement

from scarseg_infer import Segmenter, stack_from_arrays
from scarseg_infer.demo import DEMO_STUDY
from scarseg_infer.study.read import list_series, read_study
from scarseg_infer.study.slice_signal import signal_warnings
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

Images = list[Any]


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """Writes the demonstration study, changed, and possibly more images."""

    def write(change: Callable[[Images], Images | None]) -> Path:
        images = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
        for index, image in enumerate(change(images) or images):
            image.save_as(tmp_path / f"{index:02}.dcm")
        return tmp_path

    return write


def said(warnings: tuple[str, ...], word: str) -> bool:
    return any(word in warning for warning in warnings)


def stack_of(pixels: NDArray[Any], step_mm: float) -> LgeStack:
    demo = read_study(DEMO_STUDY)
    origins = demo.origins_mm[0] + np.arange(len(pixels))[:, None] * step_mm * demo.normal
    axes = (*demo.row_direction, *demo.column_direction)
    return stack_from_arrays(pixels, demo.pixel_spacing_mm, origins, axes)


@pytest.mark.parametrize("factor", [1.2, 1.5, 1 / 1.5])
@pytest.mark.parametrize("mended", [False, True])
def test_a_slope_of_its_own(study: Callable[..., Path], factor: float, mended: bool) -> None:
    """It is told, unless what is stored shows that the slice needs it."""

    def change(images: Images) -> None:
        for image in images:
            image.RescaleSlope, image.RescaleIntercept = 1, 0
        images[4].RescaleSlope = round(factor, 5)
        if mended:
            stored = np.rint(images[4].pixel_array / factor).astype(np.uint16)
            images[4].PixelData = stored.tobytes()

    assert said(read_study(study(change)).warnings, "another RescaleSlope") != mended


def test_an_intercept_of_its_own(study: Callable[..., Path]) -> None:
    def change(images: Images) -> None:
        for image in images:
            image.RescaleSlope, image.RescaleIntercept = 1, 0
        images[4].RescaleIntercept = 100

    assert said(read_study(study(change)).warnings, "Slice 6 (counted from the apex) has another")


def test_a_negative_slope(study: Callable[..., Path]) -> None:
    def change(images: Images) -> None:
        for image in images:
            image.RescaleSlope, image.RescaleIntercept = -1, 834

    assert said(read_study(study(change)).warnings, "RescaleSlope is negative")


def test_the_picture_of_another_slice(study: Callable[..., Path]) -> None:
    def change(images: Images) -> None:
        images[9].PixelData = images[2].PixelData

    assert said(signal_warnings(read_study(study(change))), "once more")
    assert not said(signal_warnings(read_study(DEMO_STUDY)), "once more")


@pytest.mark.parametrize("step_mm", [1.6, 4.0])
def test_slices_put_in_between(step_mm: float) -> None:
    pixels = read_study(DEMO_STUDY).pixels
    places = np.arange(0.0, len(pixels) - 1, step_mm / 11.754)
    below = places.astype(int)
    share = (places - below)[:, None, None]
    resampled = (1 - share) * pixels[below] + share * pixels[below + 1]
    assert said(signal_warnings(stack_of(resampled, step_mm)), "resampled volume")


def test_slices_that_were_taken_are_not_called_put_in(shared_data: Path) -> None:
    noise = np.random.default_rng(0).normal(100.0, 10.0, (12, 40, 40))
    for step_mm in (1.6, 4.0, 10.0):
        assert not said(signal_warnings(stack_of(noise, step_mm)), "resampled volume")
    for path in [DEMO_STUDY, *sorted((shared_data / "lge-validation").glob("*_image.nii.gz"))[:6]]:
        assert not said(signal_warnings(read_study(path)), "resampled volume")


def test_a_series_that_an_archive_took_in_twice(study: Callable[..., Path]) -> None:
    def change(images: Images) -> Images:
        again = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
        for image in again:
            image.SOPInstanceUID += ".7"
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.SeriesInstanceUID += ".7"
            image.SeriesNumber = 9
        return [*again, *images]

    folder = study(change)
    assert len(list_series(folder)) == 1
    stack = read_study(folder)
    assert len(stack.pixels) == 10
    assert "10 copies of images were ignored." in stack.warnings


def apart(images: Images, which: slice) -> None:
    for image in images[which]:
        image.SeriesInstanceUID += ".3"
        image.SeriesNumber = 2


@pytest.mark.parametrize(
    "which", [slice(5, None), slice(7, None), slice(9, None), slice(None, None, 2)]
)
def test_a_stack_in_two_series(study: Callable[..., Path], which: slice) -> None:
    stack = read_study(study(lambda images: apart(images, which)))
    np.testing.assert_array_equal(stack.pixels, read_study(DEMO_STUDY).pixels)
    assert said(stack.warnings, "2 series of one name complement each other")


def test_two_whole_stacks_are_not_joined(study: Callable[..., Path]) -> None:
    """Taken twice, half a step beside each other, they would count everything twice as thin."""

    def change(images: Images) -> Images:
        again = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
        apart(again, slice(None))
        for image in again:
            image.SOPInstanceUID += ".7"
            row, column = np.split(np.array(image.ImageOrientationPatient, float), 2)
            place = np.array(image.ImagePositionPatient, float) + 5.9 * np.cross(row, column)
            image.ImagePositionPatient = [f"{value:.5f}" for value in place]
            image.AcquisitionTime = "104000"
        return [*images, *again]

    stack = read_study(study(change))
    assert len(stack.pixels) == 10
    assert said(stack.warnings, "the one taken last was read (series 2 ")


def test_positions_of_each_other(study: Callable[..., Path]) -> None:
    def change(images: Images) -> None:
        one, two = images[3].ImagePositionPatient, images[5].ImagePositionPatient
        images[3].ImagePositionPatient, images[5].ImagePositionPatient = two, one

    assert said(read_study(study(change)).warnings, "InstanceNumber counts some slices")


@pytest.mark.parametrize(
    "numbers",
    [
        range(1, 11), range(10, 0, -1), (1, 6, 2, 7, 3, 8, 4, 9, 5, 10), (1,) * 10,
        (6, 7, 8, 9, 10, 1, 2, 3, 4, 5), (1, 4, 7, 10, 2, 5, 8, 3, 6, 9),
        (1, 2, 3, 12, 5, 6, 7, 8, 9, 10), (10, 20, 40, 30, 50, 60, 70, 80, 90, 100),
    ],
)  # fmt: skip
def test_orders_that_scanners_have(study: Callable[..., Path], numbers: Any) -> None:
    """One after another, in turns, in two parts, with one taken again, or with gaps."""

    def change(images: Images) -> None:
        for image, number in zip(images, numbers, strict=True):
            image.InstanceNumber = number

    assert not said(read_study(study(change)).warnings, "InstanceNumber")


def us(image: Any, tag: int, value: int) -> None:
    image[tag] = DataElement(tag, "US", value)


def test_padding_that_is_a_part_of_the_picture(study: Callable[..., Path]) -> None:
    def change(images: Images) -> None:
        for image in images:
            us(image, 0x00280120, int(np.percentile(image.pixel_array, 90)))
            us(image, 0x00280121, int(image.pixel_array.max()))

    assert said(read_study(study(change)).warnings, "PixelPaddingValue takes pixels in the middle")


def test_padding_of_corners_and_of_air(study: Callable[..., Path]) -> None:
    def change(images: Images) -> None:
        for image in images:
            pixels = image.pixel_array.copy()
            pixels[:20, :20] = 65535
            image.PixelData = pixels.tobytes()
            us(image, 0x00280120, 65535)

    stack = read_study(study(change))
    assert not said(stack.warnings, "PixelPaddingValue")
    assert stack.pixels.max() < 1000


def reversed_positions(images: Images) -> None:
    places = [image.ImagePositionPatient for image in images]
    for image, place in zip(images, reversed(places), strict=True):
        image.ImagePositionPatient = place


def squeezed(images: Images) -> None:
    for image in images:
        image.Columns = 80
        image.PixelData = image.pixel_array[:, ::2].tobytes()


def in_centimetres(images: Images) -> None:
    for image in images:
        image.ImagePositionPatient = [round(v / 10, 5) for v in image.ImagePositionPatient]


def montage(images: Images) -> Images:
    """All slices beside each other in one image."""
    tiles = np.stack([image.pixel_array for image in images])
    rows = np.concatenate([np.concatenate(list(tiles[k : k + 5]), axis=1) for k in (0, 5)])
    images[0].Rows, images[0].Columns = rows.shape
    images[0].PixelData = rows.tobytes()
    return images[:1]


def windowed(images: Images) -> None:
    for image in images:
        image.PixelData = np.minimum(image.pixel_array, 300).tobytes()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (windowed, "highest value of the images"),
        (montage, "no montage of several"),
        (reversed_positions, "wider at the end which is the apex"),
        (squeezed, "times as long as it is wide"),
        (in_centimetres, "check the unit of their positions"),
    ],
)
def test_a_heart_of_another_shape(
    study: Callable[..., Path], segmenter: Segmenter, change: Any, word: str
) -> None:
    assert said(segmenter.run(study(change)).warnings, word)
    assert not said(segmenter.run(DEMO_STUDY).warnings, word)


def test_a_mosaic_is_named(study: Callable[..., Path]) -> None:
    def change(images: Images) -> Images:
        found = montage(images)
        found[0].ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        return found

    with pytest.raises(StudyError, match="multi-frame MR images that do not say"):
        read_study(study(change))


@pytest.mark.parametrize("series", ["1.2.3", "1.2.4"])
def test_an_enhanced_object_that_an_archive_named_anew(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType, series: str
) -> None:
    slices = dicom_factory.series(SeriesInstanceUID="1.2.3")
    objects = [enhanced_factory.enhanced(slices), enhanced_factory.enhanced(slices)]
    objects[1].SOPInstanceUID += ".1"
    objects[1].SeriesInstanceUID = series
    dicom_factory.write(tmp_path, objects)
    stack = read_study(tmp_path)
    assert len(stack.pixels) == 6
    assert "6 copies of images were ignored." in stack.warnings


def test_steps_that_an_enhanced_object_says(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    found = enhanced_factory.enhanced(dicom_factory.series())
    measures = found.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = 5.0
    dicom_factory.write(tmp_path, [found])
    assert said(read_study(tmp_path).warnings, "SpacingBetweenSlices says 5.0 mm")


def test_a_segmentation_is_no_study(tmp_path: Path, segmenter: Segmenter) -> None:
    segmenter.run(DEMO_STUDY).write(tmp_path / "out", only=["seg"])
    with pytest.raises(StudyError, match="DICOM SEG"):
        read_study(tmp_path / "out")
