"""Whole sessions with the protocol's own client: the answer is that of the DICOM path."""

from __future__ import annotations

import io
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import ismrmrd
import numpy as np
import pytest
from ismrmrd import ConfigText, ProtocolSerializer
from PIL import Image as PillowImage

from scarseg_infer.result import ScarResult
from scarseg_runtime.contract import Label

LGE = "LGE PSIR short axis"
TOLERANCE_MM = 0.1


def as_bytes(item: Any) -> bytes:
    """An item as the package writes it."""
    stream = io.BytesIO()
    ProtocolSerializer(stream).serialize(item)
    return stream.getvalue()


def place(image: ismrmrd.Image) -> np.ndarray:
    """[3, 3] centres of the first voxel, and of the last of its row and of its column, in mm."""
    head = image.getHead()
    columns, rows, _ = head.matrix_size
    x = np.array([float(v) for v in image.meta["ImageRowDir"]]) * head.field_of_view[0] / columns
    y = np.array([float(v) for v in image.meta["ImageColumnDir"]]) * head.field_of_view[1] / rows
    first = np.array(head.position) - x * (columns - 1) / 2 - y * (rows - 1) / 2
    return np.stack([first, first + x * (columns - 1), first + y * (rows - 1)])


def check_same(answer: Any, expected: ScarResult, *, labels: bool = True) -> None:
    """Labels and geometry of the answer are those of the DICOM path."""
    made = answer.made("scar_labels")
    stack = expected.stack
    rows, columns = stack.pixels.shape[1:]
    assert len(made) == len(stack.pixels)
    for image, origin, slice_labels in zip(made, stack.origins_mm, expected.labels, strict=True):
        row = stack.row_direction * stack.pixel_spacing_mm[1] * (columns - 1)
        column = stack.column_direction * stack.pixel_spacing_mm[0] * (rows - 1)
        dicom = np.stack([origin, origin + row, origin + column])
        assert np.abs(place(image) - dicom).max() < TOLERANCE_MM
        if labels:
            assert np.array_equal(image.data[0, 0], slice_labels)


def test_twin_slice_by_slice(server: Any, mrd_factory: ModuleType, by_dicom: ScarResult) -> None:
    images = mrd_factory.twin_images(name=LGE)
    head = mrd_factory.header()
    answer = mrd_factory.exchange(server.port, images, head=head, options={"segments": True})
    assert answer.closed
    check_same(answer, by_dicom)
    assert [as_bytes(one) for one in answer.items[: len(images)]] == [as_bytes(i) for i in images]
    check_attributes(answer, by_dicom)
    check_report(answer, by_dicom)
    (segments, overlay) = (answer.made(name) for name in ("aha_segments", "scar_overlay"))
    assert np.array_equal(np.stack([one.data[0, 0] for one in segments]), by_dicom.segments)
    for one in overlay:
        assert (one.getHead().image_type, one.channels) == (ismrmrd.IMTYPE_RGB, 3)
        assert one.data.max() <= 255
    series = {name: {i.image_series_index for i in answer.made(name)}
              for name in ("scar_labels", "scar_overlay", "aha_segments")}  # fmt: skip
    assert series == {"scar_labels": {2}, "scar_overlay": {3}, "aha_segments": {4}}


def check_attributes(answer: Any, expected: ScarResult) -> None:
    first = answer.made("scar_labels")[0]
    meta, head = first.meta, first.getHead()
    burden = [float(value) for value in meta["AHASegmentBurdenPercent"]]
    wanted = [s.burden for s in expected.quantities.segments]
    assert burden == pytest.approx([100 * b if b is not None else np.nan for b in wanted],
                                   abs=1e-3, nan_ok=True)  # fmt: skip
    assert float(meta["ScarVolume_mL"]) == pytest.approx(expected.quantities.scar_ml, abs=1e-3)
    assert float(meta["ECGWeight"]) == pytest.approx(expected.ecg.weight, abs=1e-3)
    assert meta["LUTFileName"] == "MicroDeltaHotMetal.pal"
    assert (meta["WindowCenter"], meta["WindowWidth"]) == ("2", "5")
    assert "Research use only. Not a medical device." in meta["ImageComments"]
    assert (meta["DataRole"], meta["Keep_image_geometry"]) == ("Segmentation", "1")
    assert meta["SeriesDescription"] == LGE  # of the source, to which ours is appended
    assert (head.image_type, head.image_index, head.data_type) == (
        ismrmrd.IMTYPE_MAGNITUDE, 1, ismrmrd.DATATYPE_USHORT,
    )  # fmt: skip
    assert head.acquisition_time_stamp > 0


