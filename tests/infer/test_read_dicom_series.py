"""Choice among several series, and what is said of the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
from pydicom.uid import generate_uid

from scarseg_infer.study.dicom.rules import fold, series_rules
from scarseg_infer.study.geometry.orientation import ANTERIOR_WALL, BASE_TO_APEX, LATERAL_WALL
from scarseg_infer.study.read import list_series, read_study
from scarseg_infer.study.series_verdict import SeriesVerdict
from scarseg_infer.study.stack import ImageKind
from scarseg_runtime.errors import StudyError

Refusal = Callable[[Path], str]
MAGNITUDE: dict[str, Any] = {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}
LONG_AXIS: dict[str, Any] = {
    "row_direction": LATERAL_WALL,
    "column_direction": BASE_TO_APEX,
    "step_mm": 8.0 * ANTERIOR_WALL,
}
NO_INVERSION: dict[str, Any] = {"InversionTime": None, **MAGNITUDE}


def views_of_a_localiser(dicom_factory: ModuleType) -> list[Any]:
    """Three slices in each body plane, in one series."""
    axes = np.eye(3)
    uid = generate_uid()
    return [
        image
        for row, column in ((0, 1), (1, 2), (0, 2))
        for image in dicom_factory.series(
            dicom_factory.noise(3),
            row_direction=axes[row],
            column_direction=axes[column],
            step_mm=20.0 * np.cross(axes[row], axes[column]),
            SeriesNumber=1,
            SeriesInstanceUID=uid,
            SeriesDescription="survey",
            **NO_INVERSION,
        )
    ]


def whole_study(folder: Path, dicom_factory: ModuleType) -> dict[str, np.ndarray]:
    """A heart study as it comes from a scanner; returns the pixels of its two LGE stacks."""
    psir, magnitude = dicom_factory.noise(9, seed=1), dicom_factory.noise(9, seed=2)
    make = dicom_factory.series
    post = {"ContrastBolusAgent": "Gd"}
    molli_uid = generate_uid()
    parts = {
        "localiser": views_of_a_localiser(dicom_factory),
        "cine": dicom_factory.cine(phases=12, slices=9, SeriesNumber=5),
        "molli": [
            image
            for repeat in range(8)
            for image in make(
                dicom_factory.noise(3), SeriesNumber=8, SeriesInstanceUID=molli_uid,
                SeriesDescription="T1map_MOLLI", InversionTime=100 + 80 * repeat, **MAGNITUDE,
            )
        ],
        "t1": make(
            dicom_factory.noise(3), SeriesNumber=9, SeriesDescription="T1map_MOLLI_T1",
            **{**MAGNITUDE, "ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]},
        ),
        "anatomy": make(
            dicom_factory.noise(9), SeriesNumber=10, SeriesDescription="haste_db", **NO_INVERSION
        ),
        "magnitude": make(
            magnitude, SeriesNumber=20, SeriesDescription="de_psir_sax_MAG", **MAGNITUDE, **post
        ),
        "psir": make(psir, SeriesNumber=21, SeriesDescription="de_psir_sax_PSIR", **post),
        "long": make(
            dicom_factory.noise(3), SeriesNumber=22, SeriesDescription="de_psir_2ch", **LONG_AXIS,
            **post,
        ),
    }  # fmt: skip
    for name, datasets in parts.items():
        dicom_factory.write(folder / name, datasets)
    return {"PSIR": psir, "magnitude": magnitude}


def by_series(verdicts: list[SeriesVerdict]) -> dict[int | None, SeriesVerdict]:
    """Verdicts by series number; of several of one series the last."""
    return {verdict.series_number: verdict for verdict in verdicts}


@pytest.mark.parametrize("prefer", ["PSIR", "magnitude"])
def test_whole_study(tmp_path: Path, dicom_factory: ModuleType, prefer: Any) -> None:
    pixels = whole_study(tmp_path, dicom_factory)
    other = {"PSIR": "magnitude", "magnitude": "PSIR"}[prefer]
    stack = read_study(tmp_path, prefer=prefer)
    np.testing.assert_array_equal(stack.pixels, pixels[prefer])
    assert stack.image_kind == prefer
    note = f"The same slices are there as {other} images too: the {prefer} images were read."
    assert note in stack.warnings
    assert not any("may be LGE" in warning for warning in stack.warnings)
    verdicts = list_series(tmp_path, prefer=prefer)
    assert [verdict.number for verdict in verdicts] == list(range(1, len(verdicts) + 1))
    (chosen,) = [verdict for verdict in verdicts if verdict.chosen]
    assert chosen.kind == prefer
    assert chosen.slices == 9
    assert chosen.orientation.startswith("short axis")
    assert chosen.score == max(verdict.score for verdict in verdicts)
    assert "inversion time" in chosen.reason
    reasons = {number: verdict.reason for number, verdict in by_series(verdicts).items()}
    assert "a localiser" in reasons[1]
    assert "cine series (12 images at each of 9" in reasons[5]
    assert "T1 mapping" in reasons[8]
    assert "a T1, T2 or ECV map" in reasons[9]
    assert "anatomical" in reasons[10]
    assert "tilted by 90°" in reasons[22]
    assert by_series(verdicts)[22].orientation == "long axis, 90°"
    twin = 20 if other == "magnitude" else 21
    assert f"same slices as number {chosen.number}, whose {prefer} images" in reasons[twin]
    assert {v.orientation.split(",")[0] for v in verdicts if v.series_number == 1} == {
        "other (transversal)", "other (sagittal)", "other (coronal)",
    }  # fmt: skip


def test_names_of_files_do_not_matter(tmp_path: Path, dicom_factory: ModuleType) -> None:
    whole_study(tmp_path / "study", dicom_factory)
    listed = list_series(tmp_path / "study")
    paths = sorted((tmp_path / "study").rglob("*.dcm"))
    turned = np.random.default_rng(7).permutation(len(paths))
    (tmp_path / "turned").mkdir()
    for number, path in zip(turned, paths, strict=True):
        path.rename(tmp_path / "turned" / f"{number:05d}")

    # Of the localiser's views, which share a series, any may come first.
    def content(verdicts: list[SeriesVerdict]) -> list[tuple[Any, ...]]:
        return [
            (v.series_uid, v.score, v.chosen, v.reason) for v in verdicts if v.series_number != 1
        ]

    assert content(list_series(tmp_path / "turned")) == content(listed)


def test_series_can_be_told(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = whole_study(tmp_path, dicom_factory)
    verdicts = by_series(list_series(tmp_path))
    for wanted in (verdicts[20].number, str(verdicts[20].number), verdicts[20].series_uid):
        stack = read_study(tmp_path, series=wanted)
        np.testing.assert_array_equal(stack.pixels, pixels["magnitude"])
        assert any("as PSIR images too: the magnitude" in warning for warning in stack.warnings)
    unlikely = read_study(tmp_path, series=verdicts[10].number)
    assert len(unlikely.pixels) == 9
    assert any("read as told" in warning for warning in unlikely.warnings)
    for unfit, why in ((5, "cine"), (22, "tilted by 90°"), (8, "T1 mapping")):
        with pytest.raises(StudyError, match=why):
            read_study(tmp_path, series=verdicts[unfit].series_uid)
    for unknown in (0, 99, -1, "", "1.2.3", "psir"):
        with pytest.raises(StudyError, match="no such series"):
            read_study(tmp_path, series=unknown)


@pytest.mark.parametrize("prefer", ["PSIR", "magnitude"])
def test_series_that_holds_both_kinds(
    tmp_path: Path, dicom_factory: ModuleType, prefer: Any
) -> None:
    uid = "1.2.826.0.1.9"
    pixels = {"PSIR": dicom_factory.noise(seed=1), "magnitude": dicom_factory.noise(seed=2)}
    names = {"SeriesInstanceUID": uid, "SeriesDescription": "LGE sax"}
    dicom_factory.write(tmp_path / "a", dicom_factory.series(pixels["PSIR"], **names))
    magnitude = dicom_factory.series(pixels["magnitude"], **names, **MAGNITUDE)
    dicom_factory.write(tmp_path / "b", magnitude)
    for series in (None, uid):
        stack = read_study(tmp_path, series=series, prefer=prefer)
        assert stack.image_kind == prefer
        np.testing.assert_array_equal(stack.pixels, pixels[prefer])
    assert [verdict.kind for verdict in list_series(tmp_path)] == ["PSIR", "magnitude"]


def test_repeats_of_both_kinds(tmp_path: Path, dicom_factory: ModuleType) -> None:
    """PSIR and magnitude, all taken twice: the later PSIR."""
    for number in range(4):
        kind = {} if number % 2 else {"SeriesDescription": "de_sax_MAG", **MAGNITUDE}
        part = dicom_factory.series(
            dicom_factory.noise(seed=number),
            SeriesNumber=20 + number,
            AcquisitionTime=f"1{number // 2}0000",
            **kind,
        )
        dicom_factory.write(tmp_path / f"{number}", part)
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, dicom_factory.noise(seed=3))
    assert [verdict.series_number for verdict in list_series(tmp_path) if verdict.chosen] == [23]


def test_archives_and_other_inputs(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path / "study", dicom_factory.series())
    shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "study")
    assert list_series(tmp_path / "study.zip") == list_series(tmp_path / "study")
    (tmp_path / "a.nii").write_bytes(b"")
    for path, what in (("a.nii", "no series to list"), ("nowhere", "does not exist")):
        with pytest.raises(StudyError, match=what):
            list_series(tmp_path / path)
    with pytest.raises(StudyError, match="no series to choose from"):
        read_study(tmp_path / "a.nii", series=1)


def test_every_number_of_the_list_reads_that_series(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    whole_study(tmp_path, dicom_factory)
    for verdict in list_series(tmp_path):
        try:
            stack = read_study(tmp_path, series=verdict.number)
        except StudyError as error:
            assert error.what.split(",")[0] in verdict.reason
            continue
        assert {dataset.SeriesInstanceUID for dataset in stack.datasets} == {verdict.series_uid}
        assert len(stack.pixels) == verdict.slices


def test_names_in_a_header_show_only_in_the_list(tmp_path: Path, dicom_factory: ModuleType) -> None:
    secret = "LGE sax Secretname"
    dicom_factory.write(tmp_path / "a", dicom_factory.series(SeriesDescription=secret))
    later = dicom_factory.series(
        SeriesDescription=secret, AcquisitionTime="110000", SeriesNumber=30, ProtocolName=secret
    )
    dicom_factory.write(tmp_path / "b", later)
    stack = read_study(tmp_path)
    assert stack.warnings
    assert not any("Secretname" in warning for warning in stack.warnings)
    verdicts = list_series(tmp_path)
    assert [verdict.description for verdict in verdicts] == [secret, secret]
    assert not any("Secretname" in f"{v.reason} {v!r}" for v in verdicts)


def test_of_repeats_the_later_one_is_read(tmp_path: Path, dicom_factory: ModuleType) -> None:
    first, second = dicom_factory.noise(seed=1), dicom_factory.noise(seed=2)
    again = dicom_factory.series(second, SeriesNumber=11, AcquisitionTime="110000")
    dicom_factory.write(tmp_path / "a", again)
    dicom_factory.write(tmp_path / "b", dicom_factory.series(first))
    stack = read_study(tmp_path)
    np.testing.assert_array_equal(stack.pixels, second)
    assert any("one taken last was read (series 11 (6 slices" in w for w in stack.warnings)
    reasons = by_series(list_series(tmp_path))
    assert reasons[11].chosen
    assert reasons[12].reason == "as good as number 1, but taken before it"


@pytest.mark.parametrize("times", [("104500", "104500"), ("104500", None), (None, None)])
def test_repeats_that_nothing_tells_apart(
    tmp_path: Path,
    dicom_factory: ModuleType,
    refusal: Refusal,
    times: tuple[str | None, str | None],
) -> None:
    for number, time in enumerate(times):
        part = dicom_factory.series(
            dicom_factory.noise(seed=number), SeriesNumber=11 + number, AcquisitionTime=time,
            **({} if time else {"StudyTime": None}),
        )  # fmt: skip
        dicom_factory.write(tmp_path / f"{number}", part)
    message = refusal(tmp_path)
    assert "2 stacks that may be the LGE: series 11 (6 slices, PSIR); series 12" in message
    assert "--series" in message
    verdicts = list_series(tmp_path)
    assert not any(verdict.chosen for verdict in verdicts)
    assert all("which of 1, 2 is not known" in verdict.reason for verdict in verdicts)
    assert len(read_study(tmp_path, series=2).pixels) == 6


def test_unmarked_stacks_are_not_guessed_among(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Refusal
) -> None:
    plain = {**NO_INVERSION, "SeriesDescription": "sax"}
    dicom_factory.write(tmp_path / "a", dicom_factory.series(**plain))
    dicom_factory.write(
        tmp_path / "b",
        dicom_factory.series(dicom_factory.noise(4), AcquisitionTime="110000", **plain),
    )
    assert "2 stacks that may be the LGE" in refusal(tmp_path)


def test_weaker_lge_is_named_in_a_warning(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path / "a", dicom_factory.series())
    few = dicom_factory.series(dicom_factory.noise(3), SeriesNumber=30, first_mm=(0, 0, 0))
    dicom_factory.write(tmp_path / "b", few)
    stack = read_study(tmp_path)
    assert len(stack.pixels) == 6
    assert (
        "Other stacks may be LGE too and were left out: series 30 (3 slices, PSIR)."
        in stack.warnings
    )
    assert "less likely than number 1" in by_series(list_series(tmp_path))[30].reason


def test_slice_taken_again_later(tmp_path: Path, dicom_factory: ModuleType) -> None:
    pixels = dicom_factory.noise()
    datasets = dicom_factory.series(pixels)
    again = dicom_factory.series(
        dicom_factory.noise(seed=9),
        SeriesInstanceUID=datasets[0].SeriesInstanceUID,
        AcquisitionTime="104900",
    )[3]
    dicom_factory.write(tmp_path, [again, *datasets])
    stack = read_study(tmp_path)
    pixels[3] = dicom_factory.noise(seed=9)[3]
    np.testing.assert_array_equal(stack.pixels, pixels)
    assert stack.warnings == (
        "Slice 4 was taken more than once (counted from the apex): the last image of each was "
        "used.",
    )


def test_every_slice_in_a_series_of_its_own_beside_anatomy(
    tmp_path: Path, dicom_factory: ModuleType
) -> None:
    pixels = dicom_factory.noise()
    slices = dicom_factory.series(pixels)
    anatomy = dicom_factory.series(SeriesDescription="haste", **NO_INVERSION)
    for number, dataset in enumerate([*slices, *anatomy]):
        dataset.SeriesInstanceUID = generate_uid()
        dataset.SeriesNumber = 20 + number
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dicom_factory.write(tmp_path, [*slices, *anatomy])
    np.testing.assert_array_equal(read_study(tmp_path).pixels, pixels)


def test_images_without_a_place_are_listed(tmp_path: Path, dicom_factory: ModuleType) -> None:
    dicom_factory.write(tmp_path / "a", dicom_factory.series())
    lost = dicom_factory.series(SeriesNumber=40)
    for dataset in lost:
        del dataset.ImageOrientationPatient
    dicom_factory.write(tmp_path / "b", lost)
    listed = list_series(tmp_path)
    assert [verdict.chosen for verdict in listed] == [True, False]
    assert listed[1].orientation == "unknown"
    assert "do not say where" in listed[1].reason


def test_real_cine_is_listed_with_its_reason(shared_data: Path) -> None:
    (verdict,) = list_series(shared_data / "cine-study")
    assert not verdict.chosen
    assert verdict.slices == 10
    assert verdict.orientation.startswith("short axis")
    assert "cine series (20 images at each of 10 slice positions)" in verdict.reason


@pytest.mark.parametrize(
    ("description", "signs"),
    [
        ("LGE SAX", {"late_enhancement", "short_axis"}),
        ("Late Gadolinium short axis", {"late_enhancement", "short_axis"}),
        ("Spätaufnahme Kurzachse", {"late_enhancement", "short_axis"}),
        ("Spaetaufnahmen KA", {"late_enhancement", "short_axis"}),
        ("Rehaussement tardif petit axe", {"late_enhancement", "short_axis"}),
        ("Realce tardío eje corto", {"late_enhancement", "short_axis"}),
        ("Realce tardio eixo curto", {"late_enhancement", "short_axis"}),
        ("Enhancement tardivo asse corto", {"late_enhancement", "short_axis"}),
        ("Late aankleuring korte as", {"late_enhancement", "short_axis"}),
        ("遅延造影 短軸", {"late_enhancement", "short_axis"}),
        ("chien zouei tanjiku", {"late_enhancement", "short_axis"}),
        ("延迟强化 短轴", {"late_enhancement", "short_axis"}),
        ("ＬＧＥ ＳＡＸ", {"late_enhancement", "short_axis"}),
        ("de_tfi_psir_4ch", {"late_enhancement", "long_axis"}),
        ("Spätaufnahme 2-Kammerblick", {"late_enhancement", "long_axis"}),
        ("2D DelEnh 3CH", {"late_enhancement", "long_axis"}),
        ("tf2d_sax_cine", {"cine", "short_axis"}),
        ("TI scout", {"inversion_scout", "localiser"}),
        ("Look-Locker", {"inversion_scout"}),
        ("T1map_MOLLI_post", {"map"}),
        ("T2* sax", {"map", "short_axis"}),
        ("stress perfusion", {"perfusion"}),
        ("flow_ao", {"flow"}),
        ("tagging_grid", {"tagging"}),
        ("repérage", {"localiser"}),
        ("Übersicht", {"localiser"}),
        ("DE HighRes SAX", {"late_enhancement", "short_axis"}),
        ("WIP LE SA", {"late_enhancement", "short_axis"}),
        ("PSIR_TFE_BH flowcomp", {"late_enhancement"}),
        ("MDE-4CH", {"late_enhancement", "long_axis"}),
        ("ir_gre post-gad", {"after_contrast"}),
        ("axe de référence", set()),
        ("de-identified", set()),
        ("lateral wall", set()),
        ("vue latérale", set()),
        ("abdomen", set()),
        ("trufi", set()),
        ("spatial resolution", set()),
    ],
)
def test_words(description: str, signs: set[str]) -> None:
    assert series_rules().signs_of(fold(description), ()) == signs


def test_rules_are_sane() -> None:
    """Every sign can be met, and signs of other examinations outweigh all that speaks for LGE."""
    rules = series_rules()
    most = sum(clue.points for clue in rules.facts.values() if clue.points > 0)
    named = rules.signs["late_enhancement"][1].points
    for name in ("localiser", "inversion_scout", "map", "flow", "tagging"):
        assert rules.signs[name][1].points + most + named < rules.least_score
    for pattern, clue in rules.signs.values():
        assert pattern.words is not None or pattern.tokens
        assert clue.says


def test_many_equal_series_are_not_all_listed(
    tmp_path: Path, dicom_factory: ModuleType, refusal: Callable[[Path], str]
) -> None:
    untimed = dict.fromkeys(("AcquisitionTime", "AcquisitionDate", "StudyTime"))
    for number in range(1, 61):
        datasets = dicom_factory.series(np.full((3, 4, 4), number, np.int16), SeriesNumber=number,
                                        **untimed)  # fmt: skip
        dicom_factory.write(tmp_path, datasets, prefix=f"s{number}_")
    message = refusal(tmp_path)
    assert "60 stacks" in message
    assert "and 52 more" in message
    assert len(message) < 600
    assert max(len(verdict.reason) for verdict in list_series(tmp_path)) < 200


def test_the_rules_name_no_kind_of_image_that_hosts_may_not_give() -> None:
    assert {name for name, _ in series_rules().kinds} < set(get_args(ImageKind))
