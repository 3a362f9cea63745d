"""Every way a study can arrive × every output: one heart, the same answer.

The demonstration study (digital twin) is written in every DICOM flavour the readers know; whatever
is lossless must give the same scar, and every output of it must be valid. The rows of the browser
are in tests/web/test_core.py, that of KServe in tests/export/triton/test_kserve.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import hl7
import numpy as np
import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from scarseg_infer import Segmenter
from scarseg_infer.cli import main
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.result import ScarResult
from scarseg_infer.write.folder import NAMES

Verify = Callable[[Path], dict[str, Any]]
Slices = list[FileDataset]

DICOM_OBJECTS = ("seg", "sr", "dicom-pdf")
REAL_ECGS = {
    "ptbxl-00001/00001_lr.hea": "wfdb", "ptb-s0010/s0010_re.dat": "wfdb",
    "philips/*.xml": "philips-xml", "muse/*.xml": "muse-xml", "muse/*.dcm": "dicom",
}  # fmt: skip


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_model()


@pytest.fixture(scope="module")
def plain(segmenter: Segmenter) -> ScarResult:
    return segmenter.run(DEMO_STUDY, DEMO_ECG)


@pytest.fixture
def slices() -> Slices:
    return [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]


def own_series(found: Slices) -> Slices:
    for dataset in found:
        dataset.SeriesInstanceUID = generate_uid()
    return found


def reversed_numbers(found: Slices) -> Slices:
    for number, dataset in enumerate(found):
        dataset.InstanceNumber = 99 - number
    return found[::-1]


def rescaled(found: Slices) -> Slices:
    for dataset in found:
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -4096
    return found


def inverted(found: Slices) -> Slices:
    for dataset in found:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        set_pixels(dataset, 65535 - dataset.pixel_array)
    return found


def inverted_in_small_letters(found: Slices) -> Slices:
    for dataset in inverted(found):
        dataset.PhotometricInterpretation = "monochrome1"
    return found


def eight_bit(found: Slices) -> Slices:
    top = max(int(dataset.pixel_array.max()) for dataset in found)
    for dataset in found:
        grey = np.round(dataset.pixel_array * (255.0 / top)).astype(np.uint8)
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        set_pixels(dataset, grey)
    return found


def big_endian(found: Slices) -> Slices:
    for dataset in found:
        list(dataset.iterall())  # what is not decoded yet would be written as it is
        set_pixels(dataset, dataset.pixel_array.astype(">u2"))
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.set_original_encoding(False, False)
    return found


def without_dates(found: Slices) -> Slices:
    for dataset in found:
        for keyword in ("Study", "Series", "Acquisition", "Content"):
            setattr(dataset, f"{keyword}Date", "20120000")
    return found


def with_magnitude(found: Slices) -> Slices:
    """The same slices as magnitude images, in a series of their own."""
    uid = generate_uid()
    others = [pydicom.dcmread(path) for path in sorted(DEMO_STUDY.glob("*.dcm"))]
    for dataset in others:
        dataset.SeriesInstanceUID, dataset.SeriesNumber = uid, 77
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImageType = ["DERIVED", "PRIMARY", "M", "MAG"]
        dataset.SeriesDescription = "LGE magnitude short axis (simulated)"
        set_pixels(dataset, dataset.pixel_array[::-1])
    return found + others


def compressed(syntax: pydicom.uid.UID) -> Callable[[Slices], Slices]:
    def change(found: Slices) -> Slices:
        for dataset in found:
            dataset.compress(syntax, generate_instance_uid=False)
        return found

    return change


def set_pixels(dataset: FileDataset, pixels: np.ndarray) -> None:
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"


FLAVOURS: dict[str, Callable[[Slices], Slices]] = {
    "a series for each slice": own_series,
    "numbered backwards": reversed_numbers,
    "rescale slope and intercept": rescaled,
    "MONOCHROME1": inverted,
    "monochrome1": inverted_in_small_letters,
    "8 bit": eight_bit,
    "big endian": big_endian,
    "invalid dates": without_dates,
    "PSIR beside magnitude": with_magnitude,
    "RLE": compressed(RLELossless),
    "JPEG-LS": compressed(JPEGLSLossless),
    "JPEG 2000": compressed(JPEG2000Lossless),
}
LOSSY = {"8 bit"}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_flavour_gives_the_same_scar_and_valid_outputs(
    segmenter: Segmenter, plain: ScarResult, slices: Slices, tmp_path: Path, flavour: str,
    dicom_factory: ModuleType, verify_dicom: Verify,
) -> None:  # fmt: skip
    dicom_factory.write(tmp_path / "study", FLAVOURS[flavour](slices))
    result = segmenter.run(tmp_path / "study", DEMO_ECG, gap_days=3)
    same_heart(result, plain, exact=flavour not in LOSSY)
    valid_outputs(result, tmp_path / "out", verify_dicom)
    if flavour == "invalid dates":
        assert result.ecg.gap_source == "given"


@pytest.mark.parametrize("kind", ["enhanced", "legacy"])
def test_multi_frame_objects_give_the_same_scar(
    segmenter: Segmenter, plain: ScarResult, slices: Slices, tmp_path: Path, kind: str,
    dicom_factory: ModuleType, enhanced_factory: ModuleType, verify_dicom: Verify,
) -> None:  # fmt: skip
    dicom_factory.write(tmp_path / "study", [getattr(enhanced_factory, kind)(slices)])
    result = segmenter.run(tmp_path / "study", DEMO_ECG, gap_days=3)
    same_heart(result, plain)
    valid_outputs(result, tmp_path / "out", verify_dicom)


def test_jpeg_lossless_gives_the_same_scar(
    segmenter: Segmenter, plain: ScarResult, tmp_path: Path, dicom_tool: Callable[..., str]
) -> None:
    if not get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("no plugin for JPEG Lossless")
    (tmp_path / "study").mkdir()
    for path in DEMO_STUDY.glob("*.dcm"):
        dicom_tool("dcmcjpeg", "+e1", path, tmp_path / "study" / path.name)
    same_heart(segmenter.run(tmp_path / "study", DEMO_ECG), plain)


def test_a_whole_export_folder_is_sorted_out(
    plain: ScarResult, slices: Slices, tmp_path: Path, dicom_factory: ModuleType,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """Localiser, cine and LGE in one folder, as a PACS exports them: one command."""
    patient = {
        name: getattr(slices[0], name)
        for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID")
    }
    localiser = dicom_factory.series(
        dicom_factory.noise(3), SeriesNumber=1, SeriesDescription="localizer",
        ImageType=["ORIGINAL", "PRIMARY", "M", "LOCALIZER"], InversionTime=None,
        SeriesInstanceUID=generate_uid(), **patient,
    )  # fmt: skip
    cine = dicom_factory.cine(phases=6, slices=4, **patient)
    study = tmp_path / "export"
    dicom_factory.write(study / "a", localiser)
    dicom_factory.write(study / "b", cine)
    dicom_factory.write(study / "c", slices)
    (study / "README.txt").write_text("not DICOM")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in study.rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    assert main([str(study), "--list-series"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 3
    assert [line[0] for line in listed].count("*") == 1
    way = ["--provider", plain.model.provider, "--precision", plain.model.precision]
    for source, out in ((study, "a"), (tmp_path / "export.zip", "b")):
        assert main([str(source), str(DEMO_ECG), "-q", "-o", str(tmp_path / out), *way]) == 0
        document = json.loads((tmp_path / out / "result.json").read_text(encoding="utf-8"))
        assert document["quantities"]["scar_ml"] == pytest.approx(plain.quantities.scar_ml)


def test_dicomweb_gives_the_same_scar(
    segmenter: Segmenter, plain: ScarResult, orthanc_web: Any, tmp_path: Path, verify_dicom: Verify
) -> None:
    """A study by its address on a real archive, which has it in another order."""
    from scarseg_infer.cli import parser
    from scarseg_infer.dicomweb.inputs import fetched

    files = sorted(DEMO_STUDY.glob("*.dcm"), reverse=True)
    orthanc_web.upload(*(path.read_bytes() for path in (DEMO_ECG.with_name("twin.dcm"), *files)))
    uid = pydicom.dcmread(files[0]).StudyInstanceUID
    options = parser().parse_args(
        [f"{orthanc_web.url}/studies/{uid}", "--login-file", str(orthanc_web.login_file)]
    )
    with fetched(options.study, None, options) as (study, ecg):
        result = segmenter.run(study, ecg)
    same_heart(result, plain)
    assert result.ecg.source == "dicom"
    valid_outputs(result, tmp_path / "out", verify_dicom)


def test_nifti_gives_the_same_scar(
    segmenter: Segmenter, plain: ScarResult, tmp_path: Path, verify_dicom: Verify
) -> None:
    import nibabel

    from scarseg_infer.study.geometry.straight_grid import straight_grid
    from scarseg_infer.write.nifti import ras_affine

    affine = ras_affine(straight_grid(plain.stack))
    volume = plain.stack.pixels.transpose(2, 1, 0)  # columns, rows, slices
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "study.nii.gz")
    result = segmenter.run(tmp_path / "study.nii.gz", DEMO_ECG, gap_days=3)
    assert result.quantities.scar_ml == pytest.approx(plain.quantities.scar_ml, rel=0.01)
    paths = result.write(tmp_path / "out", only=["all"])
    assert set(paths) == set(NAMES) - {*DICOM_OBJECTS, "hl7"}
    valid_messages(paths)


def test_an_mrd_stream_gives_the_same_scar(
    segmenter: Segmenter, plain: ScarResult, tmp_path: Path, mrd_factory: ModuleType
) -> None:
    """As ``scarseg-mrd`` reads it; tests/mrd has the sessions."""
    from scarseg_infer.mrd.header import read_header
    from scarseg_infer.mrd.images import stream_image
    from scarseg_infer.mrd.messages import Kind, Message
    from scarseg_infer.mrd.stack import lge_stack

    sent = mrd_factory.twin_images(name="LGE PSIR short axis")[::-1]
    images = [
        stream_image(Message(Kind.IMAGE, b"\xfe\x03" + image.to_bytes()), number)
        for number, image in enumerate(sent)
    ]
    header = read_header(mrd_factory.HEADER.format(patient="p", protocol="LGE").encode())
    result = segmenter.run(lge_stack(images, header).stack, DEMO_ECG)
    same_heart(result, plain)
    assert result.ecg.gap_source == plain.ecg.gap_source
    paths = result.write(tmp_path / "out", only=["all"])
    assert set(paths) == set(NAMES) - {*DICOM_OBJECTS, "hl7"}


@pytest.mark.parametrize("pattern", REAL_ECGS)
def test_every_real_ecg_goes_all_the_way(
    segmenter: Segmenter, plain: ScarResult, shared_data: Path, tmp_path: Path, pattern: str,
    verify_dicom: Verify,
) -> None:  # fmt: skip
    """Another person's ECG, to test plumbing: what it does to the scar means nothing."""
    folder = shared_data / "ecg"
    files = sorted(folder.glob(pattern))
    assert files
    for number, path in enumerate(files):
        result = segmenter.run(DEMO_STUDY, path, gap_days=3, allow_identity_mismatch=True)
        assert result.ecg.source == REAL_ECGS[pattern]
        assert result.ecg.given
        assert np.array_equal(result.image_only_labels, plain.image_only_labels)
        valid_outputs(result, tmp_path / str(number), verify_dicom)


