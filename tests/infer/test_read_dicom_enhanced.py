"""Enhanced (multi-frame) MR reads as the same series written one file a slice."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import RLELossless

from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, LATERAL_WALL
from scarseg_infer.study.read import list_series, read_study
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import StudyError

Refusal = Callable[[Path], str]
RESCALED = {"RescaleSlope": 2.5, "RescaleIntercept": -1000.0}
FULL_SIZE = (6, 48, 44)


def assert_same(one: LgeStack, other: LgeStack) -> None:
    """Both stacks hold the same voxels in the same place, of the same kind and time."""
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_allclose(one.origins_mm, other.origins_mm, atol=1e-6)
    np.testing.assert_allclose(one.row_direction, other.row_direction, atol=1e-6)
    np.testing.assert_allclose(one.column_direction, other.column_direction, atol=1e-6)
    assert one.pixel_spacing_mm == other.pixel_spacing_mm
    assert one.slice_thickness_mm == other.slice_thickness_mm
    assert one.image_kind == other.image_kind
    assert one.acquired == other.acquired
    assert one.warnings == other.warnings


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (3, 0, 5, 1, 4, 2)])
def test_same_as_classic(
    tmp_path: Path,
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    shared: bool,
    order: tuple[int, ...],
) -> None:
    drift = np.arange(6)[:, None] * 4.8 * LATERAL_WALL
    classic = dicom_factory.series(drift_mm=drift, **RESCALED)
    for number, image in enumerate(classic):
        image.RescaleSlope = 1.0 + number
    dicom_factory.write(tmp_path / "classic", classic)
    multi = enhanced_factory.enhanced([classic[i] for i in order], shared=shared)
    dicom_factory.write(tmp_path / "enhanced", [multi])
    read = read_study(tmp_path / "enhanced")
    assert_same(read, read_study(tmp_path / "classic"))
    np.testing.assert_array_equal(read.pixels, enhanced_factory.stored(classic))
    assert read.frame_numbers == tuple(order.index(slice_) + 1 for slice_ in range(6))
    assert {dataset.SOPInstanceUID for dataset in read.datasets} == {multi.SOPInstanceUID}


def test_classic_slices_have_no_frame_number(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series())
    assert read_study(tmp_path).frame_numbers == (None,) * 6


def test_same_as_classic_by_another_writer(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    elements = {
        "PatientBirthDate": "", "PatientSex": "M", "AccessionNumber": "", "StudyID": "1",
        "ReferringPhysicianName": "", "EchoTime": 1.5, "SeriesDate": "20240229",
        "SeriesTime": "104000", "Manufacturer": "none", "ContentDate": "20240229",
        "ContentTime": "104500",
    }  # fmt: skip
    classic = dicom_factory.series(**elements, **RESCALED)
    dicom_factory.write(tmp_path / "classic", classic)
    dicom_factory.write(tmp_path / "legacy", [enhanced_factory.legacy(classic)])
    one, other = read_study(tmp_path / "classic"), read_study(tmp_path / "legacy")
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_allclose(one.origins_mm, other.origins_mm, atol=1e-6)
    assert one.slice_thickness_mm == other.slice_thickness_mm
    # The converter wrote ComplexImageComponent MAGNITUDE, and codes come before names.
    assert (one.image_kind, other.image_kind) == ("PSIR", "magnitude")
    assert any("its headers say" in warning for warning in other.warnings)
    assert other.acquired == datetime(2024, 2, 29, 10, 45, 0, 250_000)
    assert sorted(number or 0 for number in other.frame_numbers) == [1, 2, 3, 4, 5, 6]


def test_a_frame_of_its_own_object(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    classic = dicom_factory.series()
    dicom_factory.write(tmp_path / "classic", classic)
    objects = [enhanced_factory.enhanced([image]) for image in classic]
    dicom_factory.write(tmp_path / "enhanced", objects)
    read = read_study(tmp_path / "enhanced")
    assert_same(read, read_study(tmp_path / "classic"))
    assert read.frame_numbers == (1,) * 6


def test_compressed_frames(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    pixels = dicom_factory.noise()
    multi = enhanced_factory.enhanced(dicom_factory.series(pixels))
    multi.compress(RLELossless, generate_instance_uid=False)
    dicom_factory.write(tmp_path, [multi])
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_magnitude_and_real_in_one_object(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    """Both reconstructions as frames of one object: told apart by ComplexImageComponent."""
    names = {"SeriesDescription": "LGE sax", "SeriesInstanceUID": "1.2.3.4"}
    psir = dicom_factory.series(dicom_factory.noise(seed=1), **names)
    magnitude = dicom_factory.series(
        dicom_factory.noise(seed=2), ImageType=["ORIGINAL", "PRIMARY", "M"], **names
    )
    multi = enhanced_factory.enhanced([*magnitude, *psir], shared=False)
    dicom_factory.write(tmp_path, [multi])
    for prefer, expected in (("PSIR", psir), ("magnitude", magnitude)):
        stack = read_study(tmp_path, prefer=prefer)  # type: ignore[arg-type]
        assert stack.image_kind == prefer
        np.testing.assert_array_equal(stack.pixels, enhanced_factory.stored(expected))
        assert any("same slices are there as" in warning for warning in stack.warnings)


def test_cine_is_refused(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType, refusal: Refusal
) -> None:
    multi = enhanced_factory.enhanced(dicom_factory.cine(phases=12, slices=4))
    dicom_factory.write(tmp_path, [multi])
    assert "cine series (12 images at each of 4 slice positions)" in refusal(tmp_path)
    (verdict,) = list_series(tmp_path)
    assert not verdict.chosen
    assert "cine" in verdict.reason


def test_map_of_several_inversion_times_is_refused(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType, refusal: Refusal
) -> None:
    slices = [
        image
        for repeat in range(8)
        for image in dicom_factory.series(
            dicom_factory.noise(3), InversionTime=100.0 + 80 * repeat, SeriesInstanceUID="1.2"
        )
    ]
    dicom_factory.write(tmp_path, [enhanced_factory.enhanced(slices, shared=False)])
    assert "T1 mapping" in refusal(tmp_path)


@pytest.mark.parametrize(
    "broken", ["frames", "per_frame", "positions", "orientation", "measures", "pixels"]
)
def test_broken_objects(
    tmp_path: Path,
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    refusal: Refusal,
    broken: str,
) -> None:
    multi = enhanced_factory.enhanced(dicom_factory.series())
    match broken:
        case "frames":
            multi.NumberOfFrames = 5
        case "per_frame":
            del multi.PerFrameFunctionalGroupsSequence
        case "positions":
            for group in multi.PerFrameFunctionalGroupsSequence:
                del group.PlanePositionSequence
        case "orientation":
            del multi.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
        case "measures":
            del multi.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        case "pixels":
            multi.PixelData = multi.PixelData[: len(multi.PixelData) // 2]
    dicom_factory.write(tmp_path, [multi])
    assert refusal(tmp_path)


def test_one_frame_without_a_place(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType, refusal: Refusal
) -> None:
    multi = enhanced_factory.enhanced(dicom_factory.series())
    del multi.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    dicom_factory.write(tmp_path, [multi])
    assert "belongs to the LGE series but does not say where it lies" in refusal(tmp_path)


@pytest.fixture(scope="module")
def one_object(
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> bytes:
    """A small enhanced object."""
    multi = enhanced_factory.enhanced(dicom_factory.series(dicom_factory.noise(3, 8, 8)))
    return dicom_factory.write(tmp_path_factory.mktemp("one"), [multi])[0].read_bytes()


def refused_or_whole(folder: Path) -> None:
    """Read finite pixels and places; everything else ends in StudyError."""
    try:
        list_series(folder)
        stack = read_study(folder)
    except StudyError:
        return
    assert np.isfinite(stack.pixels).all()
    assert np.isfinite(stack.origins_mm).all()
    assert len(stack.frame_numbers) == len(stack.datasets) == len(stack.pixels)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_bytes(
    one_object: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(one_object)
    positions = st.integers(128, len(damaged) - 1)
    for position, value in data.draw(
        st.lists(st.tuples(positions, st.integers(0, 255)), max_size=8)
    ):
        damaged[position] = value
    length = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "x").write_bytes(bytes(damaged[:length]))
    refused_or_whole(folder)


_ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "x", "-1", "0", "1e300", "nan", ["1", "2"], ["1", "1", "1"], ["0"] * 6, "20120000"]
)


def _groups(dataset: Dataset) -> list[Dataset]:
    """Every item of every functional group of an object, and the object itself."""
    shared = list(dataset.SharedFunctionalGroupsSequence)
    groups = [*shared, *dataset.PerFrameFunctionalGroupsSequence]
    return [dataset, *(item for group in groups for element in group for item in element.value)]


@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")  # pydicom's own, on what is invalid
def test_odd_values_in_functional_groups(
    one_object: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Values of the wrong count, type or size anywhere in the groups, and groups left out."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "x").write_bytes(one_object)
    dataset = pydicom.dcmread(folder / "x")
    for _ in range(data.draw(st.integers(1, 4))):
        item = data.draw(st.sampled_from(_groups(dataset)))
        numeric = [e for e in item if e.VR in ("DS", "IS", "CS", "DT", "FD")]
        if not numeric:
            continue
        element = data.draw(st.sampled_from(numeric))
        value = data.draw(_ODD)
        try:
            element.value = float(value) if element.VR == "FD" and value else value
        except (ValueError, TypeError, OverflowError):
            del item[element.tag]
    try:
        dataset.save_as(folder / "x")
    except (ValueError, TypeError, AttributeError, OverflowError):
        return  # cannot even be written
    refused_or_whole(folder)


def test_segmentation_refers_to_frames(
    tmp_path: Path,
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    make_result: Callable[..., Any],
    verify_dicom: Callable[[Path], Any],
) -> None:
    """Each frame of the SEG names the source frame that lies where it lies."""
    from scarseg_infer.write.dicom.seg import write_seg
    from scarseg_runtime.contract import Label

    classic = dicom_factory.series(
        dicom_factory.noise(*FULL_SIZE), row_direction=-ANTERIOR_WALL, column_direction=LATERAL_WALL
    )
    multi = enhanced_factory.enhanced([classic[i] for i in (3, 0, 5, 1, 4, 2)])
    dicom_factory.write(tmp_path / "study", [multi])
    result = make_result(read_study(tmp_path / "study"))
    write_seg(result, tmp_path / "scar.dcm")
    verify_dicom(tmp_path / "scar.dcm")
    seg = pydicom.dcmread(tmp_path / "scar.dcm")
    places = {
        number: [float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient]
        for number, group in enumerate(multi.PerFrameFunctionalGroupsSequence, start=1)
    }
    frames = seg.pixel_array.reshape(-1, *result.labels.shape[1:])
    seen = set()
    for group, pixels in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        (item,) = group.DerivationImageSequence[0].SourceImageSequence
        assert item.ReferencedSOPInstanceUID == multi.SOPInstanceUID
        assert item.ReferencedSOPClassUID == multi.SOPClassUID
        number = int(item.ReferencedFrameNumber)
        seen.add(number)
        position = [float(x) for x in group.PlanePositionSequence[0].ImagePositionPatient]
        assert position == pytest.approx(places[number], abs=1e-6)
        if group.get("SegmentIdentificationSequence", [Dataset()])[0].get(
            "ReferencedSegmentNumber", 1
        ) == 1:  # fmt: skip
            expected = result.labels[result.stack.frame_numbers.index(number)] == Label.SCAR
            np.testing.assert_array_equal(pixels > 0, expected)
    assert seen == {1, 2, 3, 4, 5, 6}
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == multi.SeriesInstanceUID
    (reference,) = series.ReferencedInstanceSequence
    assert reference.ReferencedSOPInstanceUID == multi.SOPInstanceUID
    assert [i.ReferencedSOPInstanceUID for i in seg.SourceImageSequence] == [multi.SOPInstanceUID]


def test_what_a_frame_says_goes_before_what_is_shared(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    """A group both shared and of each frame: every frame once had the value of the last."""
    multi = enhanced_factory.enhanced(dicom_factory.series(np.full((6, 8, 8), 100, np.int16)))
    groups = multi.PerFrameFunctionalGroupsSequence
    shared = copy.deepcopy(groups[0].PixelValueTransformationSequence)
    multi.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = shared
    for number, group in enumerate(groups, start=1):
        group.PixelValueTransformationSequence[0].RescaleSlope = number
    dicom_factory.write(tmp_path, [multi])
    assert read_study(tmp_path).pixels[:, 0, 0].tolist() == [100, 200, 300, 400, 500, 600]


def _other_axes(image: Dataset) -> Dataset:
    first, second, third, *rest = image.ImageOrientationPatient
    item = Dataset()
    item.ImageOrientationPatient = [-first, -second, -third, *rest]
    return item


def _other_spacing(image: Dataset) -> Dataset:
    item = Dataset()
    item.PixelSpacing = [2 * float(mm) for mm in image.PixelSpacing]
    return item


def _other_place(image: Dataset) -> Dataset:
    item = Dataset()
    item.ImagePositionPatient = [float(mm) + 300.0 for mm in image.ImagePositionPatient]
    return item


@pytest.mark.parametrize("where", ["shared", "last frame", "object", "left over", "none"])
@pytest.mark.parametrize(
    ("sequence", "keyword", "make"),
    [
        ("PlaneOrientationSequence", "ImageOrientationPatient", _other_axes),
        ("PixelMeasuresSequence", "PixelSpacing", _other_spacing),
        ("PlanePositionSequence", "ImagePositionPatient", _other_place),
    ],
)
def test_geometry_that_stands_there_twice(
    tmp_path: Path,
    dicom_factory: ModuleType,
    enhanced_factory: ModuleType,
    where: str,
    sequence: str,
    keyword: str,
    make: Callable[[Dataset], Dataset],
) -> None:
    """The groups of all frames, of one, and the object itself: neither says how the heart lies."""
    classic = dicom_factory.series()
    image = enhanced_factory.enhanced(classic, shared=False)  # the frames say it, and say it right
    frames, shared = image.PerFrameFunctionalGroupsSequence, image.SharedFunctionalGroupsSequence
    odd = make(classic[0])
    if where == "shared":
        setattr(shared[0], sequence, [odd])
    elif where == "last frame":
        getattr(frames[-1], sequence).insert(0, odd)
    elif where == "object":
        image[keyword] = odd[keyword]
    elif where == "left over":
        shared[0].UnassignedSharedConvertedAttributesSequence = [odd]
    else:
        image[keyword] = classic[0][keyword]
    dicom_factory.write(tmp_path, [image])
    stack = read_study(tmp_path)
    assert stack.orientation_known == (where == "none")
    doubts = [warning for warning in stack.warnings if "stands there twice" in warning]
    assert [warning.split(" of ")[0] for warning in doubts] == [keyword] * (where != "none")
