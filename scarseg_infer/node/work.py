"""Processing: from a complete study to results that wait to be sent."""

from __future__ import annotations

import hashlib
import math
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydicom import dcmread

from scarseg_infer.ecg.record import EcgRecord
from scarseg_infer.host.crash_place import crash_place
from scarseg_infer.node.config import Config
from scarseg_infer.node.counters import Counters
from scarseg_infer.node.log import Log
from scarseg_infer.node.pair import ecgs_for, has_ecg, link_images
from scarseg_infer.node.queue.outbox import Outbox, ResultFile
from scarseg_infer.node.queue.received import Queue, Study
from scarseg_infer.node.queue.retention import forget
from scarseg_infer.node.queue.steps import Steps
from scarseg_infer.node.queue.storage import Storage
from scarseg_infer.result import ScarResult
from scarseg_infer.segmenter import Segmenter
from scarseg_infer.study.read import read_study
from scarseg_infer.write.folder import NAMES, write_all
from scarseg_runtime.errors import (
    CancelledError,
    EcgError,
    ModelError,
    OutputError,
    ProviderError,
    RunTimeoutError,
    ScarsegError,
)
from scarseg_runtime.run_control import RunControl

POLL_S: Final = 0.2
RETRY_S: Final = 30.0
"""Wait after a failure; twice as long after each further one of the study."""
RETRY_MAX_S: Final = 900.0
LAST_TRIES_S: Final = 3600.0
"""From the start of the node until an object may be given up: it may have been off for long, or the
clock not yet be set."""
SWEEP_S: Final = 600.0
"""Time between two looks for what can be deleted."""


