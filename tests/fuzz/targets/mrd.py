"""The stream of an MRD client: framing, header, attributes, options, and the stack in it."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable

import ismrmrd
import numpy as np
import study_checks as CHECKS
from ismrmrd import ConfigFile, ConfigText, ProtocolSerializer

from scarseg_infer.mrd.header import Measurement, read_header
from scarseg_infer.mrd.images import stream_image
from scarseg_infer.mrd.messages import Kind, StreamError, read_message
from scarseg_infer.mrd.options import Options, parameters_in, with_parameters
from scarseg_infer.mrd.stack import lge_stack
from scarseg_infer.study.check import check_stack

MAX_LEN = 16_384
MOST_BYTES = 1 << 20
DICTIONARY = (
    b"\xfe\x03", b"\xf0\x03", b"\x02\x04", b"\x06\x04", b"\x03\0", b"\x05\0", b"<ismrmrdMeta>",
    b"<meta><name>", b"<value>", b"ImageRowDir", b"RescaleSlope", b"<!DOCTYPE", b"seriesDate",
    b'{"parameters": {', b"\x7f\xc0", b"\xff\xff",
)  # fmt: skip
NUMBERS = (0.0, 1.0, -1.0, 0.5, 1e-40, 1e38, -1e38, float("inf"), float("nan"))
HEADER = (
    '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
    "<subjectInformation><patientName>Secretname</patientName><patientID>SECRET</patientID>"
    "</subjectInformation><studyInformation><studyDate>2024-03-04</studyDate>"
    "<studyTime>10:30:00</studyTime></studyInformation><measurementInformation>"
    "<patientPosition>HFS</patientPosition><protocolName>LGE</protocolName>"
    "</measurementInformation><sequenceParameters><TI>300</TI><TE>1.5</TE></sequenceParameters>"
    "</ismrmrdHeader>"
)
SHORT_AXIS = ((0.678, 0.735, 0.0), (-0.333, 0.308, -0.891))
NORMAL = tuple(np.cross(*SHORT_AXIS))


def seeds() -> dict[str, bytes]:
    whole = [image(z) for z in range(4)]
    head = (Kind.HEADER, HEADER.encode())
    wave = ismrmrd.Waveform.from_array(np.ones((2, 5), np.uint32))
    acquisition = ismrmrd.Acquisition.from_array(np.ones((2, 5), np.complex64))
    volume = image(0, np.arange(3 * 30, dtype=np.float32).reshape(3, 5, 6))
    odd = image(1)
    odd.meta = ismrmrd.Meta(ImageRowDir="1,0 0 0", RescaleSlope="1,5", ImageType="PSIR_MAG")
    leaning = image(1)
    place = leaning.getHead()
    place.phase_dir = (-0.333, 0.316, -0.888)
    leaning.setHead(place)
    dates = [
        HEADER.replace("2024-03-04", day).replace("10:30:00", clock)
        for day, clock in (("2024-03-04Z", "10:30:00.5+01:00"), ("2024-03", "25:61:00"))
    ]
    zoned, month = ((Kind.HEADER, text.encode()) for text in dates)
    return {
        "leaning": stream(head, *whole[:1], leaning, *whole[2:]),
        "zone": stream(zoned, *whole),
        "month": stream(month, *whole),
        "odd attributes": stream(head, *whole[:1], odd, *whole[2:]),
        "a study": stream(ConfigFile("openrecon"), head, *whole),
        "options": stream(ConfigText('{"parameters": {"labels": "False", "ecg": "a"}}'), *whole),
        "a volume": stream(head, volume),
        "complex": stream(head, *(image(z, whole[0].data[0, 0] * 1j) for z in range(3))),
        "other data": stream(wave, acquisition, np.ones((2, 3), np.float32), "a text"),
        "nothing": stream(),
    }


def image(z: int, pixels: np.ndarray | None = None) -> ismrmrd.Image:
    """One small slice, some way along a short axis."""
    values = np.arange(30, dtype=np.int16).reshape(5, 6) if pixels is None else pixels
    found = ismrmrd.Image.from_array(values)
    head = found.getHead()
    head.read_dir, head.phase_dir, head.slice_dir = *SHORT_AXIS, NORMAL
    head.field_of_view = (9.0, 7.5, 8.0)
    head.position = tuple(8.0 * z * np.array(NORMAL))
    head.image_type, head.image_series_index, head.acquisition_time_stamp = 3, 1, 1000 + z
    found.setHead(head)
    found.meta = ismrmrd.Meta(SeriesDescription="LGE short axis", RescaleSlope="2")
    return found


def stream(*items: object) -> bytes:
    out = io.BytesIO()
    serializer = ProtocolSerializer(out)
    for item in items:
        if isinstance(item, tuple):
            kind, text = item
            out.write(struct.pack("<HI", kind, len(text)) + text)
        else:
            serializer.serialize(item)
    serializer.close()
    return out.getvalue()


def one(data: bytes) -> None:
    CHECKS.check_read(lambda: _stack(data))


def _stack(data: bytes) -> object:
    """As a session goes, without a model."""
    rest = io.BytesIO(data)

    def more(buffer: bytearray, count: int) -> None:
        found = rest.read(count)
        if len(found) < count:
            raise StreamError("the connection ended before the session did")
        buffer += found

    measurement, options, images = Measurement(), Options(), []
    passed = []
    while (message := read_message(more, MOST_BYTES)).kind is not Kind.CLOSE:
        passed.append(message.raw)
        if message.kind is Kind.HEADER:
            measurement = read_header(message.body)
        elif message.kind is Kind.IMAGE:
            images.append(stream_image(message, len(images)))
        elif message.kind in (Kind.CONFIG_FILE, Kind.CONFIG_TEXT, Kind.TEXT):
            options = with_parameters(options, parameters_in(message.text) or {})
    assert data.startswith(b"".join(passed))  # byte for byte
    found = lge_stack(images, measurement, options.prefer)
    check_stack(found.stack)
    return found.stack


def mutate(data: bytes, limit: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Set a number in the header of an image; in half of the cases ``plain``."""
    chance = random.Random(seed)
    places = [at for at in range(len(data)) if data.startswith(b"\xfe\x03", at)]
    if chance.random() < 0.5 or not places:
        return plain(data, limit)
    start = chance.choice(places) + 2
    # Sizes, field of view, position, directions; then type and counters.
    offset, form = chance.choice([(16, "<H"), (22, "<f"), (36, "<f"), (48, "<f"), (2, "<H"),
                                  (96, "<H"), (124, "<H")])  # fmt: skip
    offset += chance.randrange(9) * struct.calcsize(form)
    number = chance.choice(NUMBERS) if form == "<f" else chance.choice((0, 1, 2, 5, 7, 300, 65535))
    packed = struct.pack(form, number)
    changed = bytearray(data)
    changed[start + offset : start + offset + len(packed)] = packed
    return bytes(changed[:limit])
