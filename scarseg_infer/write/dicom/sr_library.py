"""The source images as the image library of a structured report (TID 1600, PS3.16)."""

from __future__ import annotations

from pydicom import Dataset

from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.dicom import codes
from scarseg_infer.write.dicom.sources import (
    SourceImage,
    frame_of_reference_uid,
    slice_places,
)
from scarseg_infer.write.dicom.sr_items import code, container, image, number, uid


def image_library(stack: LgeStack, images: list[SourceImage]) -> Dataset:
    """Every slice with its position (mm, patient frame); what all share stands at the group."""
    rows, columns = stack.pixels.shape[1:]
    row_mm, column_mm = stack.pixel_spacing_mm
    group = [
        code(codes.MODALITY, codes.MAGNETIC_RESONANCE, "HAS ACQ CONTEXT"),
        uid(codes.FRAME_OF_REFERENCE, frame_of_reference_uid(stack), "HAS ACQ CONTEXT"),
        number(codes.PIXEL_ROWS, rows, codes.PIXELS, "HAS ACQ CONTEXT"),
        number(codes.PIXEL_COLUMNS, columns, codes.PIXELS, "HAS ACQ CONTEXT"),
        number(codes.COLUMN_SPACING, column_mm, codes.MILLIMETER, "HAS ACQ CONTEXT"),
        number(codes.ROW_SPACING, row_mm, codes.MILLIMETER, "HAS ACQ CONTEXT"),
    ]
    places = slice_places(stack)
    parallel = len({cosines for _, cosines in places}) == 1
    if parallel:
        group += _orientation(places[0][1])
    for source, (origin, cosines) in zip(images, places, strict=True):
        place = [
            number(name, mm, codes.MILLIMETER, "HAS ACQ CONTEXT")
            for name, mm in zip(codes.POSITION, origin, strict=True)
        ]
        place += [] if parallel else _orientation(cosines)
        group.append(image(None, source.reference(), place))
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, group)])


def _orientation(cosines: tuple[float, ...]) -> list[Dataset]:
    return [
        number(name, cosine, codes.COSINE, "HAS ACQ CONTEXT")
        for name, cosine in zip(codes.ORIENTATION, cosines, strict=True)
    ]
