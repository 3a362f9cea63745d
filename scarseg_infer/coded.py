"""Coded concepts of the DICOM objects that we write.

They are written out here because pydicom's tables of every DICOM code take a tenth of a second
to import, which a cold start cannot spare; a test holds each one against those tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pydicom import Dataset


class Code(NamedTuple):
    """A coded concept (PS3.3, 8.8): ``meaning`` is for people, the other two identify it."""

    value: str
    scheme: str
    meaning: str


PRIVATE_SCHEME: Final = "99SCARSEG"
"""Designator of our own codes, where the standard has none (PS3.16, 8.2: private ones begin with
99)."""
PRIVATE_SCHEME_NAME: Final = "scarseg-infer quantities of myocardial scar"

# Segments (CID 7150, 7151, 12305).
ABNORMAL_STRUCTURE: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
BODY_SUBSTANCE: Final = Code("91720002", "SCT", "Body Substance")
SCAR_TISSUE: Final = Code("12402003", "SCT", "Scar tissue")
LV_MYOCARDIUM: Final = Code("49848007", "SCT", "Left Ventricle Myocardium")
BLOOD: Final = Code("87612001", "SCT", "Blood")
LEFT_VENTRICLE: Final = Code("87878005", "SCT", "Left ventricle")

# How the objects came about (CID 7162, 7202, 7203).
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
SEGMENTATION_DERIVATION: Final = Code("113076", "DCM", "Segmentation")
SOURCE_FOR_PROCESSING: Final = Code("121322", "DCM", "Source image for image processing operation")

AHA_SEGMENTS: Final = (
    Code("264850008", "SCT", "left ventricle basal anterior segment"),
    Code("396482007", "SCT", "left ventricle basal anteroseptal segment"),
    Code("396646008", "SCT", "left ventricle basal inferoseptal segment"),
    Code("264846001", "SCT", "left ventricle basal inferior segment"),
    Code("396652009", "SCT", "left ventricle basal inferolateral segment"),
    Code("396654005", "SCT", "left ventricle basal anterolateral segment"),
    Code("264848000", "SCT", "left ventricle mid anterior segment"),
    Code("396647004", "SCT", "left ventricle mid anteroseptal segment"),
    Code("396649001", "SCT", "left ventricle mid inferoseptal segment"),
    Code("264847005", "SCT", "left ventricle mid inferior segment"),
    Code("396655006", "SCT", "left ventricle mid inferolateral segment"),
    Code("396656007", "SCT", "left ventricle mid anterolateral segment"),
    Code("264844003", "SCT", "left ventricle apical anterior segment"),
    Code("264845002", "SCT", "left ventricle apical septal segment"),
    Code("264849008", "SCT", "left ventricle apical inferior segment"),
    Code("264853005", "SCT", "left ventricle apical lateral segment"),
    Code("128564006", "SCT", "Apex of left ventricle"),
)
"""AHA segments 1–17 in order (CID 3717)."""


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item
