"""WFDB data files that are compressed as FLAC, decoded by the wfdb package of an extra."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scarseg_infer.ecg.private_copy import private_folder, write_private
from scarseg_runtime.errors import EcgError
from scarseg_runtime.install import install_command


def unpacked_by_wfdb(header: str, files: Mapping[str, bytes]) -> list[NDArray[np.int32]]:
    """All samples of each signal, from a header and data files that were checked.

    Raises EcgError where the package is missing, ValueError and others for damaged data.
    wfdb gets a copy of its own: it drops characters beyond ASCII, and takes paths for URLs.
    """
    try:
        import wfdb
    except ImportError as error:
        raise EcgError(
            "the ECG is compressed as FLAC (WFDB format 508, 516 or 524), "
            "and the package wfdb, which reads that, is not installed",
            f"Install it with: {install_command('ecg-formats')}; or convert the record to "
            "format 16, for example with WFDB's xform",
        ) from error
    with private_folder() as folder:  # it reads from a folder only
        copy = folder / "record"
        write_private(copy.with_suffix(".hea"), header.encode("ascii"))
        for name, content in files.items():
            write_private(folder / name, content)
        try:
            record = wfdb.rdrecord(str(copy), physical=False, smooth_frames=False, ignore_skew=True)
        except RuntimeError as error:  # of libsndfile
            raise ValueError("damaged FLAC") from error
    return [np.asarray(samples, np.int32) for samples in record.e_d_signal]
