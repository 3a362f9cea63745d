"""Results as HL7 v2 messages over MLLP, for systems that know no DICOM."""
