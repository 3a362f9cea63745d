"""The same facts as other vendors' systems write them: encodings, case, names of Gadgetron."""

from __future__ import annotations

from datetime import datetime
from types import ModuleType
from typing import Any

import ismrmrd
import numpy as np
import pytest

from scarseg_infer.mrd.header import Measurement, read_header
from scarseg_infer.mrd.images import StreamImage, slice_headers, stream_image
from scarseg_infer.mrd.messages import Kind, Message
from scarseg_infer.mrd.stack import lge_stack
from scarseg_runtime.errors import StudyError

PLAIN = '<?xml version="1.0"?>'


@pytest.mark.parametrize("declares", ["", ' encoding="ISO-8859-1"', ' encoding="utf-8"'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_encodings_of_a_header(mrd_factory: ModuleType, encoding: str, declares: str) -> None:
    text = mrd_factory.HEADER.format(patient="JÖRG-1", protocol="LGE für kurze Achse")
    found = read_header(text.replace(PLAIN, f'<?xml version="1.0"{declares}?>').encode(encoding))
    assert found.warnings == ()
    assert (found.patient_id, found.protocol) == ("JÖRG-1", "LGE für kurze Achse")
    assert found.acquired == datetime(2024, 3, 4, 10, 30)


def with_attributes(mrd_factory: ModuleType, xml: bytes) -> StreamImage:
    """An image of the twin that calls itself magnitude, with these attributes."""
    (image, *_) = mrd_factory.twin_images(image_type=ismrmrd.IMTYPE_MAGNITUDE)
    head, values = bytes(image.getHead()), image.data.tobytes()
    size = len(xml).to_bytes(8, "little")
    return stream_image(Message(Kind.IMAGE, b"\xfe\x03" + head + size + xml + values), 0)


def meta(encoding: str = "utf-8", **attributes: str) -> bytes:
    items = (
        f"<meta><name>{name}</name><value>{value}</value></meta>"
        for name, value in attributes.items()
    )
    return f"{PLAIN}<ismrmrdMeta>{''.join(items)}</ismrmrdMeta>".encode(encoding)


NAMES = {
    "MRD": {"SequenceDescription": "LGE kürz", "ImageTypeValue4": "PSIR", "InversionTime": "320"},
    "lower case": {"sequencedescription": "LGE kürz", "imagetypevalue4": "PSIR",
                   "inversiontime": "320"},
    "Gadgetron": {"GADGETRON_SeqDescription": "LGE kürz", "GADGETRON_DataRole": "PSIR",
                  "GADGETRON_TI": "320"},
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_attributes(mrd_factory: ModuleType, name: str, encoding: str) -> None:
    image = with_attributes(mrd_factory, meta(encoding, **NAMES[name]))
    assert image.readable
    (found,) = slice_headers(image, Measurement(), {})
    assert (found.image_kind, found.description) == ("PSIR", "LGE kürz")
    assert found.inversion_time_ms == 320.0
    assert image.attributes == {key: (value,) for key, value in NAMES[name].items()}


def test_results_say_nothing_of_the_source_s_pixels(server: Any, mrd_factory: ModuleType) -> None:
    images = mrd_factory.twin_images()
    for image in images:
        image.meta = ismrmrd.Meta(
            seriesdescription="LGE PSIR short axis", GADGETRON_WindowCenter="900",
            windowwidth="1800", GADGETRON_ColorMap="Perfusion.pal", GADGETRON_ScaleRatio="0.1",
            GADGETRON_DataRole="PSIR", roi_1="0", TagOfTheVendor="kept",
        )  # fmt: skip
    made = mrd_factory.exchange(server.port, images).made("scar_labels")[0].meta
    theirs = {"seriesdescription", "TagOfTheVendor"}
    assert theirs <= {*made} and not {*made} & ({*images[0].meta} - theirs)
    assert (made["WindowCenter"], made["WindowWidth"], made["DataRole"]) == (
        "2", "5", "Segmentation",
    )  # fmt: skip


def test_a_session_of_raw_data_says_why_there_is_no_result(
    server: Any, mrd_factory: ModuleType
) -> None:
    """As a scanner sends that is told to emit raw data."""
    acquisition = ismrmrd.Acquisition.from_array(np.zeros((2, 8), np.complex64))
    answer = mrd_factory.exchange(server.port, [acquisition] * 3, head=mrd_factory.header())
    assert answer.closed
    assert len(answer.items) == 4
    assert "no result: the session held raw data and no image" in answer.text
    assert mrd_factory.exchange(server.port, []).items == []  # only asks whether we live


def test_images_of_no_use_are_said(mrd_factory: ModuleType) -> None:
    image = ismrmrd.Image.from_array(np.zeros((3, 1, 8, 8), np.uint16))
    message = Message(Kind.IMAGE, b"\xfe\x03" + image.to_bytes())
    with pytest.raises(StudyError, match="in colour or of several coils"):
        lge_stack([stream_image(message, 0)], Measurement())
