"""One session: everything a client sends is sent back as it came; its scar follows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from scarseg_infer.ecg.evidence import check_identity
from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.host.crash_place import crash_place
from scarseg_infer.mrd.connection import Connection, Limits
from scarseg_infer.mrd.ecg import EcgShelf
from scarseg_infer.mrd.header import Measurement, read_header
from scarseg_infer.mrd.images import StreamImage, stream_image
from scarseg_infer.mrd.messages import TYPE_BYTES, Kind, Message, StreamError
from scarseg_infer.mrd.options import Options, parameters_in, with_parameters
from scarseg_infer.mrd.results import result_messages, text_message
from scarseg_infer.mrd.segmenters import Segmenters
from scarseg_infer.mrd.stack import lge_stack
from scarseg_infer.node.log import Log
from scarseg_infer.result import ScarResult
from scarseg_infer.study.stack import LgeStack
from scarseg_infer.write.words import RESEARCH_USE
from scarseg_runtime.errors import EcgError, ScarsegError, StudyError, UsageError
from scarseg_runtime.run_control import CancelSignal

CLOSE: Final = int(Kind.CLOSE).to_bytes(TYPE_BYTES, "little")


@dataclass(frozen=True, slots=True)
class Shared:
    """Things that all sessions of a server use."""

    segmenters: Segmenters
    shelf: EcgShelf
    limits: Limits
    log: Log
    stop: CancelSignal


@dataclass(slots=True)
class Session:
    """A conversation with one client. :meth:`run` never raises: what goes wrong is told to the
    client and to the log, and the server goes on.

    Attributes:
        number: how the log calls it.
    """

    number: int
    connection: Connection
    shared: Shared
    options: Options = field(default_factory=Options)
    measurement: Measurement = field(default_factory=Measurement)
    _images: list[StreamImage] = field(default_factory=list)
    _held: list[tuple[bytes, int | None]] = field(default_factory=list)
    """Messages that wait for the result, and of those that are images the number."""
    _count: int = 0
    _bytes: int = 0
    _raw_data: bool = False
    """Acquisitions came: what was measured, not yet images."""
    _misfit: ScarsegError | None = None
    """Reason that there will be no result, though the session goes on."""

    def run(self) -> None:
        """Talk until the session ends."""
        log = self.shared.log
        log.write("session_started", session=self.number)
        try:
            self._receive()
            self._answer()
            self.connection.put(CLOSE)
            self.connection.finish()
        except StreamError as error:
            log.write("session_broken", session=self.number, reason=error.what)
            self._say_goodbye(error)
        except Exception as error:  # noqa: BLE001 - the next session must be served
            place = crash_place(error)
            log.write("session_crashed", session=self.number, reason=place)
            self._say_goodbye(StreamError(f"an internal error ({place})", "Please report it"))
        finally:
            self.connection.close()
            log.write("session_ended", session=self.number, images=self._count)

    def _receive(self) -> None:
        """Take messages until the client says that there are no more."""
        while (message := self.connection.read()).kind is not Kind.CLOSE:
            if message.kind is Kind.HEADER:
                self.measurement = read_header(message.body)
            elif message.kind in (Kind.CONFIG_FILE, Kind.CONFIG_TEXT):
                self._configure(message)  # where it names anything else, that is for others
            elif message.kind is not Kind.TEXT or not self._configure(message):
                self._take(message)

    def _configure(self, message: Message) -> bool:
        """Take the options in a text, if it holds any. A value that makes no sense costs the
        result: who sets an option wants it kept."""
        parameters = parameters_in(message.text)
        if parameters is None:
            return False
        try:
            self.options = with_parameters(self.options, parameters)
        except UsageError as error:
            self._misfit = error
        return True

    def _take(self, message: Message) -> None:
        """Keep a message for the result, and send it back or hold it back."""
        holds = not self.options.sendoriginal  # which are of the stack is not known yet
        number = self._count if message.kind is Kind.IMAGE else None
        self._count += message.kind is Kind.IMAGE
        self._raw_data = self._raw_data or message.kind is Kind.ACQUISITION
        if self._misfit is None and (holds or number is not None):
            self._bound(len(message.raw))
        if self._misfit is None and number is not None:
            self._images.append(stream_image(message, number))
        if self._misfit is None and holds:
            self._held.append((message.raw, number))
        else:
            self._release(frozenset())
            self.connection.put(message.raw)

    def _bound(self, size: int) -> None:
        """Bound what is kept. Beyond it there is no result, and what came goes back."""
        self._bytes += size
        limit = self.shared.limits.session_bytes
        if self._bytes > limit:
            self._misfit = StudyError(
                f"the session is larger than {limit >> 20} MB",
                "Send the LGE series by itself, or start scarseg-mrd with a larger --session-mb",
            )
            self._images.clear()

    def _answer(self) -> None:
        """Send back what was held, and the result or why there is none."""
        if not self._images and self._misfit is None:
            if not self._raw_data:  # a client that only asks whether we live
                self._release(frozenset())
                return
            self._misfit = StudyError(
                "the session held raw data and no image",
                "Let the scanner reconstruct first: OpenRecon's emitter is image",
            )
        used: frozenset[int] = frozenset()
        messages: Iterator[bytes] = iter(())
        started = time.monotonic()
        try:
            if self._misfit is not None:
                raise self._misfit
            used, messages = self._computed()
        except StreamError:
            raise
        except ScarsegError as error:
            self.shared.log.write("session_failed", session=self.number, reason=error.what)
            messages = iter((text_message(f"scarseg-mrd: no result: {error} {RESEARCH_USE}"),))
        self.connection.extend(time.monotonic() - started)
        self._release(used)
        for message in messages:
            self.connection.put(message)

    def _computed(self) -> tuple[frozenset[int], Iterator[bytes]]:
        """Numbers of the images that the stack is of, and the messages of its result."""
        shared, options = self.shared, self.options
        found = lge_stack(self._images, self.measurement, options.prefer)
        record, notes = shared.shelf.find(self.measurement, options.ecg)
        stack = replace(found.stack, warnings=(*found.stack.warnings, *notes))
        try:
            result = self._segmented(stack, record)
        except EcgError as error:
            if options.ecg or not shared.shelf.searches:
                raise
            # Nobody named it: what was found must not cost what the image shows.
            warning = f"An ECG of the patient was found and not used: {error.what}."
            result = self._segmented(replace(stack, warnings=(*stack.warnings, warning)), None)
        shared.log.write(
            "session_done", session=self.number, slices=len(found.sources),
            provider=result.model.provider, ecg=result.ecg.given,
            seconds=round(sum(result.timings_ms.values()) / 1000, 3),
        )  # fmt: skip
        return (
            frozenset(image.number for image in found.sources),
            result_messages(result, found, options),
        )

    def _segmented(self, stack: LgeStack, record: EcgRecord | None) -> ScarResult:
        if record is not None:
            # The stack is one of arrays, which carry no identifier.
            check_identity(self.measurement.patient_id, record, allow_mismatch=False)
        return self.shared.segmenters.run(
            self.options.provider, stack, record, gap_days=self.options.gapdays,
            cancel=self.shared.stop, timeout_s=self.shared.limits.run_s,
        )  # fmt: skip

    def _release(self, used: frozenset[int]) -> None:
        """Send back what was held, in order, without images that the result is of."""
        held, self._held = self._held, []
        for raw, number in held:
            if number not in used:
                self.connection.put(raw)

    def _say_goodbye(self, error: ScarsegError) -> None:
        """Tell the client why the session ends, if it still listens."""
        with suppress(StreamError):
            self.connection.put(text_message(f"scarseg-mrd: {error} {RESEARCH_USE}"))
            self.connection.put(CLOSE)
            self.connection.finish()