class Worker:
    """Processes one study after another with one warm Segmenter, in a thread of its own.

    Args:
        fetch: asks another system for an ECG of the study's patient and puts it into the queue;
            called for complete studies before they are processed.
    """

    def __init__(
        self,
        config: Config,
        storage: Storage,
        segmenter: Segmenter,
        counters: Counters,
        log: Log,
        fetch: Callable[[Study], None] | None = None,
    ) -> None:
        self._config, self._storage, self._segmenter = config, storage, segmenter
        self._queue, self._outbox, self._steps = Queue(storage), Outbox(storage), Steps(storage)
        self._counters, self._log, self._fetch = counters, log, fetch
        self._stop = threading.Event()
        self._current: Study | None = None
        self._failures: Counter[int] = Counter()
        self._start, self._swept = time.monotonic(), -math.inf
        self.disk_fails = False
        """Could the queue not be read or written when that was tried last?"""

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; a study that was begun stays in the queue as it was."""
        self._stop = stop
        while not stop.is_set():
            try:
                busy = self.step()
                if time.monotonic() - self._swept > SWEEP_S:
                    self._sweep()
                self.disk_fails = False
            except (OSError, sqlite3.Error) as error:  # the disk; the study stays in the queue
                if not self.disk_fails:
                    self._log.write("queue_failed", reason=type(error).__name__)
                busy, self.disk_fails = False, True
            if not busy:
                stop.wait(POLL_S)

    def _sweep(self) -> None:
        if time.monotonic() - self._start > LAST_TRIES_S:
            given_up = self._outbox.give_up(self._config.send.give_up_days * 86400)
            for peer, count in given_up.items():
                self._counters.add("deliveries_given_up_total", count, peer=peer)
                self._log.write("deliveries_given_up", peer=peer, objects=count)
        forget(self._storage, self._config.study.keep_days * 86400)
        self._steps.forget(self._config.study.steps_keep_s)
        self._swept = time.monotonic()

    def step(self) -> bool:
        """Process the study that has waited longest, if one is complete; was there one?"""
        rules = self._config.study
        for study in self._queue.complete(rules.quiet_s, rules.mpps_wait_s):
            if self._waits_for_ecg(study):
                continue
            self._process(study)
            return True
        return False

    def _waits_for_ecg(self, study: Study) -> bool:
        rules = self._config.study
        if not rules.ecg_wait_s or has_ecg(self._queue, study):
            return False
        return time.time() < study.complete_since + rules.ecg_wait_s

    def _process(self, study: Study) -> None:
        if study.attempts >= self._config.study.attempts:
            self._give_up(study, "Processing broke off each time it was tried.")
            return
        self._queue.begin(study)
        self._current = study
        start = time.monotonic()
        folder = self._storage.root / "work" / str(study.id)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            (folder / "images").mkdir(parents=True, mode=0o700)
            self._segment(study, folder, start)
        except RunTimeoutError:  # before OSError, which it is too
            limit = self._config.study.timeout_s
            self._give_up(
                self._current, f"Processing took longer than study.timeout_s ({limit:g} s)."
            )
        except CancelledError:
            self._queue.not_tried(study)
            self._log.write("study_broken_off", study=study.id)
        except (OutputError, ModelError, ProviderError, OSError, sqlite3.Error) as error:
            # The machine's fault, not the study's: it is tried until that has passed.
            self._queue.not_tried(study)
            self._later(study, type(error).__name__)
        except ScarsegError as error:
            self._give_up(self._current, str(error))
        except Exception as error:  # noqa: BLE001 - one odd study must not stop the others
            self._later(study, f"internal error, {crash_place(error)}")
        else:
            self._failures.pop(study.id, None)
        finally:
            self._current = None
            shutil.rmtree(folder, ignore_errors=True)

    def abandon(self) -> None:
        """The process ends with the thread amid a study, as while an archive is being
        connected: for that
        the study has not failed."""
        if study := self._current:
            self._queue.not_tried(study)

    def _segment(self, study: Study, folder: Path, start: float) -> None:
        if study.images_missing:
            self._give_up(study, "A part of its images was deleted: send the whole study again.")
            return
        if self._fetch:
            self._fetch(study)
            if (now := self._queue.again(study)) is None:  # it waits to be complete once more
                self._log.write("study_grew", study=study.id)
                return
            self._current = study = now
        words = link_images(self._queue, study, folder / "images")
        result, ecg = self._run(study, folder / "images")
        inputs = self._inputs(result, ecg)
        if inputs == study.inputs:
            if self._outbox.unchanged(study, with_ecg=bool(ecg)):
                self._log.write("study_unchanged", study=study.id, objects=len(words))
            return
        out = folder / "results"
        written = write_all(result, out, overwrite=False, only=[*self._config.send.objects, "json"])
        files = [_described(name, written[name]) for name in self._config.send.objects]
        receivers = self._config.receivers
        if not self._outbox.publish(study, out, files, receivers, inputs, with_ecg=bool(ecg)):
            self._log.write("study_grew", study=study.id)
            return
        seconds = time.monotonic() - start
        self._counters.add("studies_processed_total", ecg="yes" if ecg else "no")
        self._counters.add("processing_seconds_total", seconds)
        self._log.write(
            "study_done", study=study.id, images=len(words), ecg=bool(ecg),
            seconds=round(seconds, 3), warnings=len(result.warnings),
        )  # fmt: skip

    def _run(self, study: Study, images: Path) -> tuple[ScarResult, str]:
        """Segment with the first ECG that is fit for it, without one where none is."""
        limit_s = self._config.study.timeout_s
        end = time.monotonic() + limit_s
        control = RunControl(self._stop, limit_s)
        stack = read_study(images, watch=lambda _: control.check())

        def limited(record: EcgRecord | None) -> ScarResult:
            control.check()
            left_s = max(end - time.monotonic(), POLL_S)
            return self._segmenter.run(stack, record, cancel=self._stop, timeout_s=left_s)

        for record, word in ecgs_for(self._queue, study):
            try:
                return limited(record), word
            except EcgError:
                self._log.write("ecg_not_used", study=study.id)
        return limited(None), ""

    def _inputs(self, result: ScarResult, ecg: str) -> str:
        """Digest of what a result was made from: where it is the same, so is the result."""
        used = sorted({str(image.SOPInstanceUID) for image in result.stack.datasets})
        return hashlib.sha256("\n".join([*used, ecg, result.model.sha256]).encode()).hexdigest()

    def _give_up(self, study: Study, why: str) -> None:
        if not self._queue.fail(study, why):
            return  # something has come: it is tried with that
        self._failures.pop(study.id, None)
        self._counters.add("studies_failed_total")
        self._log.write("study_failed", study=study.id, reason=why)

    def _later(self, study: Study, why: str) -> None:
        seconds = min(RETRY_S * 2.0 ** min(self._failures[study.id], 30), RETRY_MAX_S)
        self._failures[study.id] += 1
        self._queue.postpone(study, seconds, why)
        self._log.write("study_postponed", study=study.id, reason=why, seconds=seconds)


def _described(name: str, path: Path) -> ResultFile:
    header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    return ResultFile(name, NAMES[name], str(header.SOPInstanceUID), str(header.SOPClassUID))
