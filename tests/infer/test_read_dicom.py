"""Reading DICOM studies: what is accepted, with which geometry, and what is refused and how."""

from __future__ import annotations

import logging
import shutil
import warnings
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from scarseg_infer.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.stack import LgeStack
from scarseg_infer.study_reader import read_study
from scarseg_runtime.errors import StudyError

PITCH_MM = 10.0


def refusal(path: Path) -> str:
    """The one line with which a study is refused; it never names the patient or a file."""
    with pytest.raises(StudyError) as caught:
        read_study(path)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert "\n" not in message
    for secret in ("SECRET", "Secretname", ".dcm", str(path)):
        assert secret not in message
    return message


# --- what is read ---------------------------------------------------------------------------


def test_reads_pixels_geometry_and_time(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path, dicom_factory.series(pixels))
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.pixels.dtype == np.float32
    assert stack.pixel_spacing_mm == dicom_factory.SPACING_MM
    assert stack.slice_thickness_mm == 8.0
    assert stack.source == "dicom"
    assert stack.orientation_known
    assert stack.acquired == datetime(2024, 2, 29, 10, 45, 0, 250_000)
    assert stack.warnings == ()
    np.testing.assert_allclose(stack.row_direction, LATERAL_WALL, atol=1e-8)
    np.testing.assert_allclose(stack.column_direction, -ANTERIOR_WALL, atol=1e-8)
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), PITCH_MM, atol=1e-6)


def by_place(stack: LgeStack) -> dict[tuple[int, ...], float]:
    """Every voxel value by its place in the patient, to a hundredth of a millimetre."""
    _, rows, columns = stack.pixels.shape
    along_row = np.arange(columns)[:, None] * stack.pixel_spacing_mm[1] * stack.row_direction
    along_column = np.arange(rows)[:, None] * stack.pixel_spacing_mm[0] * stack.column_direction
    places = (
        stack.origins_mm[:, None, None] + along_column[None, :, None] + along_row[None, None, :]
    )
    keys = np.round(places * 100).astype(int).reshape(-1, 3)
    return dict(zip(map(tuple, keys.tolist()), stack.pixels.ravel().tolist(), strict=True))


def test_slice_order_in_the_folder_does_not_matter(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    datasets = dicom_factory.series()
    dicom_factory.write(tmp_path / "a", datasets)
    dicom_factory.write(tmp_path / "b", [datasets[i] for i in (3, 0, 5, 1, 4, 2)])
    one, other = read_study(tmp_path / "a"), read_study(tmp_path / "b")
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_array_equal(one.origins_mm, other.origins_mm)


def test_reversed_stack_keeps_every_voxel_in_its_place(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path / "a", dicom_factory.series(pixels))
    # The same voxels stored with the columns in the opposite order: the normal turns around.
    width_mm = (pixels.shape[2] - 1) * dicom_factory.SPACING_MM[1]
    mirrored = dicom_factory.series(
        pixels[:, :, ::-1],
        row_direction=-LATERAL_WALL,
        first_mm=np.array([-40.0, 30.0, 12.5]) + width_mm * LATERAL_WALL,
    )
    dicom_factory.write(tmp_path / "b", mirrored)
    one, other = read_study(tmp_path / "a"), read_study(tmp_path / "b")
    assert by_place(one) == by_place(other)
    assert (np.diff(other.slice_positions_mm) > 0).all()
    np.testing.assert_allclose(one.normal, -other.normal, atol=1e-8)


def test_origins_that_drift_in_plane_are_kept(tmp_path: Path, dicom_factory: ModuleType) -> None:
    drift = np.arange(6)[:, None] * 4.8 * LATERAL_WALL  # 24 mm over the stack, as seen for real
    dicom_factory.write(tmp_path, dicom_factory.series(drift_mm=drift))
    stack = read_study(tmp_path)
    along_row = stack.origins_mm @ LATERAL_WALL
    np.testing.assert_allclose(along_row - along_row[0], np.arange(6) * 4.8, atol=1e-6)
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), PITCH_MM, atol=1e-6)
    assert stack.warnings == ()


def test_datasets_follow_the_slices(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series()[::-1])
    stack = read_study(tmp_path)
    for dataset, image, origin in zip(stack.datasets, stack.pixels, stack.origins_mm, strict=True):
        np.testing.assert_array_equal(dataset.pixel_array, image)
        np.testing.assert_allclose([float(x) for x in dataset.ImagePositionPatient], origin)


