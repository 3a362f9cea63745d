"""Content items of a DICOM structured report (PS3.3, C.17.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydicom import Dataset

from scarseg_infer.write.dicom.codes import Code, code_item
from scarseg_infer.write.dicom.sources import decimal

_DIGITS: Final = 6
Relationship = Literal["CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT", "HAS ACQ CONTEXT"]


def container(name: Code, items: Sequence[Dataset], template: str = "") -> Dataset:
    """A container of items, in the relationship CONTAINS.

    Args:
        template: number of the template in PS3.16 that it follows.
    """
    found = _item("CONTAINER", name, "CONTAINS")
    found.ContinuityOfContent = "SEPARATE"
    if template:
        identification = Dataset()
        identification.MappingResource = "DCMR"
        identification.TemplateIdentifier = template
        found.ContentTemplateSequence = [identification]
    found.ContentSequence = list(items)
    return found


def code(name: Code, value: Code, relationship: Relationship = "CONTAINS") -> Dataset:
    """A coded value."""
    found = _item("CODE", name, relationship)
    found.ConceptCodeSequence = [code_item(value)]
    return found


def words(name: Code, value: str, relationship: Relationship = "CONTAINS") -> Dataset:
    """Text."""
    found = _item("TEXT", name, relationship)
    found.TextValue = value
    return found


def uid(name: Code, value: str, relationship: Relationship = "CONTAINS") -> Dataset:
    """A UID."""
    found = _item("UIDREF", name, relationship)
    found.UID = value
    return found


def number(
    name: Code, value: float, unit: Code, relationship: Relationship = "CONTAINS"
) -> Dataset:
    """A finite number in ``unit``, to six digits after the point."""
    found, measured = _item("NUM", name, relationship), Dataset()
    # Adding zero turns a negative zero into zero.
    exact = isinstance(value, int)
    measured.NumericValue = value if exact else decimal(round(value, _DIGITS) + 0.0)
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    found.MeasuredValueSequence = [measured]
    return found


def image(name: Code | None, reference: Dataset, items: Sequence[Dataset] = ()) -> Dataset:
    """A reference to an image, or to segments of a segmentation."""
    found = _item("IMAGE", name, "CONTAINS")
    found.ReferencedSOPSequence = [reference]
    if items:
        found.ContentSequence = list(items)
    return found


def _item(kind: str, name: Code | None, relationship: Relationship) -> Dataset:
    found = Dataset()
    found.RelationshipType = relationship
    found.ValueType = kind
    if name is not None:
        found.ConceptNameCodeSequence = [code_item(name)]
    return found
