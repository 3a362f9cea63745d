"""The source images as the image library of a structured report (TID 1600, PS3.16)."""

from __future__ import annotations

from pydicom import Dataset

from scarseg_infer import coded
from scarseg_infer.seg_sources import SourceImage, frame_of_reference_uid
from scarseg_infer.sr_items import code, container, image, number, uid
from scarseg_infer.stack import LgeStack


def image_library(stack: LgeStack, images: list[SourceImage]) -> Dataset:
    """Every slice with its position (mm, patient frame); what all share stands at the group."""
    rows, columns = stack.pixels.shape[1:]
    row_mm, column_mm = stack.pixel_spacing_mm
    group = [
        code(coded.MODALITY, coded.MAGNETIC_RESONANCE, "HAS ACQ CONTEXT"),
        uid(coded.FRAME_OF_REFERENCE, frame_of_reference_uid(stack), "HAS ACQ CONTEXT"),
        number(coded.PIXEL_ROWS, rows, coded.PIXELS, "HAS ACQ CONTEXT"),
        number(coded.PIXEL_COLUMNS, columns, coded.PIXELS, "HAS ACQ CONTEXT"),
        number(coded.COLUMN_SPACING, column_mm, coded.MILLIMETER, "HAS ACQ CONTEXT"),
        number(coded.ROW_SPACING, row_mm, coded.MILLIMETER, "HAS ACQ CONTEXT"),
    ]
    cosines = (*stack.row_direction, *stack.column_direction)
    for name, cosine in zip(coded.ORIENTATION, cosines, strict=True):
        group.append(number(name, float(cosine), coded.COSINE, "HAS ACQ CONTEXT"))
    for source, origin in zip(images, stack.origins_mm, strict=True):
        place = [
            number(name, float(mm), coded.MILLIMETER, "HAS ACQ CONTEXT")
            for name, mm in zip(coded.POSITION, origin, strict=True)
        ]
        group.append(image(None, source.reference(), place))
    return container(coded.IMAGE_LIBRARY, [container(coded.IMAGE_LIBRARY_GROUP, group)])
