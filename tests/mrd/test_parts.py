"""Geometry, options, ECGs of a folder and memory that runs out: parts that need no server."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarseg_infer import Segmenter
from scarseg_infer.demo import DEMO_ECG, DEMO_STUDY
from scarseg_infer.study.read import read_study
from scarseg_runtime.errors import EcgError, ProviderError, StudyError, UsageError
from scarseg_runtime.providers.memory import ran_out_of_memory

COUNT = st.integers(1, 300)
MM = st.floats(0.3, 5)
PLACE = st.tuples(*[st.floats(-400, 400)] * 3)


@given(COUNT, COUNT, MM, MM, PLACE, st.integers(0, 1 << 30))
def test_the_centre_is_the_middle_of_all_voxels(
    rows: int, columns: int, row_mm: float, column_mm: float, centre: Any, seed: int
) -> None:
    from scarseg_infer.mrd.geometry import centre_of, plane_in

    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    head = ismrmrd.ImageHeader()
    head.matrix_size = (columns, rows, 1)
    head.field_of_view = (columns * column_mm, rows * row_mm, 8)
    head.position, head.read_dir, head.phase_dir = centre, tuple(axes[0]), tuple(axes[1])
    plane, fault = plane_in(head, None, None)
    assert plane is not None, fault
    row, column = np.array(plane.row_direction), np.array(plane.column_direction)
    across = np.arange(columns)[:, None] * row * plane.pixel_spacing_mm[1]
    down = np.arange(rows)[:, None] * column * plane.pixel_spacing_mm[0]
    middle = np.array(plane.origin_mm) + across.mean(axis=0) + down.mean(axis=0)
    assert np.allclose(middle, centre, atol=0.01)
    assert np.allclose(centre_of(plane), centre, atol=0.01)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"matrix_size": (0, 4, 1)}, "matrix_size"),
        ({"matrix_size": (5000, 4, 1)}, "matrix_size"),
        ({"field_of_view": (0, 0, 0)}, "field_of_view"),
        ({"field_of_view": (float("nan"), 6, 8)}, "field_of_view"),
        ({"read_dir": (0, 0, 0)}, "directions"),
        ({"read_dir": (float("nan"), 0, 0)}, "directions"),
        ({"position": (float("inf"), 0, 0)}, "position"),
        ({"matrix_size": (4, 4, 3), "slice_dir": (1, 0, 0)}, "slice_dir"),
        ({"matrix_size": (4, 4, 3), "slice_dir": (float("nan"), 0, 0)}, "slice_dir"),
    ],
)
def test_an_image_that_lies_nowhere(fields: dict[str, Any], fault: str) -> None:
    from scarseg_infer.mrd.geometry import plane_in

    head = ismrmrd.ImageHeader()
    head.matrix_size, head.field_of_view = (4, 4, 1), (6, 6, 8)
    head.read_dir, head.phase_dir = (1, 0, 0), (0, 1, 0)
    for name, value in fields.items():
        setattr(head, name, value)
    plane, said = plane_in(head, None, None)
    assert plane is None
    assert fault in said


def test_directions_of_the_pixels_win_over_those_of_the_acquisition(
    mrd_factory: ModuleType,
) -> None:
    """An image that the scanner has turned says so in ImageRowDir; readout stays as it was."""
    from scarseg_infer.mrd.geometry import plane_in

    head = mrd_factory.twin_images()[0].getHead()
    row, column = np.array(head.read_dir), np.array(head.phase_dir)
    turned, _ = plane_in(head, column, -row)
    plain, _ = plane_in(head, None, None)
    assert turned is not None
    assert plain is not None
    assert np.allclose(turned.row_direction, plain.column_direction)
    assert np.allclose(turned.normal, plain.normal)


MINI_HEAD = """<XProtocol> { <ParamString."SequenceDescription"> { "LGE_sax" }
<ParamString."ImageTypeValue3"> { "M" } <ParamArray."ImageTypeValue4">
{ <DefaultSize> 1 { "NORM" } { "PSIR" } } <ParamString."PatientName"> { "SECRET" } }"""


def test_a_scanner_s_own_words_tell_the_kind_of_image(mrd_factory: ModuleType) -> None:
    """PSIR that calls itself magnitude in MRD, and PSIR in its mini header only."""
    from scarseg_infer.mrd.header import Measurement
    from scarseg_infer.mrd.images import slice_headers, stream_image
    from scarseg_infer.mrd.messages import Kind, Message

    image = mrd_factory.twin_images(image_type=ismrmrd.IMTYPE_MAGNITUDE)[0]
    kinds = []
    for encoded in ("", "no base64!", base64.b64encode(MINI_HEAD.encode()).decode()):
        image.meta = ismrmrd.Meta(IceMiniHead=encoded)
        (found,) = slice_headers(
            stream_image(Message(Kind.IMAGE, b"\xfe\x03" + image.to_bytes()), 0), Measurement(), {}
        )
        kinds.append((found.image_kind, found.description))
        assert "SECRET" not in repr(found)
    assert kinds == [("magnitude", ""), ("magnitude", ""), ("PSIR", "LGE_sax")]


OPTIONS = {
    "as text": ({"labels": "False", "Segments": "true"}, {"labels": False, "segments": True}),
    "days": ({"gapdays": "12.5"}, {"gapdays": 12.5}),
    "no days": ({"gapdays": ""}, {"gapdays": None}),
    "others' own": ({"config": "scarseg", "customconfig": ""}, {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str) -> None:
    from scarseg_infer.mrd.options import Options, with_parameters

    given_, wanted = OPTIONS[name]
    assert with_parameters(Options(), given_) == replace(Options(), **wanted)


@pytest.mark.parametrize(
    "given_",
    [
        {"labels": "perhaps"}, {"labels": []}, {"gapdays": "SECRET"}, {"gapdays": "-1"},
        {"gapdays": "nan"}, {"provider": "SECRET"}, {"prefer": 3}, {"ecg": "x" * 300},
        {"lut": "a\nb"},
    ],
)  # fmt: skip
def test_options_that_make_no_sense(given_: dict[str, Any]) -> None:
    from scarseg_infer.mrd.options import Options, with_parameters

    with pytest.raises(UsageError) as caught:
        with_parameters(Options(), given_)
    (name,) = given_
    assert f"the parameter {name} makes no sense" in str(caught.value)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "{" * 9000, '{"parameters": 3}', "[]", "{}", "ä{}"])
def test_texts_that_hold_no_options(text: str) -> None:
    from scarseg_infer.mrd.options import parameters_in

    assert parameters_in(text) is None


def test_a_mark_of_an_editor_hides_no_options() -> None:
    from scarseg_infer.mrd.options import parameters_in

    assert parameters_in('\ufeff{"parameters": {"labels": false}}') == {"labels": False}


def test_the_ecg_of_the_patient_is_found(tmp_path: Path) -> None:
    from scarseg_infer.mrd.ecg import EcgShelf
    from scarseg_infer.mrd.header import Measurement

    shutil.copy(DEMO_ECG.with_suffix(".dcm"), tmp_path / "a.dcm")
    (tmp_path / "b.txt").write_text("not an ECG")
    for path in (DEMO_ECG, DEMO_ECG.with_suffix(".dat")):
        shutil.copy(path, tmp_path / path.name)
    shelf = EcgShelf(tmp_path)
    record, _ = shelf.find(Measurement(patient_id=" twin-55 "), "")
    assert record is not None
    assert record.source == "dicom"
    for patient, says in (("TWIN-5", "No ECG of the patient"), ("", "names no patient")):
        record, (warning,) = shelf.find(Measurement(patient_id=patient), "")
        assert record is None
        assert says in warning
    record, _ = shelf.find(Measurement(), "twin.hea")
    assert record is not None
    assert record.source == "wfdb"
    for name in ("../a.dcm", "/etc/hostname", "..", "c:a.dcm", "x\\a.dcm"):
        with pytest.raises(EcgError, match="not that of a file in the folder"):
            shelf.find(Measurement(), name)
    assert EcgShelf().find(Measurement(), "") == (None, ())
    with pytest.raises(EcgError, match="--ecg"):
        EcgShelf().find(Measurement(), "a.dcm")


def exhausted(text: str) -> ProviderError:
    """As the runtime reports what a library raised."""
    try:
        try:
            raise RuntimeError(text)
        except RuntimeError as error:
            raise ProviderError("ONNX Runtime failed on this study") from error
    except ProviderError as error:
        return error


GPU_WORDS = {
    "CUDA failure 2: out of memory ; GPU=0": True,
    "Failed to allocate memory for requested buffer of size 268435456": True,
    "std::bad_alloc": True,
    "cudaErrorMemoryAllocation": True,
    "CUDA failure 700: an illegal memory access was encountered": False,
    "Non-zero status code returned while running Conv node": False,
}


@pytest.mark.parametrize("words", GPU_WORDS)
def test_words_of_memory_that_ran_out(words: str) -> None:
    assert ran_out_of_memory(exhausted(words)) is GPU_WORDS[words]


@pytest.mark.parametrize("words", [*GPU_WORDS][::4])
def test_the_cpu_takes_over_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """OpenVINO stands for the GPU, which no machine of these tests has: it is made to fail as one
    that has no memory left; what computes then is the real CPU provider."""
    from scarseg_infer.mrd.segmenters import Segmenters

    segmenters = Segmenters(provider="openvino", precision="fp32", threads=1)
    loaded = segmenters.get()
    real = Segmenter.run

    def run(self: Segmenter, *arguments: Any, **options: Any) -> Any:
        if self is loaded:
            raise exhausted(words)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Segmenter, "run", run)
    stack = read_study(DEMO_STUDY)
    if not GPU_WORDS[words]:
        with pytest.raises(ProviderError):
            segmenters.run("server", stack, None)
        return
    result = segmenters.run("server", stack, None)
    assert result.model.provider == "cpu"
    assert "The provider openvino ran out of memory on this study" in result.warnings[0]
    assert result.quantities.scar_ml > 10


def test_a_stack_that_is_no_lge(mrd_factory: ModuleType) -> None:
    """The same reasons as of a DICOM study."""
    from scarseg_infer.mrd.header import Measurement, read_header
    from scarseg_infer.mrd.images import stream_image
    from scarseg_infer.mrd.messages import Kind, Message
    from scarseg_infer.mrd.stack import lge_stack

    def images(some: list[Any]) -> list[Any]:
        return [
            stream_image(Message(Kind.IMAGE, b"\xfe\x03" + one.to_bytes()), number)
            for number, one in enumerate(some)
        ]

    with pytest.raises(StudyError, match="this looks like a cine series"):
        lge_stack(images(mrd_factory.other_series()), Measurement())
    nowhere = images(mrd_factory.twin_images(name="LGE", position=(np.nan,) * 3))
    with pytest.raises(StudyError, match="lies anywhere in the patient: position"):
        lge_stack(nowhere, Measurement())
    pixels = np.full((160, 160), np.nan, np.float32)
    hollow = [
        mrd_factory.mrd_image(d, name="LGE", pixels=pixels) for d in mrd_factory.twin_datasets()
    ]
    with pytest.raises(StudyError, match="of the session has pixels that are not numbers"):
        lge_stack(images(hollow), Measurement())
    head = read_header(mrd_factory.HEADER.format(patient="SECRET-1", protocol="q").encode())
    assert (head.patient_id, head.protocol) == ("SECRET-1", "q")
    assert head.inversion_times_ms == (300.0,)
    assert str(head.acquired) == "2024-03-04 10:30:00"
    assert "SECRET" not in repr(head)


@pytest.mark.parametrize("name", ["ImageRowDir", "ImageColumnDir", "RescaleSlope"])
def test_attributes_that_are_no_numbers(mrd_factory: ModuleType, name: str) -> None:
    """With a decimal comma, for example: where they do not count, pixels or places are wrong."""
    from scarseg_infer.mrd.header import Measurement
    from scarseg_infer.mrd.images import slice_headers, stream_image
    from scarseg_infer.mrd.messages import Kind, Message

    image = mrd_factory.twin_images()[0]
    row = "\\".join(f"{x:.12f}" for x in image.getHead().read_dir)  # as one text
    for value, good in ((row if "Row" in name else "", True), ("1,5", False)):
        image.meta = ismrmrd.Meta({name: value} if value else {})
        found = stream_image(Message(Kind.IMAGE, b"\xfe\x03" + image.to_bytes()), 0)
        (header,) = slice_headers(found, Measurement(), {})
        if name == "RescaleSlope":
            if not good:
                with pytest.raises(StudyError, match="RescaleSlope that is no number"):
                    found.pixels(0)
        else:
            assert (header.plane is not None) == good
            assert header.unplaced == ("" if good else f"{name} is not three numbers")


@pytest.mark.parametrize(
    ("date", "time", "expected", "says"),
    [
        ("2024-03-04", "10:30:00Z", "2024-03-04 10:30:00+00:00", ""),
        ("2024-03-04+01:00", "10:30:00.1234567+01:00", "2024-03-04 10:30:00.123456+01:00", ""),
        ("20240304", "103000", "2024-03-04 10:30:00", ""),
        ("2024-03", "10:30:00", "None", "not dates"),
        ("04.03.2024", "10:30:00", "None", "not dates"),
        ("1900-01-01", "00:00:00", "None", "not dates"),
        ("", "", "None", ""),
    ],
)
def test_dates_of_an_mrd_header(
    mrd_factory: ModuleType, date: str, time: str, expected: str, says: str
) -> None:
    """A zone was dropped, and what is no date was unknown without a word."""
    from scarseg_infer.mrd.header import read_header

    text = mrd_factory.HEADER.format(patient="p", protocol="q")
    text = text.replace("2024-03-04", date).replace("10:30:00<", f"{time}<")
    found = read_header(text.encode())
    assert str(found.acquired) == expected
    assert [says in warning for warning in found.warnings] == ([True] if says else [])


def test_a_slice_that_leans_a_little_is_of_the_stack_and_labelled_in_its_own_place(
    mrd_factory: ModuleType,
) -> None:
    from scarseg_infer.mrd.header import Measurement
    from scarseg_infer.mrd.images import stream_image
    from scarseg_infer.mrd.messages import Kind, Message
    from scarseg_infer.mrd.stack import lge_stack

    images = mrd_factory.twin_images(name="LGE psir")
    head = images[3].getHead()
    lean = np.radians(0.5)
    row, column = np.array(head.read_dir), np.array(head.phase_dir)
    turned = np.cos(lean) * column + np.sin(lean) * np.cross(row, column)
    head.phase_dir[:] = turned.tolist()
    images[3].setHead(head)
    stream = [
        stream_image(Message(Kind.IMAGE, b"\xfe\x03" + one.to_bytes()), n)
        for n, one in enumerate(images)
    ]
    found = lge_stack(stream, Measurement(warnings=()))
    assert len(found.planes) == len(images)
    assert any("tilted by up to 0.5°" in warning for warning in found.stack.warnings)
    (own,) = [p for p, i in zip(found.planes, found.sources, strict=True) if i.number == 3]
    np.testing.assert_allclose(own.column_direction, turned, atol=1e-5)
