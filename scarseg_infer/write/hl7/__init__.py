"""HL7 version 2: the quantities as a message for systems that know neither DICOM nor FHIR."""
