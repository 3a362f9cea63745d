"""Modality Performed Procedure Step with its notifications (PS3.4, annex F), and Instance
Availability Notification (annex R): who sends a study says when it has all been sent.

Of a message only UIDs of studies and MR images and its state are read and kept.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterator
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    InstanceAvailabilityNotification,
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepNotification,
)

from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.queue.steps import COMPLETED, DISCONTINUED, IN_PROGRESS, STATES, Step, Steps
from scarseg_infer.study.dicom.parse import PARSE_ERRORS, parse_bare, text

SERVICES: Final = (ModalityPerformedProcedureStep, InstanceAvailabilityNotification)
REPORTS: Final = (ModalityPerformedProcedureStepNotification,)
"""Of which the caller is the provider, and we are the user."""
_EVENTS: Final = {
    1: IN_PROGRESS, 2: COMPLETED, 3: DISCONTINUED, 4: IN_PROGRESS, 5: DISCONTINUED,
}  # fmt: skip
"""State of a step after an event, by its type; 4 is an update, 5 a deletion (PS3.4, F.9.2-1)."""

SUCCESS: Final = 0x0000
INVALID_VALUE: Final = 0x0106
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE: Final = 0x0111
NO_SUCH_INSTANCE: Final = 0x0112
NO_SUCH_EVENT: Final = 0x0113
MISSING: Final = 0x0120
MISSING_VALUE: Final = 0x0121
NO_ROOM: Final = 0x0213
NO_LONGER_UPDATED: Final = 0xA710
"""Error ID of a change to a finished step (PS3.4, F.7.2.2.3)."""

MAX_STEP_BYTES: Final = 4 << 20
"""Some 150 for each image."""
_LISTS: Final = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
_NOT_TO_COME: Final = "UNAVAILABLE"

Answer = tuple[Dataset | int, Dataset | None]


class _BadValueError(Exception):
    """An attribute is missing or wrong; the value is the status to answer with."""

    def __init__(self, status: int) -> None:
        self.status = status


class StepReceiver:
    """Answers to the messages of these services, as handlers for pynetdicom.

    Args:
        image_classes: SOP classes of which referenced objects are waited for.
        has_room: is there room on the disk?
    """

    def __init__(
        self,
        steps: Steps,
        image_classes: Collection[str],
        has_room: Callable[[], bool],
        counters: Counters,
        log: Log,
    ) -> None:
        self._steps, self._classes, self._has_room = steps, image_classes, has_room
        self._counters, self._log = counters, log

    def handlers(self) -> list[Any]:
        """Handlers that the server has to call."""
        return [
            (evt.EVT_N_CREATE, self._create),
            (evt.EVT_N_SET, self._set),
            (evt.EVT_N_EVENT_REPORT, self._event),
        ]

    def _create(self, event: evt.Event) -> Answer:
        request: Any = event.request
        given = request.AffectedSOPInstanceUID
        uid = str(given or generate_uid())
        status = self._status("create", lambda: self._add(uid, event))
        answer = Dataset()
        if status == SUCCESS and not given:  # we name what the caller has not named (PS3.7, 10.1.5)
            answer.AffectedSOPInstanceUID = uid
        return _full(status), answer

    def _set(self, event: evt.Event) -> Answer:
        return _full(self._status("set", lambda: self._update(event))), None

    def _event(self, event: evt.Event) -> Answer:
        return self._status("event", lambda: self._follow(event)), None

    def _status(self, message: str, work: Callable[[], int]) -> int:
        try:
            status = work() if self._has_room() else NO_ROOM
        except _BadValueError as error:
            status = error.status
        except PARSE_ERRORS:
            status = PROCESSING_FAILURE
        except sqlite3.Error as error:
            status = PROCESSING_FAILURE
            self._log.write("step_not_kept", reason=type(error).__name__)
        code = f"0x{status:04X}"
        self._counters.add("step_messages_total", message=message, status=code)
        if status != SUCCESS:
            self._log.write("step_refused", message=message, status=code)
        return status

    def _add(self, uid: str, event: evt.Event) -> int:
        request: Any = event.request
        data = _told(event, request.AttributeList)
        if request.AffectedSOPClassUID == InstanceAvailabilityNotification:
            step = _notification(uid, data, self._classes)
        else:
            step = _performed(uid, data, self._classes)
        if not self._steps.add(step):
            return DUPLICATE
        self._log.write(
            "step", state=step.state, studies=len(step.studies), images=len(step.images)
        )
        return SUCCESS

    def _update(self, event: evt.Event) -> int:
        request: Any = event.request
        uid = str(request.RequestedSOPInstanceUID)
        data = _told(event, request.ModificationList)
        if (before := self._steps.state(uid)) is None:
            return NO_SUCH_INSTANCE
        if before != IN_PROGRESS:
            return NO_LONGER_UPDATED
        state = _state(data) if "PerformedProcedureStepStatus" in data else IN_PROGRESS
        told = "PerformedSeriesSequence" in data
        images = _performed_images(data, self._classes) if told else None
        if not self._steps.update(uid, state, images):  # another message was faster
            return NO_LONGER_UPDATED
        self._log.write("step", state=state, images=len(images or ()))
        return SUCCESS

    def _follow(self, event: evt.Event) -> int:
        """A notification carries nothing but which step it is about, so that must be known."""
        request: Any = event.request
        if (state := _EVENTS.get(request.EventTypeID)) is None:
            return NO_SUCH_EVENT
        uid = str(request.AffectedSOPInstanceUID)
        if self._steps.state(uid) is None:
            return NO_SUCH_INSTANCE
        if self._steps.update(uid, state, None):  # else it has ended: that is no news
            self._log.write("step", state=state, images=0)
        return SUCCESS


def _told(event: evt.Event, encoded: BytesIO | None) -> Dataset:
    """Decode what a message says of a step; pynetdicom would decode any number of elements.

    Raises:
        _BadValueError: it is larger than that of any step.
        PARSE_ERRORS: it cannot be read.
    """
    data = encoded.getvalue() if encoded else b""
    if len(data) > MAX_STEP_BYTES:
        raise _BadValueError(PROCESSING_FAILURE)
    return parse_bare(data, event.context.transfer_syntax)


def _full(status: int) -> Dataset | int:
    if status != NO_LONGER_UPDATED:
        return status
    found = Dataset()
    found.Status, found.ErrorID = PROCESSING_FAILURE, status
    return found


def _performed(uid: str, data: Dataset, classes: Collection[str]) -> Step:
    """A step as N-CREATE describes it (PS3.4, table F.7.2-1)."""
    if _state(data) != IN_PROGRESS:
        raise _BadValueError(INVALID_VALUE)
    modality = _value(data, "Modality")
    scheduled = _items(data, "ScheduledStepAttributesSequence")
    studies = {_uid(item, "StudyInstanceUID") for item in scheduled}
    if not studies:
        raise _BadValueError(MISSING_VALUE)
    images = _performed_images(data, classes) if "PerformedSeriesSequence" in data else []
    # An ECG or an echo of the same study says nothing about its MR images.
    return Step(uid, IN_PROGRESS, studies if modality == "MR" else (), images)


def _notification(uid: str, data: Dataset, classes: Collection[str]) -> Step:
    """A notification as a step that is finished (PS3.4, table R.3.2-1)."""
    study = _uid(data, "StudyInstanceUID")
    images = [
        image
        for series in _items(data, "ReferencedSeriesSequence")
        for image in _images(series, "ReferencedSOPSequence", classes)
    ]
    return Step(uid, COMPLETED, [study], images)


def _performed_images(data: Dataset, classes: Collection[str]) -> list[str]:
    return [
        image
        for series in _items(data, "PerformedSeriesSequence")
        for name in _LISTS
        if name in series
        for image in _images(series, name, classes)
    ]


def _images(series: Dataset, name: str, classes: Collection[str]) -> Iterator[str]:
    for item in _items(series, name):
        sop_class, uid = _uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")
        if sop_class in classes and text(item, "InstanceAvailability") != _NOT_TO_COME:
            yield uid


def _state(data: Dataset) -> str:
    state = _value(data, "PerformedProcedureStepStatus")
    if state not in STATES:
        raise _BadValueError(INVALID_VALUE)
    return state


def _items(data: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence that has to be there; it may be empty."""
    if keyword not in data:
        raise _BadValueError(MISSING)
    items = data[keyword].value or []
    if data[keyword].VR != "SQ":
        raise _BadValueError(INVALID_VALUE)
    return list(items)


def _uid(data: Dataset, keyword: str) -> str:
    value = _value(data, keyword)
    if not re.fullmatch(r"[0-9.]{1,64}", value, re.ASCII):  # leading zeros are usual enough
        raise _BadValueError(INVALID_VALUE)
    return value


def _value(data: Dataset, keyword: str) -> str:
    if keyword not in data:
        raise _BadValueError(MISSING)
    if not (value := text(data, keyword)):
        raise _BadValueError(MISSING_VALUE)
    return value
