"""The MRD server: a scanner streams images to it, and gets scar back in the same session.

client ─ config, header, images ─ session ─ stack (rules of DICOM studies) ─ Segmenter
client ─ what it sent, labels, overlay, segments, text ─┘

MRD is the ISMRM Raw Data format; its streaming protocol is what Siemens FIRE and OpenRecon, and
Gadgetron's clients, speak. Run as ``scarseg-mrd``.
"""
