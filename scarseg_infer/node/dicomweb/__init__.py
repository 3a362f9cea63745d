"""Servers that the node sends results to and asks for ECGs by DICOMweb."""
