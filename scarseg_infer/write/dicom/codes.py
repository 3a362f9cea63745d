"""Coded concepts of the DICOM objects that we write.

They are written out here because pydicom's tables of every DICOM code take a tenth of a second
to import, which a cold start cannot spare; a test holds each one against those tables.
"""

from __future__ import annotations

from functools import lru_cache
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
PRIVATE_SCHEME_OID: Final = "1.2.826.0.1.3680043.8.498.94322099781776696893528346734284788176"
"""Made by pydicom of the designator."""
PRIVATE_SCHEME_NAME: Final = "scarseg-infer quantities of myocardial scar"

# Segments (CID 7150, 7151, 12305).
ABNORMAL_STRUCTURE: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical Structure")
BODY_SUBSTANCE: Final = Code("91720002", "SCT", "Body Substance")
SCAR_TISSUE: Final = Code("12402003", "SCT", "Scar tissue")
LV_MYOCARDIUM: Final = Code("49848007", "SCT", "Left Ventricle Myocardium")
BLOOD: Final = Code("87612001", "SCT", "Blood")
LEFT_VENTRICLE: Final = Code("87878005", "SCT", "Left ventricle")

# How the objects came about (CID 7005, 7162, 7202, 7203).
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
SEGMENTATION_DERIVATION: Final = Code("113076", "DCM", "Segmentation")
SOURCE_FOR_PROCESSING: Final = Code("121322", "DCM", "Source image for image processing operation")

# Measurement report (TID 1500, 1501, 1411, 1600; observer: TID 1004).
REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
LANGUAGE: Final = Code("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH: Final = Code("en-US", "RFC5646", "English (United States)")
OBSERVER_TYPE: Final = Code("121005", "DCM", "Observer Type")
DEVICE: Final = Code("121007", "DCM", "Device")
DEVICE_UID: Final = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME: Final = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER: Final = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL: Final = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL: Final = Code("121016", "DCM", "Device Observer Serial Number")
PROCEDURE: Final = Code("121058", "DCM", "Procedure reported")
CARDIAC_MRI: Final = Code("241620005", "SCT", "Cardiac MRI")
IMAGE_LIBRARY: Final = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
MODALITY: Final = Code("121139", "DCM", "Modality")
MAGNETIC_RESONANCE: Final = Code("MR", "DCM", "Magnetic Resonance")
FRAME_OF_REFERENCE: Final = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_ROWS: Final = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_COLUMNS: Final = Code("110911", "DCM", "Pixel Data Columns")
COLUMN_SPACING: Final = Code("111026", "DCM", "Horizontal Pixel Spacing")
ROW_SPACING: Final = Code("111066", "DCM", "Vertical Pixel Spacing")
POSITION: Final = (
    Code("110901", "DCM", "Image Position (Patient) X"),
    Code("110902", "DCM", "Image Position (Patient) Y"),
    Code("110903", "DCM", "Image Position (Patient) Z"),
)
ORIENTATION: Final = (
    Code("110904", "DCM", "Image Orientation (Patient) Row X"),
    Code("110905", "DCM", "Image Orientation (Patient) Row Y"),
    Code("110906", "DCM", "Image Orientation (Patient) Row Z"),
    Code("110907", "DCM", "Image Orientation (Patient) Column X"),
    Code("110908", "DCM", "Image Orientation (Patient) Column Y"),
    Code("110909", "DCM", "Image Orientation (Patient) Column Z"),
)
MEASUREMENTS: Final = Code("126010", "DCM", "Imaging Measurements")
MEASUREMENT_GROUP: Final = Code("125007", "DCM", "Measurement Group")
TRACKING_ID: Final = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID: Final = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING: Final = Code("121071", "DCM", "Finding")
FINDING_SITE: Final = Code("363698007", "SCT", "Finding Site")
ALGORITHM_NAME: Final = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION: Final = Code("111003", "DCM", "Algorithm Version")
REFERENCED_SEGMENT: Final = Code("121191", "DCM", "Referenced Segment")
SOURCE_FOR_SEGMENTATION: Final = Code("121233", "DCM", "Source image for segmentation")
SOURCE_OF_MEASUREMENT: Final = Code("121112", "DCM", "Source of Measurement")
QUALITATIVE: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT: Final = Code("121106", "DCM", "Comment")
STUDY_UID: Final = Code("110180", "DCM", "Study Instance UID")

# What is measured. Standard concepts where there are such.
VOLUME: Final = Code("118565006", "SCT", "Volume")
LV_MASS: Final = Code("18087-7", "LN", "Left Ventricle Mass")
SCAR_MASS: Final = Code("SCARMASS", PRIVATE_SCHEME, "Mass of scar")
SCAR_SHARE: Final = Code("SCARPERCENT", PRIVATE_SCHEME, "Scar as percent of left ventricular mass")
CAVITY_VOLUME: Final = Code("LVCAVITYVOLUME", PRIVATE_SCHEME, "Volume of left ventricular cavity")
IMAGE_SCAR_VOLUME: Final = Code(
    "IMGSCARVOLUME", PRIVATE_SCHEME, "Volume of scar by the image alone"
)
IMAGE_SCAR_SHARE: Final = Code(
    "IMGSCARPERCENT", PRIVATE_SCHEME, "Scar as percent of LV mass by the image alone"
)
ECG_WEIGHT: Final = Code("ECGWEIGHT", PRIVATE_SCHEME, "Weight of the ECG in the result, 0 to 1")
ECG_GAP: Final = Code("ECGGAP", PRIVATE_SCHEME, "Time between ECG and MRI")
ECG_REASON: Final = Code("ECGREASON", PRIVATE_SCHEME, "Reason for the weight of the ECG")
SEGMENT_BURDEN: Final = Code("SEGMENTBURDEN", PRIVATE_SCHEME, "Scar as percent of segment volume")
TRANSMURALITY: Final = Code(
    "TRANSMURALITY", PRIVATE_SCHEME, "Mean share of wall thickness that is scar"
)

# UCUM units.
MILLILITER: Final = Code("mL", "UCUM", "milliliter")
GRAM: Final = Code("g", "UCUM", "gram")
PERCENT: Final = Code("%", "UCUM", "Percent")
DAY: Final = Code("d", "UCUM", "day")
NO_UNITS: Final = Code("1", "UCUM", "no units")
MILLIMETER: Final = Code("mm", "UCUM", "mm")
COSINE: Final = Code("{-1:1}", "UCUM", "{-1:1}")
PIXELS: Final = Code("{pixels}", "UCUM", "Pixels")

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


@lru_cache(maxsize=256)
def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence: one and the same each time, not to be changed."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item
