"""DICOMweb as a client (PS3.18): search by QIDO-RS, retrieve by WADO-RS, store by STOW-RS.

Used by the command line, for studies that are named by an address, and by the node.
"""
