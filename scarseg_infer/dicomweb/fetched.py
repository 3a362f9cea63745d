"""The files of a study that was fetched, in one file on the disk that has no name."""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import Final

from scarseg_infer.study.files import MAX_FILES
from scarseg_runtime.errors import StudyError

MAX_STUDY_BYTES: Final = 4 << 30
"""Of all that is fetched for one study: a whole cardiac examination takes some hundred MB."""


class FetchedFiles:
    """Files as they came, in that order; see :class:`scarseg_infer.study.files.StudyFiles`.

    The file behind them is deleted by the system when this is closed or the process ends, however
    it ends, and nothing of it is seen in a folder.

    Raises:
        StudyError: there is no room for it.
    """

    def __init__(self) -> None:
        self._places: list[tuple[int, int] | None] = []
        self._end = 0
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise _no_room(error) from error

    def __enter__(self) -> FetchedFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, data: bytes | None) -> None:
        """Keep a file; None stands for one that was too large.

        Raises:
            StudyError: there are too many, or no room.
        """
        if len(self._places) >= MAX_FILES:
            raise StudyError(
                f"the study holds more than {MAX_FILES} objects", "Name one series of it"
            )
        if data is None:
            self._places.append(None)
            return
        try:
            self._file.seek(self._end)
            self._file.write(data)
        except OSError as error:
            raise _no_room(error) from error
        self._places.append((self._end, len(data)))
        self._end += len(data)

    def read(self, index: int) -> bytes | None:
        """See :meth:`scarseg_infer.study.files.StudyFiles.read`."""
        place = self._places[index]
        if place is None:
            return None
        try:
            self._file.seek(place[0])
            return self._file.read(place[1])
        except OSError as error:
            raise _no_room(error) from error


def _no_room(error: OSError) -> StudyError:
    return StudyError(
        f"the fetched study cannot be kept on the disk ({error.strerror})",
        "Make room in the folder for temporary files, or set TMPDIR to another",
    )