def same_heart(result: ScarResult, plain: ScarResult, *, exact: bool = True) -> None:
    """Slices may come in another order, the heart may not change."""
    assert result.labels.shape == plain.labels.shape
    ours, theirs = (r.display.to_display(r.labels) for r in (result, plain))
    assert (ours == theirs).mean() >= (1.0 if exact else 0.995)
    assert result.ecg.weight == pytest.approx(plain.ecg.weight, abs=1e-3)


def valid_outputs(result: ScarResult, out: Path, verify_dicom: Verify) -> None:
    paths = result.write(out, only=["all"])
    assert set(paths) == set(NAMES)
    for name in DICOM_OBJECTS:
        verify_dicom(paths[name])
    valid_messages(paths)
    document = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert document["files"] == {name: path.name for name, path in paths.items()}
    assert document["quantities"]["scar_ml"] == pytest.approx(result.quantities.scar_ml, abs=1e-5)
    assert all(path.stat().st_size > 500 for path in paths.values())
    if shutil.which("dsrdump"):
        said = subprocess.run(
            ["dsrdump", paths["sr"]], capture_output=True, text=True, check=True
        ).stdout
        assert "Imaging Measurement Report" in said


def valid_messages(paths: Mapping[str, Path]) -> None:
    """FHIR and HL7 by parsers of others."""
    Bundle.model_validate_json(paths["fhir"].read_text(encoding="utf-8"))
    if "hl7" in paths:
        message = hl7.parse(paths["hl7"].read_bytes().decode())
        assert str(message.segment("MSH")[9]) == "ORU^R01^ORU_R01"
        assert len(message.segments("OBX")) > 20
