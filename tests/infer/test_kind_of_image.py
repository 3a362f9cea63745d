"""Kind of image of a series: the scanner's codes come before words, the user before both."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from scarseg_infer.study.dicom.rules import fold, series_rules
from scarseg_infer.study.read import list_series, read_study
from scarseg_runtime.errors import StudyError

KINDS = ("PSIR", "magnitude", "phase", "unknown type")
CORRECTED = ["ORIGINAL", "PRIMARY", "CR", "CR", "IR"]
MODULUS = ["ORIGINAL", "PRIMARY", "M_IR", "M", "IR"]
NAMES = {"SeriesDescription": "PSIR_TFE_SA", "ProtocolName": "PSIR_TFE_SA"}


@pytest.mark.parametrize(
    ("names", "tokens", "kind"),
    [
        ("PSIR_TFE_SA", ("CR", "CR", "IR"), "PSIR"),
        ("PSIR_TFE_SA", ("M_IR", "M", "IR"), "magnitude"),
        ("PSIR_TFE_SA", ("P_IR", "P", "IR"), "phase"),
        ("de_sax_mag", ("R_IR", "R", "IR"), "PSIR"),
        ("lge magnitude", ("REAL",), "PSIR"),
        ("psir", ("CARDIAC", "NONE", "MAGNITUDE"), "magnitude"),
        ("de_psir_MAG", ("M", "PSIR"), "magnitude"),  # the code holds both: the name decides
        ("de_psir_sax", ("M", "PSIR"), "PSIR"),
        ("heart", ("M", "PSIR"), "PSIR"),
        ("psir", ("P", "PSIR"), "PSIR"),
        ("psir_mag", ("NORM", "DIS2D"), "magnitude"),
        ("psir", (), "PSIR"),
        ("heart", ("OTHER",), "unknown type"),
        # Spellings that are not listed: what scanners write, not what staff typed.
        ("psir_sax", ("MAG_IR",), "magnitude"),
        ("psir_sax", ("PSIR_MAG",), "magnitude"),
        ("psir_sax", ("MAGNITUDE_IR", "NORM"), "magnitude"),
        ("psir_sax", ("M_TFE",), "magnitude"),
        ("psir_sax", ("PHASE_MAP",), "phase"),
        ("psir_sax", ("IMAG_IR",), "phase"),
        ("lge_mag", ("PSMDE",), "PSIR"),
        ("lge_mag", ("CR_IR",), "PSIR"),
        ("lge_mag", ("PHASE CORRECTED REAL",), "PSIR"),
        ("lge_mag", ("PHASE_SENSITIVE",), "PSIR"),
        ("lge_mag", ("PSIR_REAL", "NORM"), "PSIR"),
        ("heart", ("REAL TIME",), "unknown type"),
        ("heart", ("MULTI_PHASE", "PHASE_01", "SINGLE PHASE", "P_2", "PH8"), "unknown type"),
        ("heart", ("REALTIME", "T1 MAP", "DIS2D", "MAP", "IMAGE", "MPR", "ABSENT"), "unknown type"),
    ],
)
def test_codes_come_before_words(names: str, tokens: tuple[str, ...], kind: str) -> None:
    assert series_rules().kind_of(fold(names), tokens) == kind


@pytest.mark.parametrize("image_type", [["MAG_IR"], ["ORIGINAL", "M"], ["DERIVED", "", "M"], ["M"]])
def test_image_types_of_too_few_values(
    tmp_path: Path, dicom_factory: ModuleType, image_type: list[str]
) -> None:
    """Whatever stands in front: the name alone would call it PSIR."""
    dicom_factory.write(tmp_path, dicom_factory.series(ImageType=image_type, **NAMES))
    assert read_study(tmp_path).image_kind == "magnitude"


def write_both(
    folder: Path, dicom_factory: ModuleType, *, one_series: bool, **elements: Any
) -> dict[str, np.ndarray]:
    """PSIR and magnitude of one acquisition under the same names, as one vendor writes them."""
    pixels = {"PSIR": dicom_factory.noise(seed=1), "magnitude": dicom_factory.noise(seed=2)}
    for number, (kind, image_type) in enumerate({"PSIR": CORRECTED, "magnitude": MODULUS}.items()):
        uid = "1.2.826.0.1.7" if one_series else f"1.2.826.0.1.7.{number}"
        more = {"SeriesInstanceUID": uid, "ImageType": image_type, **NAMES, **elements}
        dicom_factory.write(folder / kind, dicom_factory.series(pixels[kind], **more))
    return pixels


@pytest.mark.parametrize("prefer", ["PSIR", "magnitude"])
@pytest.mark.parametrize("one_series", [True, False])
def test_both_kinds_under_one_name(
    tmp_path: Path, dicom_factory: ModuleType, one_series: bool, prefer: Any
) -> None:
    pixels = write_both(tmp_path, dicom_factory, one_series=one_series)
    stack = read_study(tmp_path, prefer=prefer)
    assert stack.image_kind == prefer
    np.testing.assert_array_equal(stack.pixels, pixels[prefer])
    for verdict in list_series(tmp_path):
        stack = read_study(tmp_path, series=verdict.number, prefer=prefer)
        assert stack.image_kind == verdict.kind
        np.testing.assert_array_equal(stack.pixels, pixels[verdict.kind])
        assert not any("is named as" in warning for warning in stack.warnings)


@pytest.mark.parametrize("prefer", ["PSIR", "magnitude"])
def test_the_kind_asked_for_comes_before_marks_of_lge(
    tmp_path: Path, dicom_factory: ModuleType, prefer: Any
) -> None:
    """One acquisition, of which only one kind of image is marked as LGE, beside a plain stack."""
    pixels = {"PSIR": dicom_factory.noise(seed=1), "magnitude": dicom_factory.noise(seed=2)}
    bare = {"InversionTime": None}
    for kind, elements in {
        "PSIR": {"SeriesDescription": "lge sax", "ImageType": CORRECTED},
        "magnitude": {"SeriesDescription": "heart", "ImageType": MODULUS},
    }.items():
        datasets = dicom_factory.series(pixels[kind], **bare, **elements)
        dicom_factory.write(tmp_path / kind, datasets)
    other = dicom_factory.series(
        SeriesDescription="heart", ImageType=MODULUS, AcquisitionTime="090000", **bare
    )
    dicom_factory.write(tmp_path / "other", other)
    stack = read_study(tmp_path, prefer=prefer)
    assert stack.image_kind == prefer
    np.testing.assert_array_equal(stack.pixels, pixels[prefer])


def test_name_that_contradicts_the_code_is_said(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(ImageType=MODULUS, **NAMES))
    stack = read_study(tmp_path)
    assert stack.image_kind == "magnitude"
    assert any("named as PSIR images, but its headers say magnitude" in w for w in stack.warnings)


def test_complex_component_comes_before_words(
    tmp_path: Path, dicom_factory: ModuleType, enhanced_factory: ModuleType
) -> None:
    dicom_factory.write(
        tmp_path, [enhanced_factory.enhanced(dicom_factory.series(ImageType=MODULUS, **NAMES))]
    )
    assert read_study(tmp_path).image_kind == "magnitude"


def test_image_types_that_nobody_knows_make_two_stacks(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    """Two images of every slice in one series are two candidates wherever a code tells them."""
    for number in range(2):
        datasets = dicom_factory.series(
            dicom_factory.noise(seed=number), SeriesInstanceUID="1.2.3",
            ImageType=["ORIGINAL", "PRIMARY", f"X{number}"], SeriesDescription="lge sax",
        )  # fmt: skip
        dicom_factory.write(tmp_path / f"{number}", datasets)
    with pytest.raises(StudyError, match="--series"):
        read_study(tmp_path)
    found = [read_study(tmp_path, series=number).pixels for number in (1, 2)]
    assert {pixels.tobytes() for pixels in found} == {
        dicom_factory.noise(seed=number).astype(np.float32).tobytes() for number in range(2)
    }


def test_a_refusal_claims_no_more_than_it_knows_and_has_a_way_out(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    """By its name a T1 map, by its phases a cine: the user may know better."""
    for number, elements in enumerate(
        ({"SeriesDescription": "after MOLLI"}, {"CardiacNumberOfImages": 20, "InversionTime": None,
         "SeriesDescription": "heart", "ImageType": ["ORIGINAL", "PRIMARY", "M"]})
    ):  # fmt: skip
        folder = tmp_path / f"{number}"
        dicom_factory.write(folder, dicom_factory.series(**elements))
        with pytest.raises(StudyError) as caught:
            read_study(folder)
        assert "not late gadolinium" not in str(caught.value)
        assert "this is" not in str(caught.value)
        assert "--series" in str(caught.value)
        stack = read_study(folder, series=1)
        assert any("read as told" in warning for warning in stack.warnings)


def test_phase_images_alone_are_told(tmp_path: Path, dicom_factory: ModuleType) -> None:
    phase = ["ORIGINAL", "PRIMARY", "P_IR", "P", "IR"]
    dicom_factory.write(tmp_path, dicom_factory.series(ImageType=phase, SeriesDescription="LGE"))
    stack = read_study(tmp_path)
    assert stack.image_kind == "phase"
    assert any("phase images, whose signal" in warning for warning in stack.warnings)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("T1MAP", "map"), ("T2*MAP", "map"), ("ECV_MAP", "map"), ("ECV", "map"),
        ("VELOCITY MAP", "flow"), ("PHASE CONTRAST M", "flow"), ("M_PCA", "flow"),
    ],
)  # fmt: skip
def test_what_the_scanner_calls_a_map_is_no_lge_whatever_its_name(
    dicom_factory: ModuleType, tmp_path: Path, token: str, why: str
) -> None:
    elements = {"ImageType": ["DERIVED", "PRIMARY", token], "SeriesDescription": "LGE_SAX"}
    dicom_factory.write(tmp_path, dicom_factory.series(**elements))
    with pytest.raises(StudyError, match=f"speaks against late enhancement .*{why}"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("image_type", "told"),
    [
        (["DERIVED", "PRIMARY", "PSIR", "MAG"], True),
        (["ORIGINAL", "PRIMARY", "M", "PSIR", "ND", "MAGNITUDE"], True),
        (["ORIGINAL", "PRIMARY", "M", "PSIR"], False),
        (["ORIGINAL", "PRIMARY", "PSIR_MAG"], False),
    ],
)
def test_two_kinds_in_one_image_type_are_told(
    image_type: list[str], told: bool, tmp_path: Path, dicom_factory: ModuleType
) -> None:
    dicom_factory.write(tmp_path, dicom_factory.series(ImageType=image_type))
    warned = any("PSIR and magnitude at once" in w for w in read_study(tmp_path).warnings)
    assert warned == told