def check_report(answer: Any, expected: ScarResult) -> None:
    assert f"Scar        {expected.quantities.scar_ml:.1f} mL" in answer.text
    assert "Research use only. Not a medical device." in answer.text
    assert "weight 0.97" in answer.text
    assert "SECRET" not in answer.text and "TWIN" not in answer.text
    assert isinstance(answer.items[-1], str)


def test_out_of_order_with_another_series_between(
    server: Any, mrd_factory: ModuleType, by_dicom: ScarResult
) -> None:
    lge = mrd_factory.twin_images(name=LGE)
    others = mrd_factory.other_series()
    sent = [*lge, *others]
    random.Random(5).shuffle(sent)
    answer = mrd_factory.exchange(server.port, sent, head=mrd_factory.header(protocol="cardiac"))
    check_same(answer, by_dicom)
    assert [as_bytes(one) for one in answer.items[: len(sent)]] == [as_bytes(one) for one in sent]
    assert "30 images of another series were left out" in answer.text
    assert {one.image_series_index for one in answer.made("scar_labels")} == {2}


def test_magnitude_beside_psir(server: Any, mrd_factory: ModuleType, by_dicom: ScarResult) -> None:
    """Both reconstructions of every slice, in one series: PSIR is read, or what is preferred."""
    psir = mrd_factory.twin_images(name="LGE short axis")
    dull = [
        mrd_factory.mrd_image(
            dataset,
            name="LGE short axis",
            image_type=ismrmrd.IMTYPE_MAGNITUDE,
            pixels=(dataset.pixel_array[:, ::-1] // 2).astype(np.uint16),
        )
        for dataset in mrd_factory.twin_datasets()
    ]
    both = [image for pair in zip(dull, psir, strict=True) for image in pair]
    answer = mrd_factory.exchange(server.port, both, head=mrd_factory.header())
    check_same(answer, by_dicom)
    assert "magnitude images too: the PSIR images were read" in answer.text
    other = mrd_factory.exchange(
        server.port, both, head=mrd_factory.header(), options={"prefer": "magnitude"}
    )
    assert "Read on magnitude images" in other.text


def test_without_a_header(server: Any, mrd_factory: ModuleType, by_dicom: ScarResult) -> None:
    """No date, so the ECG gets no weight; the image is read all the same."""
    answer = mrd_factory.exchange(server.port, mrd_factory.twin_images(name=LGE))
    check_same(answer, by_dicom, labels=False)
    assert "The scanner sent no MRD header" in answer.text
    labels = np.stack([one.data[0, 0] for one in answer.made("scar_labels")])
    assert np.array_equal(labels, by_dicom.image_only_labels)
    told = mrd_factory.exchange(
        server.port, mrd_factory.twin_images(name=LGE), options={"gapdays": "3"}
    )
    check_same(told, by_dicom)


@pytest.mark.parametrize("damage", ["cut short", "entities", "not XML"])
def test_a_header_that_is_damaged(server: Any, mrd_factory: ModuleType, damage: str) -> None:
    text = mrd_factory.HEADER.format(patient="SECRET-1", protocol="x").encode()
    entities = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'">]>' + text.partition(b"?>")[2]
    body = {"cut short": text[:400], "entities": entities, "not XML": b"\xff\xfe" * 40}[damage]
    client = mrd_factory.Client(server.port)
    client.send(ConfigText("<gadgetronStreamConfiguration/>"))
    client.send_bytes(b"\x03\0" + len(body).to_bytes(4, "little") + body)
    client.send(*mrd_factory.twin_images(name=LGE)[:3])
    answer = client.finish()
    assert "The MRD header is not XML that can be read" in answer.text
    assert len(answer.made("scar_labels")) == 3


def test_floating_and_complex_images(
    server: Any, mrd_factory: ModuleType, by_dicom: ScarResult
) -> None:
    """PSIR as complex numbers whose real part is the image, and as float32: the same heart."""

    def images(make: Any, image_type: int) -> list[Any]:
        return [
            mrd_factory.mrd_image(
                dataset, name=LGE, image_type=image_type, pixels=make(dataset.pixel_array)
            )
            for dataset in mrd_factory.twin_datasets()
        ]

    kinds = {
        "complex": (lambda p: (p + 1j * p[::-1]).astype(np.complex64), ismrmrd.IMTYPE_REAL),
        "magnitude of complex": (lambda p: (p * np.exp(0.7j)).astype(np.complex128), 5),
        "float": (lambda p: p.astype(np.float32), ismrmrd.IMTYPE_REAL),
    }
    for kind, (make, image_type) in kinds.items():
        answer = mrd_factory.exchange(
            server.port, images(make, image_type), head=mrd_factory.header()
        )
        made = answer.made("scar_labels")
        labels = np.stack([one.data[0, 0] for one in made])
        assert (labels == by_dicom.labels).mean() > 0.999, kind


def test_a_volume_comes_back_as_slices(
    server: Any, mrd_factory: ModuleType, by_dicom: ScarResult
) -> None:
    """3-D LGE is one message; its slices come back where they lie."""
    images = mrd_factory.twin_images(name=LGE)
    volume = ismrmrd.Image.from_array(np.concatenate([image.data[0] for image in images]))
    head, own = images[0].getHead(), volume.getHead()
    centres = np.array([image.getHead().position for image in images])
    step = (centres[-1] - centres[0]) / (len(images) - 1)
    pitch = float(np.linalg.norm(step))
    head.matrix_size = own.matrix_size
    head.position = tuple(centres.mean(axis=0))
    head.slice_dir = tuple(step / pitch)
    head.field_of_view[2] = pitch * len(images)
    volume.setHead(head)
    volume.meta = ismrmrd.Meta(SeriesDescription=LGE)
    answer = mrd_factory.exchange(server.port, [volume], head=mrd_factory.header())
    check_same(answer, by_dicom)


def test_nothing_is_lost(server: Any, mrd_factory: ModuleType) -> None:
    """Messages not understood come back as they were, in order; so does a stack of none."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(4, 32)) + 1j * rng.normal(size=(4, 32))
    acquisition = ismrmrd.Acquisition.from_array(noise.astype(np.complex64))
    waveform = ismrmrd.Waveform.from_array(rng.integers(0, 9, (2, 50)).astype(np.uint32))
    coils = ismrmrd.Image.from_array(rng.normal(size=(6, 1, 8, 9)).astype(np.float32))
    array = rng.normal(size=(2, 3, 4)).astype(np.float32)
    scout = mrd_factory.twin_images(name="localizer")[0]
    sent = [waveform, coils, acquisition, "a word from the sequence", array, scout, waveform]
    answer = mrd_factory.exchange(server.port, sent, head=mrd_factory.header())
    assert [as_bytes(one) for one in answer.items[:-1]] == [as_bytes(one) for one in sent]
    assert answer.closed
    assert "no result" in answer.text


def test_originals_are_left_out_where_told(
    server: Any, mrd_factory: ModuleType, by_dicom: ScarResult
) -> None:
    """Only images of the stack that was read; the others come back in their order."""
    others = mrd_factory.other_series()[:9]
    lge = mrd_factory.twin_images(name=LGE)
    sent = [*others[:5], *lge, "in between", *others[5:]]
    answer = mrd_factory.exchange(
        server.port, sent, head=mrd_factory.header(),
        options={"sendoriginal": False, "overlay": "False"},
    )  # fmt: skip
    kept = [*others[:5], "in between", *others[5:]]
    assert [as_bytes(one) for one in answer.items[: len(kept)]] == [as_bytes(one) for one in kept]
    assert len(answer.images) == len(others) + len(lge)  # the labels
    check_same(answer, by_dicom)


def test_an_option_that_makes_no_sense_costs_the_result_alone(
    server: Any, mrd_factory: ModuleType
) -> None:
    sent = mrd_factory.twin_images(name=LGE)[:2]
    answer = mrd_factory.exchange(
        server.port, sent, head=mrd_factory.header(), options={"provider": "abacus"}
    )
    assert [as_bytes(one) for one in answer.items[:2]] == [as_bytes(one) for one in sent]
    assert "the parameter provider makes no sense. Give one of server, auto" in answer.text
    assert answer.closed


def test_overlay_shows_the_scar(server: Any, mrd_factory: ModuleType, tmp_path: Path) -> None:
    answer = mrd_factory.exchange(
        server.port, mrd_factory.twin_images(name=LGE), head=mrd_factory.header()
    )
    pairs = zip(answer.made("scar_labels"), answer.made("scar_overlay"), strict=True)
    seen = 0
    for labels, overlay in pairs:
        colours = np.moveaxis(overlay.data[:, 0], 0, -1).astype(int)
        scar = labels.data[0, 0] == Label.SCAR
        seen += int(scar.sum())
        assert (colours[scar][:, 0] - colours[scar][:, 2] > 30).all()  # yellowish
        wall = np.isin(labels.data[0, 0], (Label.LV_CAVITY, Label.VIABLE_MYOCARDIUM, Label.SCAR))
        grey = colours[~wall]
        assert (grey[:, 0] == grey[:, 1]).all() and (grey[:, 1] == grey[:, 2]).all()
        PillowImage.fromarray(colours.astype(np.uint8)).save(
            tmp_path / f"{overlay.image_index}.png"
        )
    assert seen > 100
