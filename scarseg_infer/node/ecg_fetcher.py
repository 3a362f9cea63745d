"""Asking another system for the newest ECG of a study's patient, by any protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.pair import has_ecg
from scarseg_infer.node.queue.received import Arrival, Queue, Study
from scarseg_infer.study.dicom.parse import parse, text
from scarseg_infer.study.dicom.patient_id import is_exact
from scarseg_runtime.run_control import RunControl

MAX_STUDIES: Final = 3
"""Newest studies with an ECG that are looked into, until one gives an ECG."""
QUERY_S: Final = 300.0
"""For all that is asked for one study: an archive that goes on answering holds up all studies."""
MAX_ANSWERS: Final = 1000
"""To one question, and ECGs taken: no patient has as many."""
MAX_QUERY_BYTES: Final = 64 << 20
"""Of all that the archive sends for one study, which is kept in memory: ECGs of 10 s take 100 kB to
1 MB each."""
BROKEN: Final = "broken off"
"""It broke, has no context for what is asked, answers oddly, too much or without end."""
NO_IDENTIFIER: Final = "no identifier"
NONE: Final = "none"
FOUND: Final = "found"


class EcgFetcher(ABC):
    """Fetches ECGs into the queue, where they are found like those that were sent to the node.

    Args:
        always: ask also where an ECG of the patient was received.
    """

    def __init__(self, queue: Queue, counters: Counters, log: Log, *, always: bool) -> None:
        self._queue, self._counters, self._log = queue, counters, log
        self._always = always

    def fetch(self, study: Study) -> None:
        """Look for an ECG of the study's patient, if none was received or it is always to be done.

        That there is none, or that the archive does not answer, is no reason not to process the
        images: it is logged and counted.

        Raises:
            CancelledError: the node stops.
            OSError, sqlite3.Error: the disk fails.
        """
        if has_ecg(self._queue, study) and not self._always:
            return
        outcome = self._outcome(study)
        self._counters.add("ecg_queries_total", outcome=outcome)
        self._log.write("ecg_query", study=study.id, outcome=outcome)

    def _outcome(self, study: Study) -> str:
        if not study.patient:
            return NO_IDENTIFIER
        patient_id = _patient_id(self._queue.images(study))
        return self._asked(study, patient_id) if is_exact(patient_id) else NO_IDENTIFIER

    @abstractmethod
    def _asked(self, study: Study, patient_id: str) -> str:
        """Ask, put what is found into the queue, and say in a word how it went."""

    def _keep(self, arrivals: Iterable[Arrival], study: Study, control: RunControl) -> bool:
        """Keep those of the study's patient; were there any? Raises OSError, sqlite3.Error,
        CancelledError."""
        kept = [arrival for arrival in arrivals if arrival.patient == study.patient]
        for arrival in kept:
            control.check()
            self._queue.add(arrival)  # a disk that fails is no fault of the archive's
        return bool(kept)


def _patient_id(images: list[Path]) -> str:
    """As it stands in the images: the queue's has lost its letter case."""
    header = parse(images[0].read_bytes(), ["PatientID"])
    return text(header, "PatientID").strip()
