"""Checks of what a host passes to a call: a plain error for what makes no sense."""

from __future__ import annotations

import os
from numbers import Integral, Real
from pathlib import Path
from typing import get_args

from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.study.files import StudyFiles
from scarseg_infer.study.series_verdict import PreferredKind
from scarseg_infer.study.stack import LgeStack
from scarseg_runtime.errors import UsageError
from scarseg_runtime.run_control import CancelSignal, RunControl


def as_path(given: object, what: str, advice: str = "Pass a text or a pathlib.Path") -> Path:
    """A path as one. Raises UsageError for anything else."""
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str) or "\0" in path:
        raise UsageError(f"the {what} is not a path", advice)
    return Path(path)


def as_number(given: object, what: str) -> float | None:
    """A number of any kind as a float, or None. Raises UsageError for anything else."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, Real):
        raise UsageError(f"{what} is not a number", "Pass a float, or None where it is not known")
    return float(given)


def check_choice(series: object, prefer: object) -> None:
    """Check that both can say which series of a study to read. Raises UsageError."""
    known = get_args(PreferredKind)
    if prefer not in known:
        raise UsageError("there is no such kind to prefer", f"Known: {', '.join(known)}")
    whole = isinstance(series, Integral) and not isinstance(series, bool)  # numpy's are, too
    if series is not None and not whole and not isinstance(series, str):
        raise UsageError("the series is neither a number nor a text", "See list_series")


def check_inputs(study: object, ecg: object, series: object = None) -> None:
    """Check that they can be a study, its ECG and a series of it. Raises UsageError."""
    if isinstance(study, LgeStack):
        if series is not None:
            raise UsageError("a stack has no series to choose from", "Leave the series out")
    elif not isinstance(study, StudyFiles):
        as_path(study, "study", "Pass one, or a stack that stack_from_arrays made")
    if ecg is not None and not isinstance(ecg, EcgRecord):
        as_path(ecg, "ECG", "Pass one, or an EcgRecord")


def check_progress(progress: object) -> None:
    """Check that it can be told how far a run is. Raises UsageError."""
    if progress is not None and not callable(progress):
        raise UsageError("progress cannot be called", "Pass a function, or None")


def limits(cancel: CancelSignal | None, timeout_s: float | None) -> RunControl:
    """The limits of a run, whose clock starts now. Raises UsageError where they are none."""
    if cancel is not None and not callable(getattr(cancel, "is_set", None)):
        raise UsageError("the signal to cancel has no is_set", "Pass a threading.Event")
    return RunControl(cancel, as_number(timeout_s, "the time limit"))
