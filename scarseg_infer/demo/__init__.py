"""The bundled demonstration: one synthetic DICOM study and WFDB record of a digital twin.

Made by ``scarseg-export twin --cases 1 --seed 55 --gap-days 3``; no patient's data.
"""

from pathlib import Path

DEMO_STUDY = Path(__file__).parent / "study"
DEMO_ECG = Path(__file__).parent / "ecg" / "twin.hea"
