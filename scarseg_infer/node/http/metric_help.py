"""Meaning of each metric of the node, for ``# HELP`` in /metrics."""

from __future__ import annotations

from typing import Final

HELP: Final = {
    "associations": "Open DICOM associations.",
    "associations_accepted_total": "DICOM associations accepted.",
    "connections_refused_total": "Callers refused, by reason.",
    "deliveries": "Objects for peers, by peer and state.",
    "deliveries_given_up_total": "Objects a peer did not take within send.give_up_days.",
    "deliveries_removed_total": "Objects whose peer has left the configuration.",
    "disk_free_bytes": "Free space on the disk of node.data.",
    "echoes_total": "C-ECHO requests answered.",
    "ecg_queries_total": "Times the archive was asked for an ECG, by outcome.",
    "healthy": "1 where /healthz answers 200, else 0.",
    "objects_received_total": "C-STORE requests answered, by status.",
    "objects_sent_total": "Objects that peers have acknowledged.",
    "oldest_delivery_seconds": "Age of the object that has waited longest for its peer; 0: none.",
    "processing_seconds_total": "Time taken by studies that were processed.",
    "send_failures_total": "Times that sending to a peer failed and was put off.",
    "step_messages_total": "Messages on procedure steps (MPPS and others), by kind and status.",
    "studies": "Studies with images, by state.",
    "studies_failed_total": "Studies that were given up.",
    "studies_processed_total": "Studies that got results.",
}
"""By name without :data:`scarseg_infer.node.http.status.PREFIX`."""
