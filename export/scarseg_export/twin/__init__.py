"""The digital twin: patients in whom one scar function drives both the image and the ECG.

anatomy.py  shape of the left ventricle, RV and chest     → Anatomy
scar.py     where the scar lies, in heart coordinates      → ScarMap
image.py    LGE rendering of both on any grid              → ImageStack
ecg.py      activation, body-surface potentials, mean beat → beats
cohort.py   a patient: anatomy + scars + time gap          → Case
write.py    a case as DICOM study + ECG in WFDB and DICOM + labels; its objects: dicom_objects.py
"""
