"""Images of a stream → the headers by which DICOM slices are sorted into stacks, and their pixels.

An image of MRD is described by the same :class:`SliceHeader` as one of DICOM, so that the same
rules choose among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from ismrmrd import Meta
from ismrmrd.constants import (
    IMTYPE_COMPLEX,
    IMTYPE_IMAG,
    IMTYPE_MAGNITUDE,
    IMTYPE_PHASE,
    IMTYPE_REAL,
    IMTYPE_RGB,
)
from numpy.typing import NDArray

from scarseg_infer.mrd.geometry import plane_in
from scarseg_infer.mrd.header import Measurement
from scarseg_infer.mrd.messages import Message
from scarseg_infer.mrd.minihead import with_minihead
from scarseg_infer.mrd.xml import root_of, text_of
from scarseg_infer.study.dicom.header import SliceHeader
from scarseg_infer.study.dicom.rules import fold, series_rules
from scarseg_infer.study.rescale import rescaled
from scarseg_runtime.errors import StudyError

TICK_MS: Final = 2.5
"""Time stamps count so many milliseconds on Siemens scanners; MRD leaves the unit open. What is
decided by them, order in time and kind of a repeated series, hardly depends on it."""
_TOKENS: Final = {
    IMTYPE_MAGNITUDE: "M",
    IMTYPE_PHASE: "P",
    IMTYPE_REAL: "R",
    IMTYPE_IMAG: "I",
    IMTYPE_COMPLEX: "M",  # its magnitude is what is read
}
"""Value of DICOM's ImageType that says the same as an image type."""
_NAMES: Final = (
    "SeriesDescription", "SequenceDescription", "SeriesDescriptionAdditional",
    "SequenceDescriptionAdditional",
)  # fmt: skip
_DIRECTIONS: Final = ("ImageRowDir", "ImageColumnDir")
_TYPES: Final = ("ImageType", "ImageTypeValue3", "ImageTypeValue4", "DataRole")
_PREFIX: Final = "gadgetron_"
_ALIASES: Final = {
    "seqdescription": "sequencedescriptionadditional", "ti": "inversiontime", "te": "echotime",
}  # fmt: skip
"""Names of MRD for those that Gadgetron gives to attributes, behind its prefix."""
_DTYPES: Final = {1: "<u2", 2: "<i2", 3: "<u4", 4: "<i4", 5: "<f4", 6: "<f8", 7: "<c8", 8: "<c16"}
_NO_DAY: Final = datetime(2000, 1, 1)
"""Stands for the day where none is known: time stamps are compared among themselves only."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamImage:
    """An image as it came.

    Attributes:
        number: its place among the images of the session, from 0.
        message: what it came in.
        head: its ``ismrmrd.ImageHeader``.
        attributes: values by name.
        said: values by name in lower case, without Gadgetron's prefix: what is looked up.
        readable: its attributes are XML, or it has none.
    """

    number: int
    message: Message
    head: Any
    attributes: Mapping[str, tuple[str, ...]]
    said: Mapping[str, tuple[str, ...]]
    readable: bool

    @property
    def slices(self) -> int:
        """Number of slices; 0 where its values are no grey-scale image."""
        plain = self.head.channels == 1 and self.head.image_type != IMTYPE_RGB
        return int(self.head.matrix_size[2]) if plain else 0

    def pixels(self, z: int) -> NDArray[np.float32]:
        """[H, W] of one slice, after rescale.

        Raises:
            StudyError: they are not finite, or not those of an MR image.
        """
        columns, rows, _ = self.head.matrix_size
        dtype = np.dtype(_DTYPES[self.head.data_type])
        start = self.message.values_at + z * rows * columns * dtype.itemsize
        values: NDArray[Any] = np.frombuffer(self.message.raw, dtype, rows * columns, start)
        stored = _real(values.reshape(rows, columns), self.head.image_type)
        slope, intercept = (self._stated(f"Rescale{name}") for name in ("Slope", "Intercept"))
        found = rescaled(stored, 1.0 if slope is None else slope, intercept or 0.0)
        if found is None:
            raise StudyError(
                f"image {self.number + 1} of the session has pixels that are not numbers",
                "Check the reconstruction",
            )
        return found

    def values(self, name: str) -> tuple[str, ...]:
        """Values of an attribute, however its name is written; none where it is missing."""
        return self.said.get(name.casefold(), ())

    def vector(self, name: str) -> NDArray[np.float64] | None:
        """[3] of an attribute; None where it is not three numbers."""
        words = " ".join(self.values(name)).replace("\\", " ").split()
        try:
            found = np.array([float(word) for word in words])
        except ValueError:
            return None
        return found if found.shape == (3,) else None

    def is_no_vector(self, name: str) -> bool:
        """True where an attribute says something, and not three numbers."""
        return self.vector(name) is None and self.says(name)

    def says(self, name: str) -> bool:
        """True where an attribute is there and not empty."""
        return bool("".join(self.values(name)).strip())

    def _stated(self, name: str) -> float | None:
        found = self._number(name)
        if found is None and self.says(name):
            raise StudyError(
                f"image {self.number + 1} of the session has a {name} that is no number",
                "Check the reconstruction",
            )
        return found

    def _number(self, name: str) -> float | None:
        try:
            return float(self.values(name)[0])
        except (LookupError, ValueError):
            return None

    def time_ms(self, name: str, of_measurement: Sequence[float]) -> float | None:
        """A time of its attributes, else that of its contrast in the MRD header."""
        own = self._number(name)
        if own is not None or not of_measurement:
            return own
        contrast = min(int(self.head.contrast), len(of_measurement) - 1)
        return of_measurement[contrast]


def stream_image(message: Message, number: int) -> StreamImage:
    """Read header and attributes of an image message."""
    found = _attributes(message.attributes)
    attributes = found or {}
    return StreamImage(
        number, message, message.image_header, attributes, _said(attributes), found is not None
    )


def slice_headers(
    image: StreamImage, measurement: Measurement, phases: Mapping[int, int]
) -> list[SliceHeader]:
    """Headers of the slices of an image, none where it is no grey-scale image.

    Args:
        phases: cardiac phases of each series, by ``image_series_index``.
    """
    head = image.head
    series = int(head.image_series_index)
    own = " ".join(value for name in _NAMES for value in image.values(name))
    # A description of its own replaces that of the measurement in DICOM, too.
    description = own or measurement.description
    names = fold(" ".join((description, measurement.protocol, measurement.sequence)))
    tokens = _tokens(image)
    stamp = int(head.acquisition_time_stamp)
    volume = image.slices > 1
    height = float(head.field_of_view[2]) / max(image.slices, 1)
    trigger = float(head.physiology_time_stamp[0]) * TICK_MS
    row_dir, column_dir = (image.vector(name) for name in _DIRECTIONS)
    fault = next((f"{n} is not three numbers" for n in _DIRECTIONS if image.is_no_vector(n)), "")
    planes = [
        (None, fault) if fault else plane_in(head, row_dir, column_dir, z)
        for z in range(image.slices)
    ]
    return [
        SliceHeader(
            file_index=image.number,
            frame=z + 1 if volume else None,
            instance_uid="",
            study_uid="",
            series_uid=f"series {series}",
            frame_uid=measurement.frame_uid,
            series_number=series,
            patient_id="",
            patient_name="",
            image_kind=series_rules().kind_of(names, tokens),
            named_kind=series_rules().named_kind(names),
            description=description,
            names=names,
            tokens=tokens,
            contrast_agent=image.says("ContrastBolusAgent"),
            acquired=_moment(measurement, stamp),
            inversion_time_ms=image.time_ms("InversionTime", measurement.inversion_times_ms),
            echo_time_ms=image.time_ms("EchoTime", measurement.echo_times_ms),
            trigger_time_ms=trigger or None,
            phase_count=phases.get(series, 0),
            acquisition=f"{stamp}/{head.repetition}/{head.average}/{head.set}",
            slice_thickness_mm=height if np.isfinite(height) else None,
            plane=plane,
            unplaced=fault,
            pixel_digest=None,
        )
        for z, (plane, fault) in enumerate(planes)
    ]


def _attributes(xml: bytes) -> dict[str, tuple[str, ...]] | None:
    """Attributes by name; None where they are not XML as MRD has it."""
    if not xml:
        return {}
    if root_of(xml) is None:
        return None
    try:
        found = Meta.deserialize(text_of(xml))
    except (AssertionError, SyntaxError, ValueError):  # of a name or root that is missing
        return None
    return {
        str(key): tuple(one or "" for one in (value if isinstance(value, list) else [value]))
        for key, value in found.items()
    }


def _said(attributes: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Attributes, and those of a Siemens mini header that they do not have, as they are looked
    up."""
    found: dict[str, tuple[str, ...]] = {}
    for name, values in attributes.items():
        found.setdefault(_ALIASES.get(plain := plain_name(name), plain), values)
    return with_minihead(found)


def plain_name(name: str) -> str:
    """Name of an attribute in lower case and without Gadgetron's prefix."""
    return name.casefold().removeprefix(_PREFIX)


def _tokens(image: StreamImage) -> tuple[str, ...]:
    """Words of DICOM for the kind of image."""
    image_type = int(image.head.image_type)
    found = [_TOKENS[image_type]] if image_type in _TOKENS else []
    for name in _TYPES:
        for value in image.values(name):
            found += value.upper().split("\\")
    return tuple(dict.fromkeys(token.strip() for token in found if token.strip()))


def _moment(measurement: Measurement, stamp: int) -> datetime | None:
    """Time of an image, on the day of the measurement; None without a time stamp."""
    day = (measurement.acquired or _NO_DAY).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=None
    )
    return day + timedelta(milliseconds=stamp * TICK_MS) if stamp else None


def _real(values: NDArray[Any], image_type: int) -> NDArray[Any]:
    """The part of complex values that an image type names."""
    if values.dtype.kind != "c":
        return values
    if image_type == IMTYPE_REAL:
        return values.real
    if image_type == IMTYPE_IMAG:
        return values.imag
    found: NDArray[Any] = np.angle(values) if image_type == IMTYPE_PHASE else np.abs(values)
    return found
