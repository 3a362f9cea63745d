"""The patient's ECG from a DICOM archive, asked for by the node's own code and configuration.

The node looks for ECGs of studies in its queue. So each question gets a queue of its own in a
temporary folder, with one image without pixels that bears the patient's identifier.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.host.quiet import quiet_readers
from scarseg_infer.node.config import Config, EcgArchive, read_config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.dicom.query import EcgQuery
from scarseg_infer.node.dicom.receive import arrival_in_file
from scarseg_infer.node.ecg_fetcher import MAX_QUERY_BYTES
from scarseg_infer.node.log import Log
from scarseg_infer.node.pair import ecgs_for
from scarseg_infer.node.queue.received import Queue
from scarseg_infer.node.queue.storage import Storage
from scarseg_runtime.errors import UsageError
from scarseg_runtime.run_control import CancelSignal


class ArchiveQuery:
    """Asks the archive of a node's configuration file.

    Args:
        file: configuration of ``scarseg-node``; of it ``[ecg_query]``, ``[tls]`` and the AE title
            are used.

    Raises:
        UsageError: the file is wrong, names no archive, or one that answers by C-MOVE.
    """

    def __init__(self, file: Path, log: Log, stop: CancelSignal) -> None:
        self._config, self._log, self._stop = read_config(file), log, stop
        self._archive = archive_in(self._config)

    def newest(self, patient_id: str) -> EcgRecord | None:
        """The newest ECG of a patient that can be read; None where there is none, or the archive
        does not answer.

        Raises:
            CancelledError: the server stops.
            OSError: there is no room for temporary files.
        """
        with TemporaryDirectory(prefix="scarseg-mrd-") as folder:
            storage = Storage(Path(folder))
            try:
                return self._asked(Queue(storage), patient_id)
            finally:
                storage.close()

    def _asked(self, queue: Queue, patient_id: str) -> EcgRecord | None:
        arrival = arrival_in_file(_image_of(patient_id))
        if arrival is None or not arrival.patient:
            return None
        queue.add(arrival)
        (study,) = queue.complete(0)
        EcgQuery(
            self._config, self._archive, queue, Counters(), self._log,
            lambda size: size <= MAX_QUERY_BYTES, self._stop,
        ).fetch(study)  # fmt: skip
        return next((record for record, _ in ecgs_for(queue, study)), None)


def archive_in(config: Config) -> EcgArchive:
    """The archive that a configuration names. Raises UsageError where it cannot be asked from
    here."""
    if config.ecg_query is None:
        raise UsageError("the configuration names no archive", "Add a table [ecg_query]")
    if config.ecg_query.retrieve != "get":
        raise UsageError("ecg_query.retrieve is move, which brings ECGs to a node",
                         'Set it to "get"')  # fmt: skip
    return config.ecg_query


def _image_of(patient_id: str) -> bytes:
    """A DICOM file that says whose it is, and nothing else."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = generate_uid()
    stream = BytesIO()
    with quiet_readers():  # pydicom would quote an identifier that it does not like
        image.PatientID = patient_id
        image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
