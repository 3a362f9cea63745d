"""The DICOM node: receives studies, segments them and sends the results back.

callers ─ C-STORE ─ receive ─ queue (files + SQLite) ─ work (a warm Segmenter) ─ send ─ peers

Every step reads what it does next from the queue and records there what it did, so that the node
goes on where it was after a crash or a loss of power. Run as ``scarseg-node CONFIG.toml``.
"""