def test_every_slice_in_a_series_of_its_own(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for number, dataset in enumerate(datasets):
        dataset.SeriesInstanceUID = generate_uid()
        dataset.SeriesNumber = 20 + number
        dataset.InstanceNumber = 1
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_stack_is_found_among_cine_and_localiser(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    dicom_factory.write(tmp_path / "lge", dicom_factory.series(pixels))
    dicom_factory.write(tmp_path / "cine", dicom_factory.cine())
    for number in range(4):  # a cine whose slices have a series each
        one = dicom_factory.cine(slices=1, SeriesNumber=30 + number)
        for dataset in one:
            dataset.ImagePositionPatient = [0.0, 0.0, 8.0 * number]
        dicom_factory.write(tmp_path / f"cine{number}", one)
    transversal = dicom_factory.series(
        row_direction=np.array([1.0, 0, 0]),
        column_direction=np.array([0, 1.0, 0]),
        step_mm=np.array([0, 0, 10.0]),
        SeriesDescription="localizer",
        ImageType=["ORIGINAL", "PRIMARY", "M", "NORM"],
    )
    dicom_factory.write(tmp_path / "loc", transversal)
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.warnings == ("46 images of 6 other series were left out.",)


def test_one_slice_is_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series()[:1])
    stack = read_study(tmp_path)
    assert stack.pixels.shape[0] == 1
    assert stack.slice_thickness_mm == 8.0
    assert any("single slice" in warning for warning in stack.warnings)


def test_two_slices_are_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series()[:2])
    assert any("only 2 slices" in warning for warning in read_study(tmp_path).warnings)


def test_one_slice_without_thickness_is_refused(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(SliceThickness=None)[:1])
    assert "thickness" in refusal(tmp_path)


def test_unmarked_stack_is_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    unmarked = {"InversionTime": 0, "SeriesDescription": "sax", "ImageType": ["ORIGINAL"]}
    dicom_factory.write(tmp_path, dicom_factory.series(**unmarked))
    assert any("marks it as LGE" in warning for warning in read_study(tmp_path).warnings)


# --- pixel encodings ------------------------------------------------------------------------


def test_rescale_differs_from_slice_to_slice(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for number, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = number + 0.5, -100
    dicom_factory.write(tmp_path, datasets)
    expected = pixels * (np.arange(6) + 0.5)[:, None, None] - 100
    np.testing.assert_allclose(read_study(tmp_path).pixels, expected)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int8])
def test_bit_depths(tmp_path: Path, dicom_factory: ModuleType, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    pixels = np.linspace(limits.min, limits.max, 6 * 20 * 16).astype(dtype).reshape(6, 20, 16)
    dicom_factory.write(tmp_path, dicom_factory.series(pixels))
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels.astype(np.float32))


def test_signed_12_bits_with_clear_high_bits(tmp_path: Path, dicom_factory: ModuleType) -> None:
    values = dicom_factory.noise() - 2048
    datasets = dicom_factory.series((values & 0x0FFF).astype(np.int16))
    for dataset in datasets:
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 1
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, values)


