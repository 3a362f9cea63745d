"""A result → images and text that go back to the scanner, on the grid of the images that came.

Each image takes header and attributes of the slice it is made of, so that the scanner places and
files it like that one; what differs is set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any, Final

import numpy as np
from ismrmrd import Image, Meta, ProtocolSerializer
from ismrmrd.constants import IMTYPE_MAGNITUDE, IMTYPE_RGB
from numpy.typing import NDArray

from scarseg_infer.mrd.geometry import centre_of
from scarseg_infer.mrd.images import plain_name
from scarseg_infer.mrd.options import Options
from scarseg_infer.mrd.overlay import overlay_slices
from scarseg_infer.mrd.stack import StreamStack
from scarseg_infer.result import ScarResult
from scarseg_infer.write.summary import scar_sentence, summary_lines
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.contract import SEGMENT_COUNT, Label

_OF_THE_SOURCE: Final = frozenset({
    "rescaleslope", "rescaleintercept", "windowcenter", "windowwidth", "lutfilename", "roi",
    "scaleratio", "scaleoffset", "colormap", "gt_roi",
})  # fmt: skip
"""Attributes that say how to read the source's pixels, not ours; the second line is Gadgetron's."""
_MOST_SERIES: Final = 0xFFFF
Attributes = dict[str, Any]


def result_messages(result: ScarResult, found: StreamStack, options: Options) -> Iterator[bytes]:
    """Messages of the images and the report, in the order of sending.

    Args:
        found: the stack that the result is of.
        options: which images are made.
    """
    common = _quantities(result)
    series = _last_series(found)
    kinds = _kinds(result, options)
    for number, (volume, attributes) in enumerate(kinds, start=1):
        index = (series + number) % (_MOST_SERIES + 1)
        for place in range(len(volume)):
            image = _image(volume[place], found, place, index, common | attributes)
            yield _message(image)
    yield text_message("\n".join(report_lines(result)))


def text_message(text: str) -> bytes:
    """Message of a text, with a zero byte behind it: some clients print it as it comes."""
    return _message(f"{text}\0")


def report_lines(result: ScarResult) -> list[str]:
    """The report: five lines of the summary, the finding in words, warnings."""
    warnings = [f"Warning     {warning}" for warning in result.warnings]
    return [*summary_lines(result), f"Finding     {scar_sentence(result)}", *warnings]


def _kinds(result: ScarResult, options: Options) -> Iterator[tuple[NDArray[np.uint16], Attributes]]:
    """[S, 1 or 3, H, W] values and own attributes of each series that is made."""
    table = {"LUTFileName": options.lut} if options.lut else {}
    if options.labels:
        yield result.labels[:, None].astype(np.uint16), table | _shown(
            "scar_labels", "Segmentation", 2, len(Label),
            "0 background, 1 LV cavity, 2 myocardium, 3 scar, 4 RV cavity",
        )  # fmt: skip
    if options.overlay:
        yield (
            overlay_slices(result),
            {
                **_named(
                    "scar_overlay", "Image", "green: epicardium, orange: cavity, yellow: scar"
                ),
                "InternalSend": 1,
            },
        )
    if options.segments:
        yield (
            result.segments[:, None].astype(np.uint16),
            table
            | _shown(
                "aha_segments", "Segmentation", 9, SEGMENT_COUNT + 1, "AHA segment 1 to 17, else 0"
            ),
        )


def _shown(name: str, role: str, centre: int, width: int, meaning: str) -> Attributes:
    return _named(name, role, meaning) | {"WindowCenter": centre, "WindowWidth": width}


def _named(name: str, role: str, meaning: str) -> Attributes:
    return {
        "DataRole": role,
        "ImageComments": [meaning, RESEARCH_USE],
        "ImageProcessingHistory": ["scarseg-infer", name],
        "SeriesDescriptionAdditional": [name, "research"],
        "SequenceDescriptionAdditional": f"{name}_research",
        "Keep_image_geometry": 1,
    }


def _quantities(result: ScarResult) -> Attributes:
    """Quantities of the result, the same in every image: no name, no identifier, no date."""
    whole = result.quantities
    burden = {one.number: one.burden for one in whole.segments}
    return {
        "ScarStatement": RESEARCH_USE,
        "ScarVolume_mL": _decimal(whole.scar_ml),
        "ScarMass_g": _decimal(whole.scar_g),
        "ScarPercentOfLVMass": _decimal(whole.scar_percent_of_lv_mass),
        "LVMyocardium_g": _decimal(whole.myocardium_g),
        "LVCavity_mL": _decimal(whole.lv_cavity_ml),
        "ImageOnlyScarPercentOfLVMass": _decimal(
            result.image_only_quantities.scar_percent_of_lv_mass
        ),
        "AHASegmentBurdenPercent": [
            _decimal(None if burden.get(number) is None else 100 * (burden[number] or 0.0))
            for number in range(1, SEGMENT_COUNT + 1)
        ],
        "ECGWeight": _decimal(result.ecg.weight),
        "ModelName": f"{result.model.name} {result.model.version}",
        "ModelProvider": f"{result.model.provider} {result.model.precision}",
        "ScarWarnings": list(result.warnings) or "none",
    }


def _decimal(value: float | None) -> str:
    """A number, or ``nan`` where there is none: both are read as a double."""
    return "nan" if value is None else f"{value:.4f}"


def _last_series(found: StreamStack) -> int:
    """The largest number of a series of the stack; scanners take the next that is free."""
    return max(int(image.head.image_series_index) for image in found.sources)


def _image(
    values: NDArray[np.uint16], found: StreamStack, place: int, series: int, attributes: Attributes
) -> Image:
    """One slice [channels, H, W] as an image of MRD."""
    source, plane = found.sources[place], found.planes[place]
    image = Image.from_array(np.ascontiguousarray(values[:, None]))
    head = type(source.head).from_buffer_copy(source.head)
    own = image.getHead()
    head.data_type, head.channels, head.matrix_size = (
        own.data_type, own.channels, own.matrix_size,
    )  # fmt: skip
    head.image_type = IMTYPE_RGB if len(values) == 3 else IMTYPE_MAGNITUDE
    head.image_series_index, head.image_index = series, place + 1
    if source.slices > 1:
        head.slice = place
        head.position = centre_of(plane)
        head.field_of_view[2] = source.head.field_of_view[2] / source.slices
    image.setHead(head)
    own = attributes | {
        "ImageRowDir": _directions(plane.row_direction),
        "ImageColumnDir": _directions(plane.column_direction),
    }
    image.meta = Meta(_kept(source.attributes, own) | own)
    return image


def _kept(attributes: Mapping[str, tuple[str, ...]], own: Attributes) -> Attributes:
    """Attributes of the source that hold for an image with ``own``, too."""
    not_kept = _OF_THE_SOURCE.union(map(plain_name, own))
    return {
        key: values[0] if len(values) == 1 else list(values)
        for key, values in attributes.items()
        if (plain := plain_name(key)) not in not_kept and not plain.startswith("roi_")
    }


def _directions(vector: tuple[float, float, float]) -> list[str]:
    return [f"{value:.12f}" for value in vector]


def _message(what: Image | str) -> bytes:
    stream = BytesIO()
    ProtocolSerializer(stream).serialize(what)
    return stream.getvalue()
