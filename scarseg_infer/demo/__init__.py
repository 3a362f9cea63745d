"""The bundled demonstration: one synthetic study and ECG of a digital twin; no patient's data.

Made by the twin's first version (``scarseg-export twin --cases 1 --seed 55 --gap-days 3``); later
ones give another heart for the same seed. ``ecg/twin.dcm`` is the record as a DICOM object.
"""

from pathlib import Path

DEMO_STUDY = Path(__file__).parent / "study"
DEMO_ECG = Path(__file__).parent / "ecg" / "twin.hea"