def test_rle_and_implicit_vr(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    for dataset in datasets[:3]:
        dataset.compress(RLELossless, generate_instance_uid=False)
    for dataset in datasets[3:]:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dicom_factory.write(tmp_path, datasets)
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_without_preamble(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    for number, dataset in enumerate(dicom_factory.series(pixels)):
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(
            tmp_path / f"{number}", implicit_vr=True, little_endian=True, enforce_file_format=False
        )
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


@pytest.mark.parametrize(
    "name",
    ["MR_small_implicit", "MR_small_bigendian", "MR_small_RLE", "MR_small_jpeg_ls_lossless"],
)
def test_encodings_of_real_scanners_agree(tmp_path: Path, name: str) -> None:
    found = []
    for source in ("MR_small", name):
        dataset = pydicom.dcmread(str(get_testdata_file(f"{source}.dcm", download=False)))
        # A slice of a spine: turned into a short axis, since no other view is accepted.
        dataset.ImageOrientationPatient = [*LATERAL_WALL.round(6), *(-ANTERIOR_WALL).round(6)]
        folder = tmp_path / source
        folder.mkdir()
        dataset.save_as(folder / "x")
        found.append(read_study(folder).pixels)
    np.testing.assert_array_equal(found[0], found[1])


def test_missing_decoder_is_named(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    for dataset in datasets:
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dicom_factory.write(tmp_path, datasets)
    message = refusal(tmp_path)
    if pydicom.pixels.get_decoder(JPEGLosslessSV1).is_available:
        assert "file 1 of 6" in message  # with a decoder it is the pixels that are bad
    else:
        assert "1.2.840.10008.1.2.4.70" in message
        assert "pip install python-gdcm" in message


# --- dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"AcquisitionDateTime": "20240301083000.5+0100"}, datetime(2024, 3, 1, 8, 30, 0, 500_000)),
        ({"AcquisitionDateTime": "202403"}, datetime(2024, 2, 29, 10, 45, 0, 250_000)),
        ({"AcquisitionTime": "10"}, datetime(2024, 2, 29, 10)),
        ({"AcquisitionDate": "2024.02.28"}, datetime(2024, 2, 28, 10, 45, 0, 250_000)),
        ({"AcquisitionDate": None}, datetime(2024, 2, 29, 10, 15)),
        ({"AcquisitionDate": "20241301"}, datetime(2024, 2, 29, 10, 15)),
        ({"AcquisitionTime": "2561"}, datetime(2024, 2, 29, 10, 15)),
    ],
)
def test_acquisition_time(
    tmp_path: Path, dicom_factory: ModuleType, elements: dict[str, Any], expected: datetime
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own, while writing what is invalid
        dicom_factory.write(tmp_path, dicom_factory.series(**elements))
    stack = read_study(tmp_path)
    assert stack.acquired == expected
    assert stack.warnings == ()


def test_earliest_slice_counts(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    for number, dataset in enumerate(datasets):
        dataset.AcquisitionTime = f"11{50 - 5 * number:02d}00"
    dicom_factory.write(tmp_path, datasets)
    assert read_study(tmp_path).acquired == datetime(2024, 2, 29, 11, 25)


@pytest.mark.parametrize("date", ["20120000", "19000101", "yesterday", "20230229"])
def test_dates_that_are_none(tmp_path: Path, dicom_factory: ModuleType, date: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionDate=date, StudyDate=date))
    stack = read_study(tmp_path)
    assert stack.acquired is None
    assert any("not dates" in warning for warning in stack.warnings)
    assert not any(date in warning for warning in stack.warnings)


def test_date_without_time_of_day(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionTime=None, StudyTime=None))
    stack = read_study(tmp_path)
    assert stack.acquired == datetime(2024, 2, 29)
    assert any("no time of day" in warning for warning in stack.warnings)


def test_no_date_at_all_is_unknown(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(AcquisitionDate=None, StudyDate=None))
    stack = read_study(tmp_path)
    assert stack.acquired is None
    assert stack.warnings == ()


# --- what is ignored, with a count ----------------------------------------------------------


def test_other_files_are_ignored_with_a_count(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    paths = dicom_factory.write(tmp_path / "deep" / "er", dicom_factory.series(pixels))
    for name in ("README.txt", ".DS_Store", "empty.dcm"):
        (tmp_path / name).write_bytes(b"hello" if name != "empty.dcm" else b"")
    shutil.copy(str(get_testdata_file("dicomdirtests/DICOMDIR", download=False)), tmp_path)
    shutil.copy(str(get_testdata_file("waveform_ecg.dcm", download=False)), tmp_path)
    ct = dicom_factory.series()[0]
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dicom_factory.write(tmp_path, [ct], prefix="ct")
    shutil.copy(paths[2], tmp_path / "again.dcm")
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.warnings == (
        "3 files that are not DICOM were ignored.",
        "2 DICOM objects that are not MR images were ignored.",
        "1 copy of an image was ignored.",
    )


# --- what is refused ------------------------------------------------------------------------


def test_empty_folder(tmp_path: Path) -> None:
    assert "no files" in refusal(tmp_path)


def test_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    assert "none of the 1 files" in refusal(tmp_path)


def test_missing_path(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_single_dicom_file(tmp_path: Path, dicom_factory: ModuleType) -> None:
    path = dicom_factory.write(tmp_path, dicom_factory.series())[0]
    assert "a single DICOM file" in refusal(path)


def test_unsupported_file(tmp_path: Path) -> None:
    path = tmp_path / "study.mha"
    path.write_bytes(b"ObjectType = Image\n")
    assert "unsupported type" in refusal(path)


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyInstanceUID"])
def test_mixed_patients_and_studies(
    tmp_path: Path, dicom_factory: ModuleType, keyword: str
) -> None:
    datasets = dicom_factory.series(**({"PatientID": None} if keyword == "PatientName" else {}))
    setattr(datasets[4], keyword, "1.2.3" if keyword == "StudyInstanceUID" else "SECRET^Other")
    dicom_factory.write(tmp_path, datasets)
    what = "2 studies" if keyword == "StudyInstanceUID" else "2 patients"
    assert what in refusal(tmp_path)


def test_same_patient_written_differently_is_one(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    datasets[3].PatientName = "SECRETNAME^TEST^MIDDLE"  # the ID decides
    dicom_factory.write(tmp_path, datasets)
    assert len(read_study(tmp_path).pixels) == 6


def test_cine(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.cine(phases=12, slices=4))
    message = refusal(tmp_path)
    assert "cine series (12 images at each of 4 slice positions)" in message
    assert "Export the short-axis LGE" in message


def test_cine_with_a_series_for_every_slice(tmp_path: Path, dicom_factory: ModuleType) -> None:
    for number in range(4):
        one = dicom_factory.cine(slices=1, SeriesNumber=30 + number)
        for dataset in one:
            dataset.ImagePositionPatient = [0.0, 0.0, 8.0 * number]
        dicom_factory.write(tmp_path, one, prefix=f"s{number}-")
    assert "(5 images at each of 4 slice positions)" in refusal(tmp_path)


def test_single_frames_of_a_cine(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.cine(phases=20)[:4])
    assert "one of 20 phases" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "step", "what"),
    [
        ("InversionTime", 80.0, "T1 mapping"),
        ("EchoTime", 10.0, "T2 mapping"),
        ("TriggerTime", 900.0, "perfusion"),
        ("AcquisitionNumber", 1, "perfusion"),
        ("ImageComments", 1, "several images per slice"),
    ],
)
def test_other_repeated_series(
    tmp_path: Path, dicom_factory: ModuleType, keyword: str, step: float, what: str
) -> None:
    uid = generate_uid()
    datasets = [
        dataset
        for repeat in range(8)
        for dataset in dicom_factory.series(
            dicom_factory.noise(3), SeriesInstanceUID=uid, **{keyword: 100 + repeat * step}
            if keyword != "ImageComments" else {keyword: str(repeat)}
        )
    ]  # fmt: skip
    dicom_factory.write(tmp_path, datasets)
    message = refusal(tmp_path)
    assert what in message
    assert "8 images" in message
    assert "at each of 3 slice positions" in message


def test_slice_taken_twice(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    again = dicom_factory.series(
        dicom_factory.noise(seed=9), SeriesInstanceUID=datasets[0].SeriesInstanceUID
    )[3]
    dicom_factory.write(tmp_path, [*datasets, again])
    assert "slice 4 was taken more than once (counted from the apex)" in refusal(tmp_path)


def test_magnitude_and_psir_are_both_listed(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(), prefix="a")
    magnitude = {"SeriesDescription": "de_mag", "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
    dicom_factory.write(tmp_path, dicom_factory.series(SeriesNumber=11, **magnitude), prefix="b")
    message = refusal(tmp_path)
    assert "series 11 (6 slices, magnitude); series 12 (6 slices, PSIR)" in message
    assert "only one" in message


def test_other_views(tmp_path: Path, dicom_factory: ModuleType) -> None:
    long_axis = dicom_factory.series(
        row_direction=LATERAL_WALL, column_direction=BASE_TO_APEX, step_mm=10 * ANTERIOR_WALL
    )
    dicom_factory.write(tmp_path, long_axis)
    assert "tilted by 90°" in refusal(tmp_path)


def test_steep_heart_is_read_with_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    steep = np.cos(np.radians(50)) * BASE_TO_APEX + np.sin(np.radians(50)) * LATERAL_WALL
    dicom_factory.write(
        tmp_path,
        dicom_factory.series(
            row_direction=np.cross(-ANTERIOR_WALL, steep), step_mm=10 * steep
        ),
    )  # fmt: skip
    assert any("tilted by 50°" in warning for warning in read_study(tmp_path).warnings)


def test_enhanced_mr(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dataset = dicom_factory.series()[0]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dicom_factory.write(tmp_path, [dataset])
    assert "multi-frame" in refusal(tmp_path)


def test_without_position(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    del datasets[2].ImagePositionPatient
    dicom_factory.write(tmp_path, datasets)
    assert "file 3 of 6 in name order" in refusal(tmp_path)


def test_different_images_with_one_identifier(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    datasets[1].SOPInstanceUID = datasets[0].SOPInstanceUID
    dicom_factory.write(tmp_path, datasets)
    assert "file 1 of 6" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [140, 200, 400, 0.5, 0.9, 0.999])
def test_truncated_file_is_named(tmp_path: Path, dicom_factory: ModuleType, kept: float) -> None:
    path = dicom_factory.write(tmp_path, dicom_factory.series())[3]
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    assert "file 4 of 6 in name order" in refusal(tmp_path)


# --- uneven stacks --------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [1, 2, 3, 4])
def test_missing_slice_is_reported_and_positions_kept(
    tmp_path: Path, dicom_factory: ModuleType, gone: int
) -> None:
    datasets = dicom_factory.series()
    del datasets[gone]
    dicom_factory.write(tmp_path, datasets)
    stack = read_study(tmp_path)
    steps = np.diff(stack.slice_positions_mm)
    np.testing.assert_allclose(steps[gone - 1], 20.0, atol=1e-6)
    (warning,) = stack.warnings
    assert f"between slices {gone} and {gone + 1} (counted from the apex)" in warning
    assert "20.0 mm where 10.0 mm is usual" in warning


def test_missing_slice_of_three_steps(tmp_path: Path, dicom_factory: ModuleType) -> None:
    datasets = dicom_factory.series()
    dicom_factory.write(tmp_path, [datasets[i] for i in (0, 1, 3)])
    assert "between slices 2 and 3" in read_study(tmp_path).warnings[0]


# --- secrets --------------------------------------------------------------------------------


def test_nothing_of_the_header_is_logged(
    tmp_path: Path,
    dicom_factory: ModuleType,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        secret = "SECRET" * 20  # too long for its VR: pydicom would quote it
        dicom_factory.write(
            tmp_path, dicom_factory.series(PatientID=secret, StudyInstanceUID="SECRET.1")
        )
    caplog.clear()
    capfd.readouterr()
    levels = logging.getLogger("pydicom").level
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        read_study(tmp_path)
    assert not caught
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pydicom").level == levels


# --- real and damaged files -----------------------------------------------------------------


def test_real_cine_study_is_refused(shared_data: Path) -> None:
    message = refusal(shared_data / "cine-study")
    assert "this is a cine series (20 images at each of 10 slice positions)" in message


def test_contoured_cine_frames_are_refused(shared_data: Path) -> None:
    message = refusal(shared_data / "sunnybrook-cc0" / "SC-HF-I-1")
    assert "cine" in message


def test_subjects_together_are_refused(shared_data: Path) -> None:
    assert "5 patients" in refusal(shared_data / "sunnybrook-cc0")


def test_real_geometry_is_short_axis(shared_data: Path, tmp_path: Path) -> None:
    """One phase of a real cine, relabelled as LGE, reads as a whole stack."""
    frames = {}
    for path in sorted((shared_data / "cine-study").iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            place = tuple(dataset.ImagePositionPatient)
            if frames.setdefault(place, dataset) is dataset:
                dataset.SeriesDescription = "LGE"
                dataset.save_as(tmp_path / f"{len(frames)}.dcm")
    stack = read_study(tmp_path)
    assert stack.pixels.shape == (10, 256, 256)
    np.testing.assert_allclose(np.diff(stack.slice_positions_mm), 8.0, atol=1e-3)
    assert stack.acquired is None  # AcquisitionDate and StudyDate are 20120000
    assert any("not dates" in warning for warning in stack.warnings)


def test_pydicom_test_files_never_crash(tmp_path: Path) -> None:
    folder = Path(str(get_testdata_file("MR_small.dcm", download=False))).parent
    outcomes = set()
    for path in sorted(folder.glob("*.dcm")):
        target = tmp_path / path.stem
        target.mkdir()
        shutil.copy(path, target)
        try:
            read_study(target)
            outcomes.add("read")
        except StudyError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.fixture(scope="module")
def one_file(dicom_factory: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A DICOM slice with a nested sequence in it."""
    dataset = dicom_factory.series(dicom_factory.noise(1, 8, 8))[0]
    item = pydicom.Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedImageSequence = [item]
    return dicom_factory.write(tmp_path_factory.mktemp("one"), [dataset])[0].read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_files_are_refused_or_read(
    one_file: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = bytearray(one_file)
    positions = st.integers(128, len(damaged) - 1)
    flips = data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=8))
    for position, value in flips:
        damaged[position] = value
    length = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "x").write_bytes(bytes(damaged[:length]))
    try:
        stack = read_study(folder)
    except StudyError:
        return
    assert np.isfinite(stack.pixels).all()
    assert np.isfinite(stack.origins_mm).all()
